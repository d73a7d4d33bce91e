"""Data sets of a backbone's features: values, what stays of the images, and what they are known by."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from backbone_cases import write_folder, write_own
from folder_cases import put, read

from trainer.backbones.featured import Embedder, scaling
from trainer.data import ImageOptions, Split, load
from trainer.data.show import picture
from trainer.errors import TrainerError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_eye", None)


@pytest.fixture
def few():
    """Some of the digits."""
    data = load("digits")
    cut = {
        half: Split(getattr(data, half).images[:n], getattr(data, half).labels[:n])
        for half, n in (("train", 70), ("test", 9))
    }
    return dataclasses.replace(data, **cut)


def test_values_are_those_of_each_image_alone(tmp_path, few):
    embedder = Embedder(write_own(tmp_path), store=tmp_path / "store")
    data = embedder(few)
    net = embedder.backbone.build()
    for half in ("train", "test"):
        images = getattr(few, half).images
        truth = []
        for image in images:  # slowly
            x = torch.from_numpy(image.copy())[None].float() / 16
            with torch.no_grad():
                truth.append(net((x.expand(-1, 3, -1, -1) - 0.5) / 0.25).numpy()[0])
        found = getattr(data, half).images
        assert found.shape == (len(images), 20, 1, 1)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, :, 0, 0], truth, atol=1e-5)
        np.testing.assert_array_equal(getattr(data, half).labels, getattr(few, half).labels)
    assert data.holds_features
    assert not data.pictures.holds_features
    x = data.inputs("train")[:, :, 0, 0]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    assert np.isclose((x**2).mean(), 1, atol=1e-4)


def test_scaling_by_hand():
    mean, spread = scaling(np.array([[0, 5], [2, 5]], np.float32))
    assert mean == (1.0, 5.0)
    assert spread == pytest.approx(np.sqrt(0.5))  # squares 1, 1, 0, 0
    assert scaling(np.ones((3, 2), np.float32)) == ((1.0, 1.0), 1.0)


def test_what_features_are_known_by(tmp_path, few):
    folder, _ = write_folder(tmp_path / "pre", shape=(1, 8, 8))
    one = Embedder(str(folder), store=tmp_path / "store")
    data = one(few)
    assert data.fingerprint() == one.facts(few).fingerprint(few.classes) != few.fingerprint()
    assert Embedder(str(folder), store=tmp_path / "elsewhere")(few).fingerprint() == data.fingerprint()
    names = dataclasses.replace(few, classes=tuple("abcdefghij"))
    assert one(names).fingerprint() != data.fingerprint()  # and yet the same features are taken
    assert len([*(tmp_path / "store").iterdir()]) == 1
    write_folder(folder, shape=(1, 8, 8), seed=1)
    other = Embedder(str(folder), store=tmp_path / "store")(few)
    assert other.fingerprint() != data.fingerprint()
    assert not np.array_equal(other.train.images, data.train.images)
    changed = few.train.images.copy()
    changed[3] = 0
    again = one(dataclasses.replace(few, train=Split(changed, few.train.labels)))
    assert again.fingerprint() != data.fingerprint()
    assert (again.train.images != data.train.images).any(axis=(1, 2, 3)).nonzero()[0].tolist() == [3]


def test_a_folder_is_read_at_the_backbones_size_and_shown_as_it_is(tmp_path):
    for i in range(6):
        put(tmp_path, f"photos/{'cat' if i % 2 else 'dog'}/{i}.png", size=(20, 30 + i))
    embedder = Embedder(write_own(tmp_path), store=tmp_path / "store")
    options = embedder.options(ImageOptions(test_fraction=0.0))
    assert options.image_size == "8x8"
    assert embedder.options(ImageOptions(image_size=16)).image_size == "16x16"
    images = read(tmp_path / "photos", image_size=options.image_size, test_fraction=0.0)
    data = embedder(images)
    assert (data.paths, data.root, data.listed, data.labelled_ids.tolist()) == (
        images.paths,
        images.root,
        images.listed,
        images.labelled_ids.tolist(),
    )
    assert data.input_shape == (20, 1, 1)
    assert picture(data, "train", 0, 64) == picture(images, "train", 0, 64)
    assert data.notes == images.notes


def test_registered_data_is_shown_as_images(tmp_path, few):
    data = Embedder(write_own(tmp_path), store=tmp_path / "store")(few)
    assert picture(data, "test", 1, 64) == picture(few, "test", 1, 64)
    assert data.sample_path("train", 3) == few.sample_path("train", 3)


def test_what_cannot_be_embedded_is_one_line(tmp_path, few):
    embedder = Embedder(write_own(tmp_path), store=tmp_path / "store")
    data = embedder(few)
    with pytest.raises(TrainerError, match="expected images, but digits holds features of them: leave the backbone"):
        embedder(data)
    folder, _ = write_folder(tmp_path / "grey", shape=(1, 8, 8))
    colours = dataclasses.replace(
        few,
        train=Split(np.repeat(few.train.images, 3, axis=1), few.train.labels),
        test=Split(np.repeat(few.test.images, 3, axis=1), few.test.labels),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    with pytest.raises(TrainerError, match="takes images of 1 channel, but these have 3"):
        Embedder(str(folder), store=tmp_path / "store")(colours)
    text = (tmp_path / "my_eye.py").read_text().replace(".flatten(1)", ".flatten(1) / 0")
    sys.modules.pop("my_eye")
    (tmp_path / "my_eye.py").write_text(text)
    with pytest.raises(TrainerError, match="its features of some images are not finite"):
        Embedder("my_eye:build", store=tmp_path / "store")(few)


def test_whoever_is_told_nothing_where_all_is_kept(tmp_path, few):
    embedder, told, begun = Embedder(write_own(tmp_path), store=tmp_path / "store"), [], []
    embedder(few, lambda done, total: told.append((done, total)), lambda: begun.append(1))
    assert told == [(0, 79), (64, 79), (79, 79)]
    embedder(few, lambda done, total: told.append(None), lambda: begun.append(1))
    assert len(told) == 3
    assert begun == [1]


def test_the_users_cache_is_where_features_are_kept(tmp_path, monkeypatch, few):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Embedder(write_own(tmp_path))(few)
    assert [*(tmp_path / "cache" / "ntk-lookahead" / "features").glob("*/features.npy")]
