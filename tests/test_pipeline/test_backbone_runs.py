"""Runs that learn from a backbone's features: what is recorded, what goes on, what is refused, what comes out."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from backbone_cases import write_folder, write_own
from click.testing import CliRunner
from folder_cases import put
from marks import some_long
from products_cases import CLASSES, begin, go_on, make_folder
from safetensors.torch import load_file

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.products.model_folder import read_about
from pipeline.run.context import load_data, open_context
from pipeline.run.reading import read_config, read_events
from pipeline.run.recorded import named_code
from pipeline.sweep.grid import Grid
from trainer.backbones import featured, open_backbone, store
from trainer.models import ModelSpec, build

SMALL = [
    "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "2", "--epochs", "8", "--device", "cpu",
]  # fmt: skip

LABELLED = {"data__image_size": None, "data__mode": "grey", "model__name": "linear", "model__options": {}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("my_eye", None)


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*arguments):
    said = invoke(*arguments, code=2).stderr
    assert said.count("\n") == 1, said
    return said


def test_the_network_is_linear_unless_another_is_named():
    assert load_config(options={"data.backbone": "efficientnet-lite0"}).model.name == "linear"
    assert load_config(options={"data.backbone": "timm:x", "model.options": {"dropout": 0.1}}).model.name == "linear"
    assert load_config(options={"data.backbone": "timm:x", "model.name": "mlp"}).model.name == "mlp"
    assert load_config().model.name == "cnn"
    assert "backbone" not in load_config().scientific()["data"]  # runs of older versions keep their digest


def test_names_and_sizes_are_checked_before_anything_is_opened():
    for options, reason in (
        ({"data.backbone": "x:"}, "--backbone: expected efficientnet-lite0, timm:NAME, torchvision:NAME"),
        (
            {"data.backbone_size": 96},
            "config: data: finetune, backbone_size and feature_store: expected with data.backbone",
        ),
        ({"data.backbone": "timm:x", "data.backbone_size": 4}, "--backbone-size: input should be greater"),
    ):
        with pytest.raises(PipelineError) as error:
            load_config(options=options)
        assert str(error.value).startswith(reason)
    assert "did you mean efficientnet-lite0?" in refused("run", "--backbone", "efficientnet-lite", "--out", "r")


def test_a_run_on_features_from_its_beginning_to_new_images(here):
    folder, _ = write_folder(here / "pre", shape=(1, 8, 8))
    said = invoke("run", "--backbone", folder, *SMALL, "--out", "run")
    assert "note: features of 1,797 images at 8x8 pixels are computed once, by " in said.stderr
    start = read_events(here / "run")[0]
    assert start["backbone"] == {
        "name": str(folder),
        "sha256": start["backbone"]["sha256"],
        "size": [8, 8],
    }
    assert read_config(here / "run").model.name == "linear"
    assert "no fault in" in invoke("verify", "run").stdout
    forked = invoke("fork", "run", "--at-cycle", "1", "--set", "train.max_lr=5.0", "--out", "fork")
    assert forked.exit_code == 0
    shutil.rmtree(here / "cache")  # features can be computed again: they are known by what they are made from
    assert "computed once" in invoke("resume", "fork").stderr
    assert "no fault in" in invoke("verify", "fork").stdout
    moved = shutil.move(folder, here / "moved")
    gone = f"data.backbone: the run's folder {folder} is not there: put it back"
    for command in ("resume", "products"):
        assert gone in refused(command, "run")
    assert gone in invoke("verify", "run", code=1).stdout
    plain = (here / "run/config.yaml").read_text()
    (here / "run/config.yaml").write_text(plain.replace(str(folder), str(moved)))
    invoke("resume", "run")  # the content counts, not the path
    write_folder(here / "moved", shape=(1, 8, 8), seed=1)
    reason = "are not those that the run began with (SHA-256 "
    for command in (["resume", "run"], ["products", "run"], ["fidelity", "run", "--cycle", "0"]):
        assert reason in refused(*command)
    assert f": digits, linear on {moved}, " in invoke("status", "run").stdout  # which needs no backbone
    assert invoke("verify", "run", code=1).stdout.count(reason) == 1
    assert (here / "run/report/learning_curve.png").is_file()
    assert "<img" in report_of(here)


def test_weights_are_compared_where_nothing_else_sees_by_them(here):
    """A run without a network, as of people who label: no accuracy is computed again."""
    features, _ = write_folder(here / "pre", shape=(1, 8, 8))
    run = begin(here / "run", make_folder(here / "photos", tests=0), **LABELLED, data__backbone=str(features))
    with pytest.raises(KeyboardInterrupt):
        go_on(run, stop=lambda event: event == "label")
    said = invoke("verify", run).stdout
    assert "no fault in " in said
    assert "1 backbone" in said
    assert "network" not in said
    write_folder(here / "pre", shape=(1, 8, 8), seed=1)
    assert "are not those that the run began with (SHA-256 " in invoke("verify", run, code=1).stdout
    (here / "pre/weights.safetensors").unlink()
    assert "FAULT" in invoke("verify", run, code=1).stdout
    shutil.rmtree(here / "pre")
    assert "is not there: put it back" in invoke("verify", run, code=1).stdout


def test_a_run_goes_on_from_any_directory(here, monkeypatch):
    folder, _ = write_folder(here / "pre", shape=(1, 8, 8))
    (here / "mine.yaml").write_text("data: {backbone: pre}")
    for given in ({"options": {"data.backbone": "pre"}}, {"sets": ["data.backbone=pre"]}, {"file": here / "mine.yaml"}):
        for more in ({}, {"data.finetune": "all"}):
            config = load_config(**{**given, "options": {**given.get("options", {}), **more}})
            assert config.data.backbone == str(folder)
            assert config.model.name == (f"on-backbone:{folder}" if more else "linear")
            assert load_config(base=config.model_dump(mode="json")) == config
    before = {
        "data": {"backbone": "pre", "finetune": "all"},
        "model": {"name": "on-backbone:pre", "options": {"train": "all"}},
    }
    assert load_config(base=before).data.backbone == "pre"  # a run that is forked was begun so
    (here / "efficientnet-lite0").mkdir()
    assert load_config(options={"data.backbone": "efficientnet-lite0"}).data.backbone == "efficientnet-lite0"
    older = Grid.of(load_config(base=before), ["random"], [0])
    wanted = Grid.of(load_config(options={"data.backbone": "pre", "data.finetune": "all"}), ["random"], [0])
    assert older.extended(wanted, here).run["data"]["backbone"] == str(folder)


def test_a_folder_named_from_where_the_run_began_is_said_to_be_there(here, monkeypatch):
    write_folder(here / "pre", shape=(1, 8, 8))
    invoke("run", "--backbone", "pre", *SMALL, "--cycles", "1", "--out", "run")
    plain = (here / "run/config.yaml").read_text()
    assert str(here / "pre") in plain
    (here / "run/config.yaml").write_text(plain.replace(str(here / "pre"), "pre"))  # as older versions wrote it
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    said = refused("resume", "../run")
    assert f"the run's folder pre is not there from {here / 'other'}: put it back, or go on from where" in said


def report_of(here):
    """Pictures of what was asked need no backbone."""
    invoke("report", "run", "--out", "page")
    return (here / "page/index.html").read_text()


def test_products_take_images(here):
    folder = make_folder(here / "photos", mode="RGB")
    write_own(here)
    run = go_on(
        begin(
            here / "run",
            folder,
            data__backbone="my_eye:build",
            data__image_size=None,
            model__name="linear",
            model__options={},
        )
    )
    assert "would run: backbone my_eye:build from" in refused("products", run)
    assert "weights are not compared, for that runs my_eye:build: give --trust-code" in invoke("verify", run).stderr
    assert "1 backbone" in invoke("verify", run, "--trust-code").stdout
    said = invoke("products", run, "--trust-code").stderr
    assert "the model is the whole network, my_eye:build and head" in said
    model = run / "products/model"
    about = read_about(model)
    assert (about.input_shape, about.features, about.mean, about.std, about.ported) == (
        (3, 8, 8),
        False,
        (0.0,) * 3,
        (1.0,) * 3,
        True,
    )
    assert json.loads((model / "port/report.json").read_text())["verified"]
    data = load_data(read_config(run), run=run)
    network = build(ModelSpec(**about.network))
    network.load_state_dict(load_file(model / "weights.safetensors"))
    with torch.no_grad():
        x = torch.from_numpy(data.pictures.train.images.astype(np.float32) / 255)
        whole = network(x).argmax(1).numpy()
        head = network.head(torch.from_numpy(data.inputs("train"))).argmax(1).numpy()
    np.testing.assert_array_equal(whole, head)
    sys.modules.pop("my_eye")
    (here / "my_eye.py").unlink()  # new images need neither the code nor the backbone
    shutil.copytree(folder / "train/loose", here / "new")
    invoke("predict", model, "new", "--out", "new.csv")
    by_name = {data.sample_path("train", i).rpartition("/")[2]: CLASSES[whole[i]] for i in range(len(whole))}
    rows = table(here / "new.csv")
    assert len(rows) == 40
    for row in rows:  # spreadsheets run neither names nor classes
        assert row["predicted"].removeprefix("'") == by_name[row["path"].removeprefix("./")]


def table(path):
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


def test_killed_while_embedding_it_goes_on(here, monkeypatch):
    name, pieces = write_own(here), []
    config = load_config(options={"data.backbone": name, "device": "cpu"})
    computing = featured._Computing.__call__

    def killed(self, first, last):
        pieces.append(first)
        if len(pieces) == 3:
            raise KeyboardInterrupt
        return computing(self, first, last)

    monkeypatch.setattr(featured._Computing, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        open_context(config)
    first, pieces[:] = pieces[:2], [None] * 3
    open_context(config)
    again = pieces[3:]
    assert first == [0, store.PIECE]
    assert again == [*range(2 * store.PIECE, 1797, store.PIECE)]


def test_code_of_somebody_elses_backbone_does_not_run(here):
    write_own(here, "import pathlib\npathlib.Path('ran').write_text('x')\n")
    (here / "config.yaml").write_text("data: {backbone: 'my_eye:build'}\n")
    assert "backbone my_eye:build from" in refused("run", "--config", "config.yaml", "--out", "r")
    run = here / "run"
    run.mkdir()
    config = load_config(options={"data.backbone": "my_eye:build"})
    (run / "config.yaml").write_text(config.to_yaml())
    assert [code.role for code in named_code(config)] == ["backbone"]
    for command in (
        ["resume", "run"],
        ["label", "run"],
        ["products", "run"],
        ["estimate", "--config", run / "config.yaml"],
    ):
        invoke(*command, code=2)
    assert not (here / "ran").exists()


def test_a_folder_is_labelled_on_features(here, monkeypatch):
    from pipeline.commands import label

    for i in range(12):
        put(here, f"photos/{i}.png", size=(20, 30 + i))
    write_own(here)
    served = []
    monkeypatch.setattr(label, "_serve", lambda path, context, *_: served.append((path, context)))
    invoke("label", "photos", "--classes", "cat,dog", "--backbone", "my_eye:build", "--no-browser")
    [(path, context)] = served
    assert (context.spec.name, context.data.input_shape, context.data.pictures.input_shape) == (
        "linear",
        (20, 1, 1),
        (3, 8, 8),
    )
    assert (path / "images/images.json").is_file()
    invoke("label", path, "--trust-code")
    assert served[1][1].data.fingerprint() == context.data.fingerprint()


def test_the_trainer_learns_from_features(here):
    from trainer.cli import cli as trainer

    folder, _ = write_folder(here / "pre", shape=(1, 8, 8))
    common = ["--backbone", str(folder), "--n-labelled", "20", "--set", f"data.feature_store={here / 'kept'}"]
    done = CliRunner().invoke(trainer, ["fit", *common, "--epochs", "3", "--out", "fit"])
    assert done.exit_code == 0, done.output
    spec = json.loads((here / "fit/model.json").read_text())
    assert (spec["name"], spec["input_shape"][1:]) == ("linear", [1, 1])
    done = CliRunner().invoke(trainer, ["export", *common, "--pool", "9", "--out", "arrays"])
    assert "computed once" not in done.output  # the store is shared
    assert np.load("arrays/pool.npz")["x"].shape[::9] == (9,)
    wrong = CliRunner().invoke(trainer, ["fit", "--backbone-size", "96", "--n-labelled", "20", "--out", "no"])
    assert wrong.exit_code == 2
    assert (
        "--finetune, --backbone-size and data.feature_store: expected with --backbone, which is not given"
        in wrong.output
    )


def test_lists_and_doctor_know_backbones(monkeypatch):
    assert [line.split()[0] for line in invoke("list", "backbones").stdout.splitlines()] == [
        "efficientnet-lite0",
        "timm:NAME",
        "torchvision:NAME",
        "PKG.MOD:FACTORY",
        "FOLDER",
    ]
    from pipeline import doctor

    assert doctor._backbone() == ("ok", "backbone efficientnet-lite0: weights with SHA-256 579344248a93, as published")
    monkeypatch.setattr(doctor, "absent_package", lambda: "efficientnet_lite_pytorch")
    assert doctor._backbone().state == "absent"


@pytest.mark.parametrize("finetune", ["all", *some_long("head")])
def test_a_backbone_is_trained_on(here, finetune):
    name = write_own(here)
    rate = ["--set", "train.max_lr=0.1", "--set", "query.strategy=margin-influence-greedy"]
    invoke("run", "--backbone", name, "--finetune", finetune, *SMALL, *rate, "--out", "run")
    config = read_config(here / "run")
    assert (config.model.name, config.train.batch_norm) == ("on-backbone:my_eye:build", "running")
    start = read_events(here / "run")[0]
    assert (start["backbone"]["finetune"], start["backbone"]["size"]) == (finetune, [8, 8])
    weights = load_file(here / "run/cycles/001/train/weights.safetensors")
    before = open_backbone(name).build().state_dict()
    same = all(torch.equal(weights[f"eye.net.{key}"], value) for key, value in before.items())
    assert same == (finetune == "head")
    assert weights["head.2.weight"].abs().max() > 0
    graph = json.loads((here / "run/cycles/000/migrate/report.json").read_text())
    assert graph["verified"]
    assert "would run: model on-backbone:my_eye:build" in refused("products", "run")
    assert "no fault in" in invoke("verify", "run", "--trust-code").stdout
    if finetune == "all":
        invoke("products", "run", "--trust-code")
        about = read_about(here / "run/products/model")
        assert (about.input_shape, about.mean, about.std, about.ported) == ((1, 8, 8), (0.0,), (1.0,), True)


def test_a_trained_backbone_keeps_its_statistics(here):
    text = here / "my_eye.py"
    write_own(here)
    text.write_text(
        text.read_text().replace(
            "self.conv, self.pool = nn.Conv2d(3, 5, 3, padding=1),",
            "self.conv, self.pool = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)),",
        )
    )
    from trainer.loop import fit
    from trainer.options import options_for

    spec = ModelSpec("on-backbone:my_eye:build", (3, 8, 8), 2, {})
    net, x = build(spec, 0), np.random.default_rng(0).random((8, 3, 8, 8), np.float32)
    assert not net.head[2].weight.any()
    first = {key: value.clone() for key, value in net.state_dict().items()}
    fit(net, x, np.arange(8) % 2, 2, options_for(spec.name, epochs=3, max_lr=0.1), seed=0)
    now = net.state_dict()
    changed = {key for key, value in first.items() if not torch.equal(value, now[key])}
    assert {"eye.net.conv.0.weight", "eye.net.conv.1.weight", "head.2.weight"} <= changed
    assert not {key for key in changed if "running" in key or "center" in key}


def test_a_trained_backbone_is_asked_for_by_its_options():
    for options, reason in (
        (
            {"model.name": "on-backbone:efficientnet-lite0"},
            "a backbone is trained on by data.backbone and data.finetune",
        ),
        ({"data.backbone": "timm:x", "data.finetune": "all", "model.name": "cnn"}, "got 'cnn': leave it out"),
        (
            {"data.backbone": "timm:x", "data.finetune": "all", "train.batch_norm": "restated"},
            "batch_norm must be running",
        ),
        (
            {"data.backbone": "timm:x", "data.finetune": "all", "model.options": {"head": "x"}},
            "option head: expected one of",
        ),
        ({"data.backbone": "timm:x", "data.finetune": "all", "model.options": {"hat": 1}}, "has no option 'hat'"),
    ):
        with pytest.raises(PipelineError, match=reason):
            load_config(options=options)
