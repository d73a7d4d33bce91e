"""The products of a run: all of them, at any moment, whole or not at all."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock
from products_cases import CLASSES, begin, go_on, make_folder

from common.files import sha256_of
from migrator import load as load_port
from pipeline.cli import cli
from pipeline.products import make
from pipeline.products.make import make_products, replacing_products
from pipeline.run.context import load_data
from pipeline.run.events import EventLog
from pipeline.run.rundir import read_config
from trainer.checkpoint import load_weights
from trainer.models import ModelSpec, build
from trainer.predict import predict

ROOT = Path(__file__).parents[2]
ALL = {
    "README.md",
    "labels.csv",
    "predictions.csv",
    "review.csv",
    "products.json",
    "model/model.json",
    "model/network.py",
    "model/weights.safetensors",
    "model/port/graph.json",
    "model/port/model.safetensors",
    "model/port/report.json",
}


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def table(path):
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


def found(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A finished run with its products."""
    run = go_on(begin(tmp_path_factory.mktemp("runs") / "run", folder))
    call("products", run)
    return run


def test_everything_is_there_and_its_hash_is_written_down(finished):
    products = finished / "products"
    assert found(products) == ALL
    contents = json.loads((products / "products.json").read_text())
    assert contents["files"] == {name: sha256_of(products / name) for name in ALL - {"products.json"}}
    text = (products / "README.md").read_text()
    assert f"Run {contents['run']}, on data with SHA-256 {contents['dataset_sha256']}" in text
    for name in ALL - {"products.json", "README.md"}:
        assert f"{contents['files'][name]}  {name}" in text
    assert [path.name for path in finished.iterdir() if path.name.startswith(".products")] == []


def test_predictions_are_those_of_the_last_network(finished):
    data = load_data(read_config(finished))
    stage = finished / "cycles" / "001" / "train"
    model = build(ModelSpec(**json.loads((stage / "model.json").read_text())), 0)
    load_weights(model, stage / "weights.safetensors")
    from common.losses import get_loss

    rows = {row["path"]: row for row in table(finished / "products" / "predictions.csv")}
    assert len(rows) == 46
    for half in ("train", "test"):
        p = get_loss("l2").probabilities.of(predict(model, data.inputs(half)))
        for i, expected in enumerate(p):
            path = data.sample_path(half, i)
            row = rows[f"./{path}" if path.startswith(tuple("=-@+")) else path]
            assert row["split"] == half
            assert row["predicted"].removeprefix("'") == CLASSES[expected.argmax()]
            assert float(row["probability"]) == pytest.approx(expected.max(), abs=1e-5)
    margins = [float(row["margin"]) for row in rows.values()]
    assert margins == sorted(margins)
    assert [int(row["review_rank"]) for row in rows.values()] == [*range(1, 47)]


def test_predictions_have_the_labels_that_people_gave(finished):
    labels = {row["path"]: row["label"] for row in table(finished / "products" / "labels.csv")}
    rows = table(finished / "products" / "predictions.csv")
    assert {row["path"]: row["label"] for row in rows if row["label"]} == {k: v for k, v in labels.items() if v}
    assert any(not row["label"] for row in rows)


@pytest.mark.long
def test_the_commands_and_the_code_of_the_readme_work(finished, folder, tmp_path):
    shutil.copytree(finished / "products", tmp_path / "given")
    given = tmp_path / "given"
    text = (given / "README.md").read_text()
    [command] = re.findall(r"```bash\n(.*?)\n```", text, re.S)
    shutil.copytree(folder / "train", given / "new_images")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    main = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    words = command.split()
    assert words[0] == "pipeline"
    subprocess.run([*main, *words[1:]], cwd=given, env=environment, check=True, capture_output=True)
    assert len(table(given / "new_predictions.csv")) == 40
    jax, pytorch = re.findall(r"```python\n(.*?)\n```", text, re.S)
    alone = {**environment, "PYTHONPATH": ""}
    blocker = "import sys; sys.modules['torch'] = sys.modules['migrator'] = sys.modules['pipeline'] = None\n"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", f"{blocker}sys.path.insert(0, '.')\n{jax}"],
        cwd=given / "model",
        env=alone,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() in CLASSES
    subprocess.run([sys.executable, "-c", pytorch], cwd=given / "model", env=environment, check=True)


def test_a_run_that_somebody_holds_is_read_all_the_same(finished, tmp_path):
    with FileLock(finished / "lock"):
        call("products", finished, "--out", tmp_path / "out")
    assert found(tmp_path / "out") == ALL


