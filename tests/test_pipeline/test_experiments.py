"""The papers' presets: the numbers of the paper, every cell a valid run at both scales, and small variants that run."""

import hashlib
import pickle
import re
import struct

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from pipeline.errors import PipelineError
from pipeline.experiments import Preset, parse_preset, preset_names, read_preset
from pipeline.run.rundir import create_run
from pipeline.run.summary import read_rows
from pipeline.sweep.grid import Grid
from trainer.models import build

# Section 5 of the look-ahead paper: data, network, block groups, initial labels, query, candidates.
PAPER = {
    "lookahead-mnist-wrn1": ("mnist", "wide_resnet", 1, 100, 20, 4000),
    "lookahead-svhn-wrn1": ("svhn", "wide_resnet", 1, 1000, 1000, 6000),
    "lookahead-svhn-wrn2": ("svhn", "wide_resnet", 2, 1000, 1000, 6000),
    "lookahead-svhn-resnet18": ("svhn", "resnet18", None, 1000, 1000, 6000),
    "lookahead-cifar10-wrn2": ("cifar10", "wide_resnet", 2, 1000, 1000, 6000),
    "lookahead-cifar10-resnet18": ("cifar10", "resnet18", None, 1000, 1000, 6000),
    "lookahead-cifar100-resnet18": ("cifar100", "resnet18", None, 10000, 1000, 6000),
}
TRAINING_IMAGES = {"mnist": 60_000, "svhn": 73_257, "cifar10": 50_000, "cifar100": 50_000}
SHRUNK = {
    "query.n_init": 12, "query.size": 2, "query.subset": 8, "cycles": 2, "train.epochs": 1, "device": "cpu",
}  # fmt: skip


# The other figures: strategies beside random, and in what their runs differ from the preset that they stand over.
FIGURES = {
    "lookahead-mnist-naive": ("lookahead-mnist-wrn1", {"naive", "mlmoc", "ntk-no-block", "mlmoc-flips"}, {}),
    "lookahead-mnist-models": ("lookahead-mnist-wrn1", {"mlmoc", "one-step", "infinite", "gp", "mlmoc-flips"}, {}),
    "lookahead-mnist-sequential": (
        "lookahead-mnist-wrn1",
        {"mlmoc", "mlmoc-sequential", "mlmoc-flips", "mlmoc-flips-sequential"},
        {},
    ),
    "lookahead-mnist-width160": (
        "lookahead-mnist-wrn1",
        {"mlmoc", "mlmoc-flips"},
        {"model.options.max_width": 160, "model.options.stem_width": 80},
    ),
    "lookahead-mnist-width40": (
        "lookahead-mnist-wrn1",
        {"mlmoc", "mlmoc-flips"},
        {"model.options.max_width": 40, "model.options.stem_width": 20},
    ),
    "lookahead-cifar10-l2": ("lookahead-cifar10-resnet18", {"mlmoc", "mlmoc-flips"}, {}),
    "lookahead-cifar10-cross-entropy": (
        "lookahead-cifar10-resnet18",
        {"mlmoc", "mlmoc-flips"},
        {"train.loss": "cross-entropy", "train.max_lr": 0.3},
    ),
    "thesis-mnist-criteria": ("lookahead-mnist-wrn1", {"mlmoc", "emoc", "eer", "mlmoc-flips"}, {}),
    "thesis-mnist-pntk": ("lookahead-mnist-wrn1", {"mlmoc", "mlmoc-flips"}, {}),
    "lookahead-cifar100-ll4al": (
        "lookahead-cifar100-resnet18",
        {"ll4al"},
        {"train.max_lr": 0.1, "train.restarts": 0},
    ),
    "thesis-mnist-full-kernel": ("lookahead-mnist-wrn1", {"mlmoc", "mlmoc-flips"}, {"kernel.head": "full"}),
}

