"""Simulated runs on data of which a part has no label: it is left out and counted, and never a class."""

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.run.context import load_data
from pipeline.run.rundir import read_events

QUICK = ["--model", "mlp", "--set", "model.options.width=8", "--n-init", "6", "--query-size", "3", "--cycles", "2"]
QUICK += ["--epochs", "3", "--set", "train.max_lr=0.01", "--strategy", "margin", "--device", "cpu"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.where(np.arange(48) % 4 == 3, -1, np.arange(48) % 4 % 2)
    np.savez(tmp_path / "part.npz", X=rng.integers(0, 256, (48, 4, 4), dtype=np.uint8), y=y)
    np.savez(tmp_path / "none.npz", X=rng.integers(0, 256, (48, 4, 4), dtype=np.uint8))
    np.savez(tmp_path / "features.npz", X=rng.normal(size=(48, 5)), y=y, show=np.arange(48).astype(str))
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", ["part", "features"])
def test_a_simulated_run_leaves_out_what_has_no_label_and_its_ids_lead_to_the_rows(here, name):
    result = invoke("run", "--dataset", f"npz:{name}.npz", *QUICK, "--out", "run")
    assert result.exit_code == 0, result.output
    assert f"note: 12 of 48 samples of npz:{name}.npz have no label and are left out: 12 marked -1" in result.stderr
    with np.load(here / f"{name}.npz") as archive:
        y = archive["y"]
    path = {}
    for line in (here / "run/cycles/000/query.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["path"].startswith(f"{name}.npz#X[")
        path[row["sample_id"]] = int(row["path"].split("[")[1][:-1])
    answers = [pair for event in read_events(here / "run") for pair in event.get("labels", ())]
    assert {sample: label for sample, label in answers if sample in path} == {i: y[row] for i, row in path.items()}
    sets = [f"data.name=npz:{name}.npz"]
    whole, part = load_data(load_config(sets=[*sets, "annotator.name=files"])), load_data(load_config(sets=sets))
    assert len(whole.train) == len(part.train) + 12
    assert [whole.sample_path("train", i) for i in path] == [part.sample_path("train", i) for i in path]
    assert invoke("resume", "run").exit_code == 0


@pytest.mark.long
def test_a_comparison_counts_what_it_leaves_out_and_its_report_needs_no_pictures(here):
    arguments = ["--dataset", "npz:features.npz", *QUICK]
    at = arguments.index("--strategy")
    result = invoke(
        "compare",
        *arguments[:at],
        *arguments[at + 2 :],
        "--strategies",
        "random,margin",
        "--seeds",
        "0",
        "--jobs",
        "1",
        "--out",
        "grid",
    )
    assert result.exit_code == 0, result.output
    assert "12 of 48 samples of npz:features.npz have no label and are left out" in result.stderr + result.stdout
    assert invoke("report", "grid").exit_code == 0
    assert "the data set holds features and no images" in (here / "grid/report/index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "npz:none.npz"], "X: 48 samples and no label, but here labels are needed"),
        (["--dataset", "npz:none.npz", "--classes", "a,b"], "48 samples and no label"),
        (["--dataset", "npz:part.npz", "--n-init", "30"], "but npz:part.npz has 29 with a label, without those for"),
        (
            ["--dataset", "npz:features.npz", "--set", "train.augment=flip-crop"],
            "train.augment: npz: augment flip-crop",
        ),
        (
            ["--dataset", "digits", "--classes", "a,b"],
            "classes: expected folder:PATH or npz:PATH with it, got 'digits'",
        ),
        (["--dataset", "npz:part.npz", "--classes", "a"], "--classes: expected two or more names"),
    ],
)
def test_data_that_a_simulated_run_cannot_use_is_one_line(here, arguments, message):
    result = invoke("run", *QUICK, *arguments, "--out", "run")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (here / "run").exists()


@pytest.mark.parametrize("given", ["a,b", ["a", "b"], "[a, b]"])
def test_classes_have_one_spelling_and_count(given):
    base = {"data.name": "npz:part.npz"}
    config = load_config(
        options=base, sets=[f"data.classes={given}" if isinstance(given, str) else "data.classes=[a, b]"]
    )
    assert config.data.classes == ["a", "b"]
    assert config.digest() != load_config(options=base).digest()
    assert load_config(base=yaml.safe_load(config.to_yaml())) == config
    assert load_data(config).classes == ("a", "b")
    assert "classes" not in load_config(options=base).scientific()["data"]
    with pytest.raises(PipelineError, match="put words like yes and no in quotes"):
        load_config(options=base, sets=["data.classes=[yes, no]"])
