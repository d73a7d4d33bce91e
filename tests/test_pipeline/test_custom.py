"""A user's own images, network and weights, from the command line to the files of a run."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.run.context import open_context
from pipeline.run.pool import Labelled
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.train import run_train
from trainer.models import ModelSpec, build

NET = """
import torch
from torch import nn

def build(input_shape, num_classes, width=8):
    channels, height, side = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(width * -(-height // 2) * -(-side // 2), num_classes),
    )

class Odd(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.net = build(input_shape, num_classes)

    def forward(self, x):
        y = self.net(x)
        return y + torch.special.bessel_j0(y.detach())

class Mixing(Odd):
    def forward(self, x):
        y = self.net(x)
        return y - y.mean(0)

def unseeded(input_shape, num_classes):
    import numpy as np
    model = build(input_shape, num_classes)
    model[3].bias.data += torch.from_numpy(np.random.default_rng().normal(size=num_classes).astype("float32"))
    return model

class Noise(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.register_buffer("noise", torch.randn(192, 4), persistent=False)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(torch.tanh(x.flatten(1) @ self.noise / 14))
"""
SMALL = [
    "--n-init", "10", "--query-size", "3", "--subset-size", "12", "--cycles", "2", "--epochs", "5", "--device", "cpu",
    "--set", "train.max_lr=0.01",
]  # fmt: skip
NETWORK = ["--model", "my_net:build", "--set", "model.options.width=4"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A directory with forty coloured photographs of two classes, with odd names, and a network of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rng = np.random.default_rng(0)
    for label, colour in (("rote Äpfel", (200, 40, 40)), ("pears", (40, 180, 40))):
        folder = tmp_path / "my photos" / label
        folder.mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(rng.normal(colour, 30, (12, 10 + number % 3, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"Bild {number}.{'PNG' if number % 2 else 'jpg'}")
    (tmp_path / "my_net.py").write_text(NET)
    yield tmp_path
    sys.modules.pop("my_net", None)


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


FOLDER = ["--dataset", "folder:my photos", "--image-size", "8"]


def test_a_folder_and_a_network_of_ones_own_from_files_to_queries(here):
    (here / "my photos/pears/notes.txt").write_text("x")
    result = invoke("run", *FOLDER, *NETWORK, *SMALL, "--strategy", "mlmoc")
    run = here / "runs/my-photos-my_net-build-mlmoc-seed0"
    assert "note: ignored 1 file under" in result.stderr
    assert f"run {run.relative_to(here)}" in result.stdout
    rows = [json.loads(line) for line in (run / "cycles/000/query.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    for row in rows:
        assert (here / "my photos" / row["path"]).is_file()
        assert row["classes"] == ["pears", "rote Äpfel"]
    labels = [json.loads(line) for line in (run / "cycles/000/labels.jsonl").read_text().splitlines()]
    assert [label["label"] for label in labels] == [row["path"].split("/")[0] for row in rows]
    assert json.loads((run / "cycles/000/train/model.json").read_text())["name"] == "my_net:build"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["image_size"] == "8x8"
    assert config["data"]["test_fraction"] == 0.2
    for stage in ("train", "migrate", "score", "select"):
        assert "equals the run's own" in invoke("stage", stage, run, "--cycle", 0, "--trust-code").stdout
    _what_may_change_and_what_may_not(here, run)


def _what_may_change_and_what_may_not(here, run):
    (here / "my photos").rename(here / "moved")
    assert "folder:my photos does not exist" in invoke("resume", run, "--trust-code", code=2).stderr
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("folder:my photos", "folder:moved"))
    assert "final test accuracy" in invoke("resume", run, "--trust-code").stdout
    (here / "my_net.py").write_text(NET + "# changed")
    said = invoke("resume", run, "--trust-code").stderr
    assert "my_net.py (SHA-256 " in said
    assert "CHANGED since the run began" in said
    assert "package versions changed since the run began (my_net:build:" in said
    picture = next((here / "moved/pears").glob("*.PNG"))
    Image.new("RGB", (12, 12), "blue").save(picture)
    error = invoke("resume", run, "--trust-code", code=2).stderr
    assert "the data set folder:moved is not the one that the run began with" in error


def test_every_seed_has_the_same_test_images_and_none_is_ever_asked_about(here):
    paths = set()
    for seed in (0, 1):
        invoke("run", *FOLDER, *NETWORK, *SMALL, "--strategy", "random", "--seed", seed, "--out", here / f"run{seed}")
        context = open_context(read_config(here / f"run{seed}"))
        paths.add(context.data.paths)
        asked = {
            context.data.sample_path("train", i) for e in read_events(here / f"run{seed}") for i in e.get("ids", ())
        }
        assert len(asked) == 13
        assert not asked & set(context.data.paths[1])
    assert len(paths) == 1


def test_arrays_and_a_registered_network(here):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (40, 8, 8), np.uint8)
    np.savez(here / "scans.v1.npz", X=x, y=np.where(x[:, 0, 0] > 127, "high", "low"))
    small = [*SMALL, "--strategy", "entropy", "--model", "mlp"]
    assert "run runs/scans.v1-mlp-entropy-seed0" in invoke("run", "--dataset", "npz:scans.v1.npz", *small).stdout


def weights(here, name="w.pt", change=lambda state: state):
    """A file with the weights of the network at another seed; returns them."""
    network = build(ModelSpec("my_net:build", (3, 8, 8), 2), seed=77)
    state = {f"module.{k}": v for k, v in change(network.state_dict()).items()}
    torch.save(state, here / name) if name.endswith(".pt") else save_file(state, here / name)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def options(**more):
    base = {"data.name": "folder:my photos", "data.image_size": 8, "model.name": "my_net:build", "device": "cpu"}
    base |= {
        "query.n_init": 10,
        "cycles": 2,
        "query.size": 3,
        "query.subset": 12,
        "query.strategy": "random",
        "seed": 5,
    }
    return base | {"train.epochs": 1} | {key.replace("__", "."): value for key, value in more.items()}


@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_training_starts_from_given_weights_but_for_those_left_out(here, file):
    given = weights(here, file)
    fresh = open_context(load_config(options=options())).network().state_dict()
    context = open_context(load_config(options=options(model__init_weights=file, model__init_skip=[3])))
    for name, tensor in context.network().state_dict().items():
        assert torch.equal(tensor, (fresh if name.startswith("3.") else given)[name])
    assert not torch.equal(fresh["0.weight"], given["0.weight"])


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_given_weights_are_where_cycle_0_and_every_cold_start_begin(here, start):
    given = weights(here)
    still = options(model__init_weights="w.pt", start=start, train__max_lr=1e-30, train__weight_decay=0.0)
    context = open_context(load_config(options=still))
    labelled = Labelled(np.arange(10), context.data.labels("train", np.arange(10)))
    other = {name: tensor + 1 for name, tensor in given.items()}
    for cycle, expected in ((0, given), (1, other if start == "warm" else given)):
        (here / f"before{cycle}").mkdir()
        (here / f"after{cycle}").mkdir()
        save_file(other, here / f"before{cycle}/weights.safetensors")
        run_train(context, cycle, labelled, here / f"before{cycle}" if cycle else None, here / f"after{cycle}")
        found = load_file(here / f"after{cycle}/weights.safetensors")
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_knows_its_weights_by_their_content(here):
    weights(here)
    arguments = [*FOLDER, "--model", "my_net:build", "--init-weights", "w.pt", *SMALL, "--strategy", "random"]
    invoke("run", *arguments, "--out", "run")
    (here / "w.pt").rename(here / "v.pt")
    assert "No such file" in invoke("resume", "run", "--trust-code", code=2).stderr
    config = (here / "run/config.yaml").read_text().replace("w.pt", "v.pt")
    (here / "run/config.yaml").write_text(config)
    invoke("resume", "run", "--trust-code")
    weights(here, "v.pt", change=lambda state: {name: tensor + 1 for name, tensor in state.items()})
    assert (
        "v.pt is not the file that the run began with (SHA-256 "
        in invoke("resume", "run", "--trust-code", code=2).stderr
    )


REFUSED = {
    "folder": (["--dataset", "folder:nowhere"], "folder:nowhere does not exist"),
    "sizes": (["--dataset", "folder:my photos"], "bring all to one with --image-size"),
    "size": (["--dataset", "folder:my photos", "--image-size", "-1"], "--image-size: expected a side in pixels"),
    "size of digits": (["--dataset", "digits", "--image-size", "8"], "expected folder:PATH or npz:PATH with it"),
    "kind": (["--dataset", "files:my photos"], "folder:PATH or npz:PATH; got 'files:my photos'"),
    "too many": ([*FOLDER, "--n-init", "31"], "take 34 samples, but folder:my photos has 32"),
    "share": ([*FOLDER, "--set", "data.test_fraction=1.5"], "between 0 and 1, such as 0.2, got 1.5"),
    "mode": ([*FOLDER, "--set", "data.mode=bw"], "data.mode: input should be 'auto', 'rgb' or 'grey'"),
    "module": ([*FOLDER, "--model", "no_net:build"], "No module named 'no_net'"),
    "outputs": ([*FOLDER, "--model", "torch.nn:Flatten"], "expected one output a class, [2, 2], got [2, 192]"),
    "option": ([*FOLDER, *NETWORK, "--set", "model.options.depth=3"], "takes no depth"),
    "unseeded": ([*FOLDER, "--model", "my_net:unseeded"], "made other weights the second time"),
    "no weights": ([*FOLDER, *NETWORK, "--init-weights", "none.pt"], "--init-weights: cannot read none.pt"),
    "no tensors": ([*FOLDER, *NETWORK, "--init-weights", "my_net.py"], "--init-weights: my_net.py cannot be read"),
    "other network": ([*FOLDER, "--model", "mlp", "--init-weights", "w.pt"], "the weights do not fit this network"),
    "other head": (
        [*FOLDER, "--model", "my_net:build", "--set", "model.options.width=4", "--init-weights", "w.pt"],
        "different: 0.bias is [8] in the file but [4] in the network",
    ),
    "skip alone": ([*FOLDER, "--set", "model.init_skip=fc"], "expected with model.init_weights"),
    "empty skip": ([*FOLDER, "--init-weights", "w.pt", "--set", "model.init_skip=['']"], "got an empty one"),
    "skip of nothing": (
        [*FOLDER, "--model", "my_net:build", "--init-weights", "w.pt", "--set", "model.init_skip=fc"],
        "there is no layer fc; there are 0, 3",
    ),
    "dates": ([*FOLDER, *NETWORK, "--set", "model.options.a=2020-01-01"], "my_net:build options: expected numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(here, case):
    arguments, message = REFUSED[case]
    weights(here)
    result = invoke("run", *SMALL, *arguments, code=2)
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not (here / "runs").exists()


@pytest.mark.parametrize("command", ["run --strategy random", "compare --strategies random,margin", "label"])
def test_a_network_whose_accuracy_would_mean_nothing_is_refused_by_every_command(here, command):
    name, *rest = command.split()
    where = ["my photos", "--classes", "a,b", "--no-browser"] if name == "label" else [*FOLDER, *SMALL]
    result = invoke(name, *where, *rest, "--model", "my_net:Mixing", code=2)
    assert "error: model: --model my_net:Mixing: expected outputs for an image that are its own, but" in result.stderr
    assert "depend on the others in its batch" in result.stderr
    assert not any((here / "runs").glob("*"))


def test_a_network_that_cannot_be_ported_is_one_line_that_names_the_operator(here):
    result = invoke("run", *FOLDER, "--model", "my_net:Odd", *SMALL, "--out", "run", code=1)
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 1
    assert "the port to Flax failed" in lines[0]
    assert "bessel_j0" in lines[0]
    assert "entropy need no port" in lines[0]
    invoke("run", *FOLDER, "--model", "my_net:Odd", *SMALL, "--strategy", "margin", "--out", "run2")


def test_random_constants_that_are_not_saved_are_the_same_in_every_stage(here):
    invoke("run", *FOLDER, "--model", "my_net:Noise", *SMALL, "--strategy", "mlmoc", "--out", "run")
    assert "equals the run's own" in invoke("stage", "migrate", "run", "--cycle", 0, "--trust-code").stdout


def test_names_of_ones_own_are_listed_and_helped_with():
    assert "folder:PATH, your image files in class folders" in invoke("list", "datasets").stdout
    assert "npz:PATH" in invoke("list", "datasets").stdout
    assert "def build(input_shape, num_classes)" in invoke("list", "models").stdout


def test_where_files_lie_is_not_scientific_but_how_they_are_read_is(here):
    weights(here)
    (here / "copy.pt").write_bytes((here / "w.pt").read_bytes())
    base = load_config(options=options(model__init_weights="w.pt"))
    same = load_config(options=options(model__init_weights="copy.pt", data__name="folder:/elsewhere"))
    assert same.digest() == base.digest()
    assert load_config(options=options(model__init_weights="w.pt", data__image_size=9)).digest() != base.digest()
    assert load_config(options=options()).digest() != base.digest()
    assert load_config(options=options(data__image_size="8")) == load_config(options=options(data__image_size=8))
    again = load_config(options=options(data__mode="rgb"))
    assert type(again).model_validate(yaml.safe_load(again.to_yaml())) == again


def test_registered_data_sets_keep_the_digests_of_their_runs():
    assert sorted(load_config().scientific()["data"]) == ["name"]
    assert sorted(load_config().scientific()["model"]) == ["name", "options"]
    with pytest.raises(PipelineError, match="mode: expected folder:PATH or npz:PATH with it, got 'digits'"):
        load_config(sets=["data.mode=rgb"])