# dynamicAL: data, network, labels of a round, networks trained (queries and one), start.
DYNAMICAL = {
    "dynamical-cifar10-cnn-b250": ("cifar10", "tutorial_cnn", 250, 10, "warm"),  # table 2
    "dynamical-cifar10-cnn-b500": ("cifar10", "tutorial_cnn", 500, 10, "warm"),  # table 3
    "dynamical-cifar10-resnet18-b500": ("cifar10", "resnet18", 500, 10, "warm"),  # table 4
    "dynamical-cifar10-resnet18-b1000": ("cifar10", "resnet18", 1000, 10, "warm"),  # table 5
    "dynamical-svhn-vgg11-b500": ("svhn", "vgg11", 500, 10, "warm"),  # table 6
    "dynamical-svhn-vgg11-b1000": ("svhn", "vgg11", 1000, 10, "warm"),  # table 7
    "dynamical-caltech-resnet18-b500": ("folder:101_ObjectCategories", "resnet18", 500, 10, "warm"),  # table 8
    "dynamical-caltech-resnet18-b1000": ("folder:101_ObjectCategories", "resnet18", 1000, 5, "warm"),  # table 9
    "dynamical-caltech-resnet18-long": ("folder:101_ObjectCategories", "resnet18", 500, 13, "warm"),  # fig. 10
    "dynamical-cifar10-cnn-b100": ("cifar10", "tutorial_cnn", 100, 11, "warm"),  # table 1
    "dynamical-cifar10-cnn-b1000": ("cifar10", "tutorial_cnn", 1000, 2, "warm"),
    "dynamical-cifar10-resnet18-b100": ("cifar10", "resnet18", 100, 11, "warm"),
    "dynamical-cifar10-resnet18-b250": ("cifar10", "resnet18", 250, 5, "warm"),
    "dynamical-svhn-vgg11-b100": ("svhn", "vgg11", 100, 11, "warm"),
    "dynamical-svhn-vgg11-b250": ("svhn", "vgg11", 250, 5, "warm"),
    "dynamical-caltech-resnet18-b100": ("folder:101_ObjectCategories", "resnet18", 100, 11, "warm"),
    "dynamical-caltech-resnet18-b250": ("folder:101_ObjectCategories", "resnet18", 250, 5, "warm"),
    "dynamical-cifar10-gap-b100": ("cifar10", "cnn_gap", 100, 11, "warm"),  # table 10
    "dynamical-cifar10-gap-b250": ("cifar10", "cnn_gap", 250, 10, "warm"),  # figs. 1, 2, 6, 7, 9
    "dynamical-cifar10-gap-b500": ("cifar10", "cnn_gap", 500, 10, "warm"),
    "dynamical-cifar10-gap-b1000": ("cifar10", "cnn_gap", 1000, 10, "warm"),
    "dynamical-cifar10-cnn-ratio": ("cifar10", "tutorial_cnn", 500, 1, "warm"),  # fig. 4
    "dynamical-svhn-vgg11-ratio": ("svhn", "vgg11", 500, 1, "warm"),
    "dynamical-cifar10-cnn-variants": ("cifar10", "tutorial_cnn", 500, 10, "warm"),  # fig. 5
    "dynamical-cifar10-resnet18-reinitialised": ("cifar10", "resnet18", 500, 10, "reinitialised"),  # table 11
    "dynamical-svhn-vgg11-reinitialised": ("svhn", "vgg11", 500, 10, "reinitialised"),  # table 12
}
LL4AL = {
    "ll4al-cifar10-resnet18": ("cifar10", "resnet18", "flip-crop"),
    "ll4al-svhn-resnet18": ("svhn", "resnet18", "none"),
    "ll4al-cifar10-wrn1": ("cifar10", "wide_resnet", "flip-crop"),
    "ll4al-svhn-wrn1": ("svhn", "wide_resnet", "none"),
}
# CRC: data, learner, initial labels, labels of a round, networks trained, epochs.
CRC = {
    "crc-cifar10-fixmatch-groups": ("cifar10", "fixmatch", 100, 100, 5, 350),  # table 1
    "crc-cifar10-fixmatch-layers": ("cifar10", "fixmatch", 50, 50, 4, 350),  # table 2
    "crc-svhn-mean-teacher-pseudo": ("svhn", "mean-teacher", 120, 20, 6, 512),  # table 3
    "crc-cifar10-fixmatch-pseudo": ("cifar10", "fixmatch", 10, 10, 4, 350),
    "crc-svhn-mean-teacher": ("svhn", "mean-teacher", 120, 20, 5, 512),  # table 4
    "crc-cifar100-fixmatch": ("cifar100", "fixmatch", 200, 50, 6, 600),  # table 5
    "crc-cifar10-fixmatch-q50": ("cifar10", "fixmatch", 50, 50, 6, 350),  # table 6
    "crc-cifar10-fixmatch-q100": ("cifar10", "fixmatch", 100, 100, 6, 350),
}


