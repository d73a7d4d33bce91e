"""``pipeline predict``: a network that somebody was given, on samples of their own."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from folder_cases import picture, put
from PIL import Image
from products_cases import CLASSES, begin, go_on, make_folder

from pipeline.cli import cli
from pipeline.products.model_folder import read_about
from pipeline.products.new_data import open_new_data
from pipeline.run.context import load_data
from pipeline.run.rundir import read_config


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, ["predict", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refuse(reason, *arguments):
    said = call(*arguments, "--out", "refused.csv", code=2).stderr
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert reason in said
    assert not list(Path.cwd().glob("*refused*"))


def table(path):
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def model_of(where, folder, **options):
    run = go_on(begin(where / "run", folder, **options))
    assert CliRunner().invoke(cli, ["products", str(run)]).exit_code == 0
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    where = tmp_path_factory.mktemp("made")
    return model_of(where, make_folder(where / "photos"))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A run on 16-bit greys that use 0 to 1023 alone."""
    where = tmp_path_factory.mktemp("deep")
    for i in range(18):
        half = "train" if i < 12 else "test"
        path = where / "photos" / half / CLASSES[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sixteen(i, path)
    options = {"annotator__name": None, "cycles": 1, "query__n_init": 8, "query__strategy": "entropy"}
    return model_of(where, where / "photos", **options)


def sixteen(seed, path):
    Image.fromarray(np.random.default_rng(seed).integers(0, 1024, (8, 8), np.uint16)).save(path)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    where = tmp_path_factory.mktemp("features")
    x = np.random.default_rng(0).normal(3, 2, (40, 5))
    np.savez(where / "f.npz", X=x, y=np.arange(40) % 3)
    options = {"annotator__name": None, "cycles": 1, "query__strategy": "entropy"}
    options |= {"data__image_size": None, "data__classes": None, "data__name": f"npz:{where / 'f.npz'}"}
    return model_of(where, "", **options)


def test_images_flat_and_nested_of_any_size_and_what_cannot_be_read(made, tmp_path):
    new = tmp_path / "new"
    put(new, "a.png", (8, 8), "L")
    put(new, "deep/er/=b.jpg", (30, 9), "L")
    put(new, "c.png", (20, 20), "RGB")
    (new / "bad.png").write_bytes(b"no image")
    (new / "notes.txt").write_text("no image either")
    result = call(made / "products" / "model", new)
    rows = table(tmp_path / "predictions.csv")
    assert {row["path"] for row in rows} == {"a.png", "deep/er/=b.jpg", "c.png"}
    assert {row["predicted"].removeprefix("'") for row in rows} <= set(CLASSES)
    assert "bad.png cannot be read and is left out (not an image)" in result.stderr
    assert "1 file can hold colours and is read as grey" in result.stderr
    assert "3 predictions by the network of cycle 1" in result.output


def test_the_runs_own_images_get_the_runs_own_predictions(made, tmp_path):
    photos = load_data(read_config(made)).root
    call(made, photos / "train", "--out", "new.csv")
    ours = {row["path"].removeprefix("./"): row["probability"] for row in table(tmp_path / "new.csv")}
    theirs = {row["path"]: row["probability"] for row in table(made / "products" / "predictions.csv")}
    assert len(ours) == 40
    assert ours == {path.removeprefix("train/"): p for path, p in theirs.items() if path.startswith("train/")}


def test_pieces_of_one_image_change_nothing(made, tmp_path, monkeypatch):
    photos = load_data(read_config(made)).root
    call(made, photos / "train", "--out", "whole.csv")
    monkeypatch.setattr("pipeline.products.new_data.MOST_IN_PIECE", 7)
    call(made, photos / "train", "--out", "pieces.csv")
    assert (tmp_path / "pieces.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_sixteen_bits_are_read_as_the_run_read_its_own(deep, tmp_path):
    data = load_data(read_config(deep))
    about = read_about(deep / "products" / "model")
    assert about.depth == (0, 2)
    new = tmp_path / "new"
    new.mkdir()
    sixteen(0, new / "again.png")
    [inputs] = open_new_data(str(new), about).pieces()
    where = data.paths[0].index(f"train/{CLASSES[0]}/0.png")
    np.testing.assert_allclose(inputs[0], data.inputs("train", [where])[0], atol=1e-6)


def test_arrays_of_images_are_read_as_the_run_read_its_own(made, tmp_path):
    data = load_data(read_config(made))
    about = read_about(made / "products" / "model")
    np.savez(tmp_path / "x.npz", x_test=data.train.images[:3, 0], other=np.zeros(4))
    [inputs] = open_new_data("npz:x.npz", about).pieces()
    np.testing.assert_array_equal(inputs, data.inputs("train", [0, 1, 2]))
    call(made, "x.npz")
    assert {row["path"] for row in table(tmp_path / "predictions.csv")} == {f"x.npz#x_test[{i}]" for i in range(3)}


def test_floats_in_a_small_part_of_their_range(tmp_path):
    x = np.random.default_rng(0).uniform(0.2, 0.4, (40, 6, 6))
    np.savez(tmp_path / "narrow.npz", X=x, y=np.arange(40) % 3)
    options = {"annotator__name": None, "cycles": 1, "query__strategy": "entropy"}
    options |= {"data__image_size": None, "data__classes": None, "data__name": "npz:narrow.npz"}
    run = model_of(tmp_path, "", **options)
    about = read_about(run / "products" / "model")
    assert about.span == (x.min(), x.max())
    np.savez(tmp_path / "new.npz", X=np.concatenate([x[:1], np.full((1, 6, 6), 0.9)]))
    [inputs] = open_new_data("new.npz", about).pieces()
    data = load_data(read_config(run))
    where = next(i for i in range(len(data.train)) if data.rows[0].row[i] == 0) if 0 in data.rows[0].row else None
    half, i = ("train", where) if where is not None else ("test", int(np.flatnonzero(data.rows[1].row == 0)[0]))
    np.testing.assert_array_equal(inputs[0], data.inputs(half, [i])[0])
    assert np.unique(inputs[1]) == about.normalised(np.full((1, 1, 1, 1), 255, np.uint8))[0, 0, 0, 0]


def test_features_of_the_same_length_alone(features, tmp_path):
    x = np.random.default_rng(1).normal(size=(4, 5))
    np.savez("new.npz", embeddings=x, labels=np.zeros(9))  # whose labels fit nothing, and are not looked at
    call(features, "new.npz")
    assert len(table(tmp_path / "predictions.csv")) == 4
    np.savez("short.npz", X=x[:, :4])
    refuse("the network takes 5 features of each sample, but X holds 4 features", features, "short.npz")
    put(tmp_path / "new", "a.png")
    refuse("the network takes 5 features of each sample, not images", features, "new")


def test_what_the_network_does_not_take_is_refused(made, tmp_path):
    np.savez("colour.npz", X=np.zeros((2, 8, 8, 3), np.uint8))
    np.savez("large.npz", X=np.zeros((2, 9, 9), np.uint8))
    np.savez("flat.npz", X=np.zeros((2, 64)))
    np.savez("two.npz", one=np.zeros((2, 8, 8)), other=np.zeros((2, 8, 8)))
    np.savez("values.npz", X=np.full((2, 8, 8), 300))
    refuse("but X holds images [3, 8, 8]", made, "colour.npz")
    refuse("but X holds images [1, 9, 9]", made, "large.npz")
    refuse("but X holds 64 features", made, "flat.npz")
    refuse("it has one, other", made, "two.npz")
    refuse("expected integers from 0 to 255", made, "values.npz")
    refuse("does not exist", made, "nothing")
    (tmp_path / "empty").mkdir()
    refuse("holds no images", made, "empty")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    refuse("none of 1 images can be read", made, "bad")


def test_a_file_that_is_there_stays(made, tmp_path):
    put(tmp_path / "new", "a.png")
    (tmp_path / "predictions.csv").write_text("mine")
    assert "expected a new file" in call(made, "new", code=2).stderr
    assert (tmp_path / "predictions.csv").read_text() == "mine"
    assert "in a folder that there is" in call(made, "new", "--out", "no/where.csv", code=2).stderr


def test_no_model_is_said_in_one_line(made, tmp_path):
    put(tmp_path / "new", "a.png")
    refuse("expected a run, its folder products, or the folder model in it", "new", "new")
    refuse("does not exist", "nothing", "new")
    run = shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns("products"))
    refuse(f"write it first, 'pipeline products {run}'", run, "new")


DAMAGE = {
    "no JSON": lambda plain: "{",
    "a list": lambda plain: [],
    "another format": lambda plain: {**plain, "format": 2},
    "a class less": lambda plain: {**plain, "classes": plain["classes"][:2]},
    "a class twice": lambda plain: {**plain, "classes": ["cat", "cat", "dog"]},
    "a class of two lines": lambda plain: {**plain, "classes": ["cat", "a\nb", "dog"]},
    "another shape": lambda plain: {**plain, "network": {**plain["network"], "input_shape": [1, 8, 9]}},
    "no shape": lambda plain: {**plain, "network": {**plain["network"], "input_shape": [1, -8]}},
    "a deviation of 0": lambda plain: {**plain, "input": {**plain["input"], "std": [0.0]}},
    "no mean": lambda plain: {**plain, "input": {**plain["input"], "mean": [float("nan")]}},
    "a strange loss": lambda plain: {**plain, "loss": "hinge"},
    "a strange depth": lambda plain: {**plain, "input": {**plain["input"], "depth": [0, 99]}},
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_model_is_refused_in_one_line(made, tmp_path, case):
    model = shutil.copytree(made / "products" / "model", tmp_path / "model")
    plain = DAMAGE[case](json.loads((model / "model.json").read_text()))
    (model / "model.json").write_text(plain if isinstance(plain, str) else json.dumps(plain))
    put(tmp_path / "new", "a.png")
    refuse("model", model, "new")


def test_a_changed_port_is_refused(made, tmp_path):
    model = shutil.copytree(made / "products" / "model", tmp_path / "model")
    graph = model / "port" / "graph.json"
    graph.write_text(graph.read_text().replace("8", "9", 1))
    put(tmp_path / "new", "a.png")
    refuse("does not have the recorded SHA-256", model, "new")


def test_torch_is_not_needed(made, tmp_path):
    """Nor the data that the network was trained on, nor anything of the run."""
    model = shutil.copytree(made / "products" / "model", tmp_path / "elsewhere")
    put(tmp_path / "new", "a.png")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from pipeline.products.predict import predict_new\n"
        f"print(predict_new(Path({str(model)!r}), 'new', Path('out.csv')).written)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "1\n", ran.stderr


def test_a_colour_network_sees_grey_images_in_three_channels(tmp_path):
    run = model_of(tmp_path, make_folder(tmp_path / "photos", mode="RGB"), cycles=1)
    about = read_about(run / "products" / "model")
    assert about.input_shape == (3, 8, 8)
    put(tmp_path / "new", "a.png", mode="L", seed=3)
    [inputs] = open_new_data("new", about).pieces()
    grey = np.asarray(picture(3, mode="L"), np.float32) / 255
    expected = (grey - np.array(about.mean)[:, None, None]) / np.array(about.std)[:, None, None]
    np.testing.assert_allclose(inputs[0], expected, rtol=1e-4, atol=1e-5)
