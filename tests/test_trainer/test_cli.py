"""The command line: what it writes, what it refuses, and that refusing leaves nothing behind."""

import json
import shlex

import numpy as np
import pytest
from click.testing import CliRunner

from common import files
from trainer import cli
from trainer.checkpoint import load_weights
from trainer.data import load
from trainer.models import ModelSpec, build
from trainer.predict import accuracy, predict

QUICK = ["--model", "mlp", "--epochs", "3"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.cli, arguments)


def test_fit_writes_a_network_that_can_be_loaded_again(run, tmp_path):
    result = run("fit", "--n-labelled", "50", *QUICK, "--option", "width=16", "--out", "made/here")
    assert result.exit_code == 0, result.output
    out = tmp_path / "made/here"
    files = ["labeled.json", "metrics.jsonl", "model.json", "samples.csv", "weights.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == files
    model = build(ModelSpec(**json.loads((out / "model.json").read_text())))
    load_weights(model, out / "weights.safetensors")
    data, records = load("digits"), [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    test = accuracy(predict(model, data.inputs("test")), data.labels("test"))
    assert records[-1]["test_accuracy"] == test
    assert f"test accuracy {test:.4f}" in result.output
    assert f"||R|| = {records[-1]['residual_norm']:.4f}" in result.output
    assert [record["epoch"] for record in records[:-1]] == [1, 2, 3]
    ids = json.loads((out / "labeled.json").read_text())
    assert len(set(ids)) == 50
    assert [path.name for path in tmp_path.joinpath("made").iterdir()] == ["here"]


def test_the_same_command_writes_the_same_weights_and_a_seed_changes_them(run, tmp_path):
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run("fit", "--n-labelled", "30", *QUICK, "--seed", seed, "--out", out).exit_code == 0
    one, same, other = ((tmp_path / out / "weights.safetensors").read_bytes() for out in "abc")
    assert one == same
    assert one != other
    assert (tmp_path / "a/labeled.json").read_text() != (tmp_path / "c/labeled.json").read_text()


def test_given_ids_and_a_warm_start(run, tmp_path):
    (tmp_path / "ids.json").write_text("[5, 3, 900]")
    assert run("fit", "--labelled", "ids.json", *QUICK, "--out", "a").exit_code == 0
    assert json.loads((tmp_path / "a/labeled.json").read_text()) == [3, 5, 900]
    weights = "a/weights.safetensors"
    result = run("fit", "--labelled", "a/labeled.json", *QUICK, "--init", weights, "--max-lr", "1e-9", "--out", "b")
    assert result.exit_code == 0, result.output
    first, second = (json.loads((tmp_path / f / "metrics.jsonl").read_text().splitlines()[-1]) for f in "ab")
    assert second["residual_norm"] == pytest.approx(first["residual_norm"], rel=1e-3)


def test_export_writes_what_scoring_reads(run, tmp_path):
    result = run("export", "--n-labelled", "20", "--pool", "100", "--out", "arrays")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "arrays/labelled.npz") as first, np.load(tmp_path / "arrays/pool.npz") as second:
        labelled, pool = dict(first), dict(second)
    data = load("digits")
    assert set(labelled) == {"x", "y", "ids", "paths"}
    assert set(pool) == {"x", "ids", "paths"}  # no labels of the pool leave
    np.testing.assert_array_equal(labelled["x"], data.inputs("train", labelled["ids"]))
    np.testing.assert_array_equal(labelled["y"].argmax(axis=1), data.labels("train", labelled["ids"]))
    np.testing.assert_array_equal(pool["x"], data.inputs("train", pool["ids"]))
    assert len(set(labelled["ids"]) | set(pool["ids"])) == 120
    assert labelled["y"].shape == (20, 10)
    assert run("fit", "--n-labelled", "20", *QUICK, "--out", "fit").exit_code == 0
    assert json.loads((tmp_path / "fit/labeled.json").read_text()) == labelled["ids"].tolist()


BAD = {
    "neither ids nor a number": ("fit", "--out", "out"),
    "both ids and a number": ("fit", "--n-labelled", "5", "--labelled", "ids.json", "--out", "out"),
    "more than there are": ("fit", "--n-labelled", "1298", "--out", "out"),
    "data set": ("fit", "--dataset", "nist", "--n-labelled", "5", "--out", "out"),
    "data root": ("fit", "--dataset", "mnist", "--data-root", "nowhere", "--n-labelled", "5", "--out", "out"),
    "model": ("fit", "--model", "vgg", "--n-labelled", "5", "--out", "out"),
    "model option": ("fit", "--option", "depth=3", "--n-labelled", "5", "--out", "out"),
    "model option value": ("fit", "--option", "width=wide", "--n-labelled", "5", "--out", "out"),
    "model option form": ("fit", "--option", "width", "--n-labelled", "5", "--out", "out"),
    "loss": ("fit", "--loss", "hinge", "--n-labelled", "5", "--out", "out"),
    "epochs": ("fit", "--epochs", "0", "--n-labelled", "5", "--out", "out"),
    "device": ("fit", "--device", "abacus", "--n-labelled", "5", "--out", "out"),
    "init": ("fit", "--init", "nowhere.safetensors", "--n-labelled", "5", "--out", "out"),
    "ids missing": ("fit", "--labelled", "nowhere.json", "--out", "out"),
    "ids not json": ("fit", "--labelled", "text", "--out", "out"),
    "ids empty": ("fit", "--labelled", "empty.json", "--out", "out"),
    "ids not integers": ("fit", "--labelled", "floats.json", "--out", "out"),
    "ids twice": ("fit", "--labelled", "twice.json", "--out", "out"),
    "ids out of range": ("fit", "--labelled", "far.json", "--out", "out"),
    "pool": ("export", "--n-labelled", "1000", "--pool", "298", "--out", "out"),
    "out taken": ("fit", "--n-labelled", "5", *QUICK, "--out", "taken"),
    "export out taken": ("export", "--n-labelled", "5", "--pool", "5", "--out", "taken"),
    "out is a file": ("fit", "--n-labelled", "5", *QUICK, "--out", "text"),
    "out under a file": ("fit", "--n-labelled", "5", *QUICK, "--out", "text/out"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_and_exit_code_2_with_nothing_written(run, tmp_path, case):
    files = {"ids": "[1]", "empty": "[]", "floats": "[0.5]", "twice": "[1, 1]", "far": "[1297]"}
    for name, text in files.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "text").write_text("text")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    result = run(*BAD[case])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken/file").read_text() == "mine"


def test_click_refuses_unknown_options_with_the_same_exit_code(run, tmp_path):
    assert run("fit", "--number-labelled", "5", "--out", "out").exit_code == 2
    assert run("export", "--n-labelled", "0", "--pool", "5", "--out", "out").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_options_may_be_spelt_the_american_way(run, tmp_path):
    for out, spelling in (("a", "labelled"), ("b", "labeled")):
        assert run("fit", f"--n-{spelling}", "30", *QUICK, "--out", out).exit_code == 0
    assert (tmp_path / "a/labeled.json").read_text() == (tmp_path / "b/labeled.json").read_text()
    assert run("fit", "--labeled", "a/labeled.json", *QUICK, "--out", "c").exit_code == 0
    assert "--n-labelled, --n-labeled INTEGER" in run("fit", "--help").output


def test_an_empty_folder_may_be_filled(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert run("export", "--n-labelled", "5", "--pool", "5", "--out", "out").exit_code == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_training_that_diverges_is_one_line_and_exit_code_1_with_nothing_written(run, tmp_path):
    result = run("fit", "--n-labelled", "50", "--max-lr", "1e9", "--epochs", "40", "--out", "out")
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("failed: training diverged")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_exit_code_1_with_nothing_left(run, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "sync_file", full)
    result = run("export", "--n-labelled", "5", "--pool", "5", "--out", "out")
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("failed: cannot read or write out.tmp-")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["fit", "export"])
def test_the_example_of_every_help_runs(run, tmp_path, command):
    text = run(command, "--help").output
    example = next(line for line in text.splitlines() if "Example:" in line).split("Example: ")[1]
    words = shlex.split(example)
    assert words[:2] == ["trainer", command]
    quick = ["--epochs", "1"] if command == "fit" else []
    assert run(*words[1:], *quick).exit_code == 0
    assert (tmp_path / words[-1]).is_dir()


@pytest.fixture
def partly(tmp_path):
    """Thirty images of two classes and six without a label; the same as an archive and as features."""
    rng = np.random.default_rng(0)
    y = np.where(np.arange(36) < 30, np.arange(36) % 2, -1)
    np.savez(tmp_path / "d.npz", X=(rng.integers(0, 60, (36, 4, 4)) + 150 * (y[:, None, None] == 1)), y=y)
    np.savez(tmp_path / "f.npz", X=rng.normal(size=(36, 5)) + 3 * y[:, None], y=y)
    np.savez(tmp_path / "none.npz", X=rng.integers(0, 256, (9, 4, 4), np.uint8))
    (tmp_path / "loose.json").write_text("[3, 28]")


@pytest.mark.usefixtures("partly")
@pytest.mark.parametrize("name", ["d.npz", "f.npz"])
def test_only_what_has_a_label_is_drawn_and_every_id_leads_to_its_row(run, tmp_path, name):
    result = run("fit", "--dataset", f"npz:{name}", "--n-labelled", "24", *QUICK, "--out", "out")
    assert result.exit_code == 0, result.output
    assert f"note: 6 of 36 samples of npz:{name} have no label: 6 marked -1" in result.stderr
    rows = (tmp_path / "out/samples.csv").read_text().splitlines()
    assert rows[0] == "sample_id,path"
    data = load(f"npz:{name}")
    ids = json.loads((tmp_path / "out/labeled.json").read_text())
    assert rows[1:] == [f"{sample},{data.sample_path('train', sample)}" for sample in ids]
    assert (data.train.labels[ids] >= 0).all()
    assert run("export", "--dataset", f"npz:{name}", "--n-labelled", "20", "--pool", "10", "--out", "a").exit_code == 0
    with np.load(tmp_path / "a/labelled.npz") as first, np.load(tmp_path / "a/pool.npz") as second:
        assert not set(first["ids"]) & set(second["ids"])
        assert set(second["ids"]) >= set(range(24, 30))  # what has no label may be in the pool
        for part in (first, second):
            assert part["paths"].tolist() == [data.sample_path("train", sample) for sample in part["ids"]]
    assert len((tmp_path / "a/samples.csv").read_text().splitlines()) == 31


def test_ids_of_published_data_are_named_too(run, tmp_path):
    assert run("export", "--n-labelled", "5", "--pool", "2", "--out", "a").exit_code == 0
    rows = (tmp_path / "a/samples.csv").read_text().splitlines()[1:]
    assert len(rows) == 7
    assert all(row == "{0},digits/train/{0}".format(row.split(",")[0]) for row in rows)


@pytest.mark.usefixtures("partly")
def test_a_test_half_is_not_needed_to_train(run, tmp_path):
    options = ["--dataset", "npz:d.npz", "--set", "data.test_fraction=0", "--n-labelled", "30", *QUICK]
    result = run("fit", *options, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "no test images" in result.output
    assert json.loads((tmp_path / "out/metrics.jsonl").read_text().splitlines()[-1])["test_accuracy"] is None


@pytest.mark.usefixtures("partly")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-labelled", "25"], "asks for 25 images, but npz has 24 with a label; ask for fewer"),
        (["--labelled", "loose.json"], "1 of 2 samples have no label, such as d.npz#X"),
        (["--n-labelled", "5", "--classes", "cat"], "classes: expected two or more names"),
        (
            ["--n-labelled", "5", "--dataset", "npz:none.npz"],
            "9 training samples, of which 0 have a label, and no class",
        ),
        (["--n-labelled", "5", "--dataset", "npz:none.npz", "--classes", "a,b"], "npz has 0 with a label"),
        (["--n-labelled", "5", "--dataset", "npz:f.npz", "--augment", "flip-crop"], "augment flip-crop is for images"),
        (
            ["--n-labelled", "5", "--dataset", "digits", "--classes", "a,b"],
            "classes: expected --dataset folder:PATH or",
        ),
    ],
)
def test_what_is_wrong_with_labels_is_one_line_and_nothing_is_written(run, tmp_path, arguments, message):
    result = run("fit", "--dataset", "npz:d.npz", *arguments, *QUICK, "--out", "out")
    assert result.exit_code == 2, result.output
    [error] = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()