def flat(values, path=""):
    if not isinstance(values, dict):
        return {path: values}
    return {key: v for name, value in values.items() for key, v in flat(value, f"{path}.{name}".lstrip(".")).items()}


def test_there_is_a_preset_for_every_experiment_of_the_paper():
    assert preset_names() == sorted({*PAPER, *FIGURES, *DYNAMICAL, *LL4AL, *CRC})


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_differs_from_what_it_stands_over_in_what_it_varies_alone(name):
    base, strategies, changed = FIGURES[name]
    preset, over = read_preset(name), read_preset(base)
    assert preset.strategies[0] == "random"
    assert set(preset.strategies[1:]) == strategies
    mine, theirs = flat(preset.grid().resolved()), flat(over.grid().resolved())
    assert {key: value for key, value in mine.items() if theirs.get(key) != value} == changed
    assert preset.seeds == ("0-2" if name == "lookahead-cifar100-ll4al" else over.seeds)
    assert preset.source != over.source
    assert preset.description != over.description
    assert len(preset.scaled_down().grid().cells()) == 2 * len(preset.strategies)


@pytest.mark.parametrize("name", DYNAMICAL)
def test_dynamical_has_the_papers_numbers(name):
    preset = read_preset(name)
    assert preset.seeds == "0-4"
    assert {"random"} | ({"dynamical"} if DYNAMICAL[name][3] > 1 else set()) <= set(preset.strategies)
    for config in (cell.config for cell in preset.grid().cells()):
        query, train = config.query, config.train_options
        assert (config.data.name, config.model.name, query.size, config.cycles, config.start) == DYNAMICAL[name]
        assert query.n_init == 500
        assert (train.loss, train.schedule, train.max_lr) == ("cross-entropy", "constant", 1e-3)
        assert (train.optimizer, train.batch_size, train.until_accuracy) == ("adam", 128, 0.99)
    assert len(preset.scaled_down().grid().cells()) == 2 * len(preset.strategies)


@pytest.mark.parametrize(("b", "row"), [(100, 11), (250, 5), (500, 3), (1000, 2)])
@pytest.mark.parametrize("of", ["cifar10-cnn", "cifar10-resnet18", "svhn-vgg11", "caltech-resnet18"])
def test_every_cell_of_table_1_is_a_row_of_a_preset(of, b, row):
    preset = read_preset(f"dynamical-{of}-b{b}")
    config = preset.grid().cells()[0].config
    assert (config.query.n_init, config.query.size * (row - 1)) == (500, 1000)
    assert config.cycles >= row
    assert "table 1" in preset.source


def test_panels_are_those_of_the_supplements_captions():
    panels = {"svhn-resnet18": "4c and 7f", "cifar10-resnet18": "4d and 7g", "mnist-wrn1": "4 and 7d"}
    for name, figures in panels.items():
        assert read_preset(f"lookahead-{name}").source.endswith(f"figures {figures}")