def test_before_a_network_there_are_labels_alone_and_it_says_so(folder, tmp_path):
    run = begin(tmp_path / "run", folder)
    with pytest.raises(KeyboardInterrupt):
        go_on(run, stop=lambda event: event == "stage_done")
    result = call("products", run)
    assert "no network is trained yet: labels.csv alone is written" in result.stderr
    assert found(run / "products") == {"README.md", "labels.csv", "products.json"}
    assert "No network was trained yet" in (run / "products" / "README.md").read_text()
    assert any(row["label"] for row in table(run / "products" / "labels.csv") if row["split"] == "train")


def test_a_run_that_stopped_in_between_has_those_of_its_last_network(folder, tmp_path):
    run = begin(tmp_path / "run", folder)
    with pytest.raises(KeyboardInterrupt):
        go_on(run, stop=lambda event: event == "cycle_done")
    call("products", run)
    about = json.loads((run / "products" / "model" / "model.json").read_text())
    assert about["cycle"] == 0
    port = load_port(run / "products" / "model" / "port")
    assert port.report.verified or port.report.proven


def test_a_damaged_network_is_passed_over(folder, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    weights = run / "cycles" / "001" / "train" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    result = call("products", run)
    assert "the network of cycle 1 is damaged or gone" in result.stderr
    assert json.loads((run / "products" / "model" / "model.json").read_text())["cycle"] == 0


def test_a_strategy_without_ports_gets_one(folder, tmp_path):
    run = go_on(begin(tmp_path / "run", folder, query__strategy="entropy", cycles=1))
    assert not (run / "cycles" / "000" / "migrate").exists()
    call("products", run)
    assert found(run / "products") == ALL


def test_a_class_that_the_network_does_not_know(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    log = EventLog(run / "events.jsonl")
    log.append("class_added", cycle=1, name="ox")
    log.close()
    call("products", run)
    about = json.loads((run / "products" / "model" / "model.json").read_text())
    assert about["classes"] == list(CLASSES)
    assert "The network does not know ox" in (run / "products" / "README.md").read_text()


def test_the_server_calls_a_function_and_sees_how_far_it_is(finished, tmp_path):
    seen = []
    data = load_data(read_config(finished))
    files = make_products(finished, data, tmp_path / "out", progress=lambda *far: seen.append(far))
    assert files[0] == "README.md"
    assert set(files) == ALL
    assert [what for what, *_ in seen] == ["labels", "model", "predictions", "predictions", "labels that look wrong"]
    assert seen[-2] == ("predictions", 40, 46)


def test_earlier_products_are_replaced_as_a_whole(finished, tmp_path):
    out = tmp_path / "out"
    call("products", finished, "--out", out)
    (out / "model" / "old.bin").write_bytes(b"")
    call("products", finished, "--out", out)
    assert found(out) == ALL
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_whatever_goes_wrong_earlier_products_stay(finished, tmp_path, monkeypatch):
    out = tmp_path / "out"
    call("products", finished, "--out", out)
    before = {name: (out / name).read_bytes() for name in ALL}

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make, "write_predictions", full)
    result = call("products", finished, "--out", out, code=1)
    assert "No space left on device" in result.stderr
    assert {name: (out / name).read_bytes() for name in ALL} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_process_leaves_the_old_ones_or_the_new_ones(tmp_path):
    out = tmp_path / "products"
    with replacing_products(out) as draft:
        (draft / "products.json").write_text("1")
    out.rename(tmp_path / ".products.old-1234")  # killed between the two renames
    (tmp_path / ".products.draft-5678").mkdir()  # and another one while it wrote
    with replacing_products(out) as draft:
        (draft / "products.json").write_text("2")
        assert (out / "products.json").read_text() == "1"  # it came back
        with replacing_products(out) as other:
            assert {path.name for path in tmp_path.iterdir()} == {"products", draft.name, other.name}  # both are held
            (other / "products.json").write_text("3")
        assert (out / "products.json").read_text() == "3"
    assert (out / "products.json").read_text() == "2"
    assert {path.name for path in tmp_path.iterdir()} == {"products"}


def test_a_folder_of_something_else_is_not_touched(finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for out in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        assert ": name another\n" in call("products", finished, "--out", out, code=2).stderr
    assert found(tmp_path) == {"mine/notes.txt"}


def test_bad_input_is_one_line(finished, folder, tmp_path):
    assert call("products", tmp_path, code=2).stderr.count("\n") == 1
    run, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(folder, photos)
    go_on(begin(run, photos, cycles=1))
    (photos / "train" / "loose" / "another.png").write_bytes((photos / "test" / "cat" / "0.png").read_bytes())
    said = call("products", run, code=2).stderr
    assert "is not the one that the run began with" in said
    assert said.count("\n") == 1
    assert not (run / "products").exists()


OWN = """
from torch import nn

def build(input_shape, num_classes):
    channels, height, width = input_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
"""
UNPORTABLE = (
    OWN.replace("nn.Flatten()", "Odd(), nn.Flatten()")
    + """
import torch

class Odd(nn.Module):
    def forward(self, x):
        return x + torch.special.bessel_j0(x.detach())
"""
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a network of a user's own where it is found."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return f"{name}:build"

    yield write
    for name in ("own_products_net", "odd_products_net"):
        sys.modules.pop(name, None)


def test_code_of_ones_own_runs_only_where_it_is_trusted_and_not_through_a_port(own, folder, tmp_path):
    name = own("own_products_net", OWN)
    run = begin(tmp_path / "run", folder, model__name=name, model__options={})
    with pytest.raises(KeyboardInterrupt):
        go_on(run, stop=lambda event: event == "cycle_done")
    del sys.modules["own_products_net"]
    call("products", run)  # the cycle's own port is taken
    go_on(run)
    del sys.modules["own_products_net"]
    said = call("products", run, code=2).stderr  # the last cycle has none
    assert f"model {name} from" in said
    assert said.count("\n") == 1
    assert "own_products_net" not in sys.modules
    assert json.loads((run / "products" / "model" / "model.json").read_text())["cycle"] == 0
    call("products", run, "--trust-code")
    assert json.loads((run / "products" / "model" / "model.json").read_text())["cycle"] == 1
    del sys.modules["own_products_net"]
    call("predict", run, folder / "train", "--out", tmp_path / "new.csv")
    assert "own_products_net" not in sys.modules


def test_a_network_that_cannot_be_ported_goes_through_torch(own, folder, tmp_path):
    name = own("odd_products_net", UNPORTABLE)
    options = {"model__name": name, "model__options": {}, "query__strategy": "entropy", "cycles": 1}
    run = go_on(begin(tmp_path / "run", folder, **options))
    result = call("products", run, "--trust-code")
    assert "cannot be ported to Flax" in result.stderr
    assert found(run / "products" / "model") == {"model.json", "weights.safetensors"}
    assert "--trust-code" in (run / "products" / "README.md").read_text()
    assert "would run" in call("predict", run, folder / "train", "--out", "new.csv", code=2).stderr
    call("predict", run, folder / "train", "--out", "new.csv", "--trust-code")
    ours = {row["path"].removeprefix("./"): row["probability"] for row in table(Path("new.csv"))}
    theirs = {row["path"]: row["probability"] for row in table(run / "products" / "predictions.csv")}
    assert ours == {path.removeprefix("train/"): p for path, p in theirs.items() if path.startswith("train/")}


def test_an_interrupt_leaves_nothing(finished, tmp_path, monkeypatch):
    def interrupted(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "write_predictions", interrupted)
    result = CliRunner().invoke(cli, ["products", str(finished), "--out", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert [*tmp_path.iterdir()] == []


def test_registered_data_has_products_too(tmp_path):
    from fidelity_cases import make_run

    options = {"model.name": "mlp", "model.options": {"width": 8}, "train.epochs": 4, "query.strategy": "random"}
    run = make_run(tmp_path / "run", **options, cycles=1)
    call("products", run)
    labels = table(run / "products" / "labels.csv")
    assert len(labels) == 12  # no files, so nothing to put back beside them
    assert {(row["annotators"], row["asked_by"]) for row in labels} == {("simulated", "random")}
    assert labels[0]["path"].startswith("digits/train/")
    rows = table(run / "products" / "predictions.csv")
    assert len(rows) == 1797
    assert np.isclose(float(rows[-1]["margin"]), max(float(row["margin"]) for row in rows))
    assert torch.get_num_threads() == 1


def test_without_test_images_nothing_is_claimed(tmp_path):
    folder = make_folder(tmp_path / "photos", count=24, tests=0)
    run = go_on(begin(tmp_path / "run", folder, data__test_fraction=0.0, cycles=1))
    call("products", run)
    assert {row["split"] for row in table(run / "products" / "predictions.csv")} == {"train"}
    labels = table(run / "products" / "labels.csv")
    assert "split" not in labels[0]
    text = (run / "products" / "README.md").read_text()
    assert "without held-out test samples nothing here says how good it is" in text
    assert "| split | `train`, or" not in text