@pytest.mark.parametrize("name", CRC)
def test_convergence_rate_control_has_the_papers_numbers(name):
    preset = read_preset(name)
    assert preset.seeds == "0-2"
    for config in (cell.config for cell in preset.grid().cells()):
        query, train = config.query, config.train_options
        sizes = query.n_init, query.size, config.cycles, train.epochs
        assert (config.data.name, train.learner, *sizes) == CRC[name]
        assert query.initial == "balanced"
        assert (query.balanced, query.initial_models) == ((True, 5) if name.endswith("pseudo") else (False, 3))
        assert config.start == "reinitialised"
        options = config.model.options
        assert (config.model.name, options["blocks_per_group"], options["max_width"]) == ("wide_resnet", 4, 128)
        if train.learner == "fixmatch":
            assert (train.batch_size, train.unlabelled_ratio, train.confidence) == (64, 7, 0.95)
        else:
            assert (train.batch_size, train.unlabelled_ratio, train.ramp, train.max_lr) == (50, 1, 0.4, 4e-4)
    assert len(preset.scaled_down().grid().cells()) == 2 * len(preset.strategies)


@pytest.mark.parametrize("name", LL4AL)
def test_loss_prediction_has_the_published_codes_numbers(name):
    for config in (cell.config for cell in read_preset(name).grid().cells()):
        query, train = config.query, config.train_options
        assert (config.data.name, config.model.name, train.augment) == LL4AL[name]
        assert (query.n_init, query.size, query.subset, config.cycles) == (1000, 1000, 10_000, 10)
        assert (train.loss, train.optimizer, train.schedule) == ("cross-entropy", "sgd", "multi-step")
        assert (train.milestones, train.decay, train.epochs, train.weight_decay) == ((0.8,), 0.1, 200, 5e-4)
        assert train.learner == ("loss-prediction" if query.strategy == "ll4al" else "supervised")


@pytest.mark.parametrize("name", preset_names())
def test_descriptions_are_sentences_without_those_of_a_visible_base(name):
    description = read_preset(name).description
    assert description.endswith(".")
    assert "  " not in description
    assert description.count("Not in the paper's text") == (0 if name in LL4AL else 1)
    assert sum(f"{data} with" in description for data in ("MNIST", "SVHN", "CIFAR-10")) <= 1


@pytest.mark.parametrize("name", PAPER)
def test_a_preset_has_the_papers_numbers(name):
    preset = read_preset(name)
    assert preset.strategies == ["random", "entropy", "margin", "badge", "ll4al", "mlmoc", "mlmoc-flips"]
    cells = preset.grid().cells()
    assert sorted({cell.seed for cell in cells}) == list(range(6))
    for config in (cell.config for cell in cells):
        query, train = config.query, config.train_options
        groups = config.model.options.get("block_groups")
        sizes = (query.n_init, query.size, query.subset)
        assert (config.data.name, config.model.name, groups, *sizes) == PAPER[name]
        assert groups is None or config.model.options["max_width"] == 640
        assert (train.loss, train.batch_size, train.momentum, train.weight_decay) == ("l2", 128, 0.9, 1e-4)
        assert (train.epochs, config.start) == (200, "warm")
        assert (train.tolerance, train.cycle_momentum, train.batch_norm) == (0.0, True, "running")
        assert train.max_lr == (1.25 if config.data.name == "cifar10" else 1.0)  # those known for squared error
        assert query.reference == "network"  # as the published batch path
        assert config.data.root is None


@pytest.mark.parametrize("name", PAPER)
def test_both_scales_fit_their_data_and_the_small_one_is_smaller(name):
    preset = read_preset(name)
    paper, small = (variant.grid().cells() for variant in (preset, preset.scaled_down()))
    assert {cell.strategy for cell in small} == {cell.strategy for cell in paper}
    assert len(small) < len(paper)
    labels = []
    for config in (paper[0].config, small[0].config):
        labels.append(config.query.n_init + config.query.size * (config.cycles - 1))
        assert labels[-1] + config.query.subset <= TRAINING_IMAGES[config.data.name]
    assert labels[1] < labels[0]
    assert small[0].config.query.subset < paper[0].config.query.subset
    spec = small[0].config.model_spec((3, 32, 32), 10)
    assert sum(p.numel() for p in build(spec, 0).parameters()) < 200_000


def test_what_is_given_wins_over_a_preset():
    grid = read_preset("lookahead-mnist-wrn1").grid(
        "random,entropy", "3", options={"train.epochs": 7, "data.root": "here"}, sets=["model.options.max_width=64"]
    )
    assert [(cell.strategy, cell.seed) for cell in grid.cells()] == [("random", 3), ("entropy", 3)]
    config = grid.cells()[1].config
    assert (config.train_options.epochs, config.data.root) == (7, "here")
    assert config.model.options == {"block_groups": 1, "max_width": 64, "stem_width": 320, "stem_stride": 1}


MINIMAL = {"description": "d", "source": "s", "strategies": ["random"], "seeds": "0", "run": {}}


def test_a_small_variant_is_merged_deeply_and_leaves_its_preset_alone():
    run = {"model": {"name": "mlp", "options": {"depth": 3, "width": 9}}, "cycles": 5}
    preset = Preset(**{**MINIMAL, "run": run, "small": {"seeds": "4", "run": {"model": {"options": {"width": 2}}}}})
    small = preset.scaled_down()
    assert small.run == {"model": {"name": "mlp", "options": {"depth": 3, "width": 2}}, "cycles": 5}
    assert (small.strategies, small.seeds, preset.seeds) == (["random"], "4", "0")
    assert small.description.endswith(f"At the paper's scale: {preset.description}")
    assert preset.run == run
    assert small.scaled_down() == small


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "x: seeds: .*string"),
        ({"cycles": 3}, "x: cycles: .*not permitted"),
        ({"small": {"runs": {}}}, "x: small.runs: .*not permitted"),
    ],
)
def test_a_wrong_preset_is_refused_in_one_line(changes, message):
    with pytest.raises(PipelineError, match=message):
        parse_preset(yaml.safe_dump({**MINIMAL, **changes}), "x")


def random_images(n, shape, classes, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % classes


def write_mnist(root):
    raw = root / "MNIST/raw"
    raw.mkdir(parents=True)
    for stem, n in (("train", 40), ("t10k", 12)):
        images, labels = random_images(n, (28, 28), 10, n)
        header = struct.pack(">IIII", 2051, *images.shape)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.astype(np.uint8).tobytes())


def write_cifar(root, monkeypatch, name):
    """CIFAR's pickles, their checksums put into torchvision's lists."""
    from torchvision import datasets

    reader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    classes, key, names = {
        "cifar10": (10, "labels", "label_names"),
        "cifar100": (100, "fine_labels", "fine_label_names"),
    }[name]
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    listed = []
    for file, n in (("a", 40), ("b", 12)):
        images, labels = random_images(n, (3072,), classes, n)
        content = pickle.dumps({"data": images, key: labels.tolist()})
        (folder / file).write_bytes(content)
        listed.append([file, hashlib.md5(content).hexdigest()])
    meta = pickle.dumps({names: [f"class {number}" for number in range(classes)]})
    (folder / "meta").write_bytes(meta)
    monkeypatch.setattr(reader, "train_list", listed[:1])
    monkeypatch.setattr(reader, "test_list", listed[1:])
    monkeypatch.setattr(reader, "meta", {"filename": "meta", "key": names, "md5": hashlib.md5(meta).hexdigest()})


def write_svhn(root, monkeypatch):
    from torchvision.datasets import SVHN

    listed = {}
    for half, n in (("train", 40), ("test", 12)):
        images, labels = random_images(n, (32, 32, 3), 10, n)
        path = root / f"{half}_32x32.mat"
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None] + 1})
        listed[half] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", listed)


# Looking ahead takes time to compile: once here, and with ResNet18 in `test_kernels.py`.
STRATEGIES = dict.fromkeys(PAPER, "margin,badge") | {
    "lookahead-mnist-wrn1": "random,mlmoc",
    "dynamical-cifar10-cnn-b500": "albl,dynamical",
    "ll4al-cifar10-wrn1": "random,ll4al",
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_small_variant_runs_on_files_in_the_data_sets_own_format(name, tmp_path, monkeypatch, go_on):
    preset = read_preset(name).scaled_down()
    data = preset.run["data"]["name"]
    if data == "mnist":
        write_mnist(tmp_path)
    elif data == "svhn":
        write_svhn(tmp_path, monkeypatch)
    else:
        write_cifar(tmp_path, monkeypatch, data)
    for cell in preset.grid(STRATEGIES[name], "0", options={**SHRUNK, "data.root": str(tmp_path)}).cells():
        create_run(tmp_path / cell.name, cell.config)
        go_on(tmp_path / cell.name)
        assert [row.n_labelled for row in read_rows(tmp_path / cell.name)] == [12, 14]


@pytest.fixture
def invoke(command):
    return command("experiments")


def test_list_names_every_preset_on_a_line_with_its_source_and_size(invoke):
    lines = invoke("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert all(
        re.search("NeurIPS 2022|Mohamadi 2023|Kong et al. 2021", line) and "strategies" in line for line in lines
    )


def test_show_prints_what_would_run(invoke):
    shown = yaml.safe_load(invoke("show", "lookahead-mnist-wrn1", "--small").stdout)
    small = read_preset("lookahead-mnist-wrn1").scaled_down()
    assert shown == yaml.safe_load(small.to_yaml())
    assert Grid(tuple(shown["strategies"]), (0,), shown["run"]).cells()[0].config == small.grid().cells()[0].config
    paper = invoke("show", "lookahead-mnist-wrn1").stdout
    assert yaml.safe_load(paper)["run"]["query"]["subset"] == 4000
    assert paper.startswith("description: >-\n")


def test_the_help_of_run_names_no_default_of_a_run_without_a_preset(invoke):
    text = " ".join(invoke("run", "-h").stdout.split())
    assert "Labels to start with. --initial" in text
    assert "[the preset's]" in text


def test_a_cells_own_fields_are_not_set(invoke):
    assert "give --strategies and --seeds" in invoke("run", "lookahead-mnist-wrn1", "--set", "seed=3", code=2).stderr


@pytest.mark.parametrize("verb", ["show", "run"])
def test_an_unknown_name_is_refused_with_those_there_are(invoke, verb):
    result = invoke(verb, "mnist", code=2)
    assert result.stderr.startswith("error: experiments: expected one of ")
    assert result.stderr.endswith("got 'mnist'\n")


def test_run_is_a_comparison_of_the_preset_with_what_was_given(invoke, monkeypatch):
    calls = []
    monkeypatch.setattr("pipeline.commands.experiments.carry_out", lambda *a, **k: calls.append((a, k)))
    given = ["--seeds", "1,4", "--data-root", "d", "--set", "train.epochs=7", "--jobs", "2", "--dry-run"]
    invoke("run", "lookahead-cifar10-wrn2", "--small", *given)
    [((grid, out), where)] = calls
    small = read_preset("lookahead-cifar10-wrn2").scaled_down()
    assert grid == small.grid(seeds="1,4", options={"data.root": "d", "train.epochs": 7})
    assert grid.resolved()["model"]["options"]["max_width"] == 32
    assert str(out) == "runs/lookahead-cifar10-wrn2-small"
    told = {key: value for key, value in where.items() if value is not None}
    assert told == {"dry_run": True, "trust_code": False, "jobs": 2}


@pytest.mark.long
def test_run_makes_the_grid_of_a_preset(invoke, tmp_path):
    write_mnist(tmp_path / "data")
    arguments = ["--small", "--strategies", "random", "--seeds", "1", "--data-root", "data", "--out", "grid"]
    shrunk = [word for key, value in SHRUNK.items() for word in ("--set", f"{key}={value}")]
    assert "pipeline report grid" in invoke("run", "lookahead-mnist-wrn1", *arguments, *shrunk).stdout
    assert [row.n_labelled for row in read_rows(tmp_path / "grid/random-seed1")] == [12, 14]
