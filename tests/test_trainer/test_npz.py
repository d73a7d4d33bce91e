"""``npz:PATH``: arrays in every accepted form, and every archive that is refused."""

import zipfile

import numpy as np
import pytest

from trainer.data import ImageOptions, load
from trainer.data.custom import draw_test
from trainer.errors import DataCorrupt, TrainerError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (10, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (10, 3, 6, 5), np.uint8)
LABELS = np.arange(10) % 3


@pytest.fixture
def archive(tmp_path):
    """Write arrays and read them back as a data set: archive(arrays, **options)."""

    def make(arrays, save=np.savez, memory_limit=None, **options):
        save(tmp_path / "a.npz", **arrays)
        return load(f"npz:{tmp_path / 'a.npz'}", images=ImageOptions(**options), memory_limit=memory_limit)

    return make


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (COLOUR.astype(np.int64), COLOUR),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float32), COLOUR),
        (GREY > 99, (GREY[:, None] > 99) * np.uint8(255)),
    ],
)
def test_forms_of_images(archive, images, expected):
    data = archive({"x_train": images[:7], "y_train": LABELS[:7], "x_test": images[7:], "y_test": LABELS[7:]})
    np.testing.assert_array_equal(data.train.images, expected[:7])
    np.testing.assert_array_equal(data.test.images, expected[7:])
    assert data.labels("train").tolist() == LABELS[:7].tolist()
    assert data.classes == ("0", "1", "2")
    np.testing.assert_allclose(data.mean, (expected[:7] / 255).mean((0, 2, 3)))
    assert data.sample_path("train", 3) == "a.npz#x_train[3]"


@pytest.mark.parametrize(
    "names", [("X", "y"), ("x", "y"), ("images", "labels"), ("X", "labels"), ("embeddings", "y"), ("x", "targets")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_array_is_split(archive, names, save):
    data = archive(dict(zip(names, (GREY, LABELS), strict=True)), save=save, test_fraction=0.3)
    test = draw_test([str(number) for number in range(10)], 0.3)
    np.testing.assert_array_equal(data.test.images, GREY[test][:, None])
    np.testing.assert_array_equal(data.train.images, GREY[~test][:, None])
    np.testing.assert_array_equal(data.labels("train"), LABELS[~test])


def test_labels_may_be_text_and_numbers_may_have_names_or_gaps(archive):
    words = np.array(["b", "a", "ü"])[LABELS]
    data = archive({"X": GREY, "y": words})
    assert data.classes == ("a", "b", "ü")
    assert {data.classes[label] for label in data.labels("train")} == {"a", "b", "ü"}
    data = archive({"X": GREY, "y": LABELS, "classes": np.array(["zero", "one", "two", "never"])})
    assert data.classes == ("zero", "one", "two", "never")
    assert [note.split(":")[0] for note in data.notes] == [
        "no image of the train half shows 'never'",
        "no image of the test half shows 'never'"
        if len(set(data.labels("test"))) == 3
        else data.notes[1].split(":")[0],
    ]
    assert archive({"X": GREY, "y": LABELS * 7}).classes == ("0", "7", "14")
    assert archive({"X": GREY, "y": LABELS == 1}).classes == ("0", "1")
    assert archive({"X": GREY, "y": LABELS / 1}).classes == ("0", "1", "2")
    assert archive({"X": GREY, "y": LABELS, "classes": np.array(["none", "?", "-"])}).classes == ("none", "?", "-")
    assert archive({"X": GREY, "y": words, "classes": np.array(["ü", "b", "a"])}).classes == ("ü", "b", "a")
    assert archive({"X": GREY, "y": np.char.encode(words, "utf-8")}).classes == ("a", "b", "ü")


REFUSED = {
    "names": ({"a": GREY, "b": LABELS}, "expected the arrays X, y; .*it has 'a', 'b'"),
    "nothing": ({}, "expected the arrays .*; it has none"),
    "test without labels": (
        {"x_train": GREY, "y_train": LABELS, "x_test": GREY},
        "x_test has no array y_test; test samples need labels",
    ),
    "only test": ({"x_test": GREY, "y_test": LABELS}, "expected the arrays"),
    "objects": ({"X": GREY, "y": LABELS.astype(object)}, "holds Python objects, which are never loaded"),
    "shape": ({"X": GREY.reshape(10, 6, 5, 1, 1), "y": LABELS}, r"X: expected \[N, H, W\].*got \[10, 6, 5, 1, 1\]"),
    "volumes": ({"X": GREY[:, None].repeat(6, 1), "y": LABELS}, r"with 1 or 3 channels, .*got \[10, 6, 6, 5\]"),
    "channels": ({"X": COLOUR[:, [0, 1, 2, 0]], "y": LABELS}, "with 1 or 3 channels"),
    "no images": ({"X": GREY[:0], "y": LABELS[:0]}, "with 1 or 3 channels"),
    "large": ({"X": GREY.astype(np.int16) + 1, "y": LABELS}, "got int16 from .* to 256; scale them to"),
    "negative": ({"X": GREY.astype(np.int16) - 1, "y": LABELS}, "expected integers from 0 to 255"),
    "floats of bytes": ({"X": GREY.astype(float), "y": LABELS}, "floats from 0 to 1, got float64"),
    "normalised": ({"X": GREY / 255 - 0.5, "y": LABELS}, "scale them to 0..255"),
    "nan": (
        {"X": np.full((10, 2, 2), np.nan), "y": LABELS},
        "expected finite numbers, got 40 of 40 that are NaN",
    ),
    "infinity": ({"X": np.where(GREY.max() == GREY, np.inf, 0.5), "y": LABELS}, "of 300 that are NaN or infinite"),
    "text images": ({"X": GREY.astype(str), "y": LABELS}, "expected numbers, got <U3"),
    "labels": ({"X": GREY, "y": LABELS[:9]}, r"y: expected a label for each of 10 samples, .*got int64 \[9\]"),
    "one-hot": ({"X": GREY, "y": np.eye(3)[LABELS]}, "one-hot rows into class numbers"),
    "several labels": ({"X": GREY, "y": np.ones((10, 3), int)}, "several labels of one sample cannot be used"),
    "broken labels": ({"X": GREY, "y": LABELS / 2}, "y: expected text or integers .*, got float64 from 0.0 to 1.0"),
    "labels of minus one and one": ({"X": GREY, "y": LABELS % 2 * 2 - 1}, "labels are -1 and 1, but -1 means"),
    "labels below minus one": ({"X": GREY, "y": LABELS - 2}, "class numbers from 0 on, and -1 .*, got -2"),
    "labels past int64": ({"X": GREY, "y": LABELS.astype(np.uint64) + np.uint64(2**63)}, "got uint64 from 92233720"),
    "no label for testing": (
        {"x_train": GREY, "y_train": LABELS, "x_test": GREY, "y_test": LABELS - 1},
        "y_test: 4 test samples of 10 have no label .marked -1., but test samples need one",
    ),
    "one class": ({"X": GREY, "y": LABELS * 0}, "at least two classes, found only '0'"),
    "one image": ({"X": GREY[:1], "y": LABELS[:1]}, "it holds one sample"),
    "kinds": (
        {"x_train": GREY, "y_train": LABELS, "x_test": GREY, "y_test": LABELS.astype(str)},
        "one half's labels are text",
    ),
    "sizes": (
        {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:, 1:], "y_test": LABELS},
        r"samples of x_train \[1, 6, 5\] but x_test \[1, 5, 5\]; make",
    ),
    "few names": ({"X": GREY, "y": LABELS, "classes": np.array(["a", "b"])}, "labels run from 0 to 1; got 0 to 2"),
    "names twice": ({"X": GREY, "y": LABELS, "classes": np.array(["a", "b", "a"])}, "names that all differ"),
    "names of numbers": ({"X": GREY, "y": LABELS, "classes": np.arange(3)}, "names that all differ"),
    "unnamed": (
        {"X": GREY, "y": np.array(list("abcabcabca")), "classes": np.array(["a", "b"])},
        "the labels 'c' are not among",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_are_no_data_set_are_refused_in_one_line(archive, case):
    arrays, message = REFUSED[case]
    with pytest.raises(TrainerError, match=message) as caught:
        archive(arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"image_size": 8}, {"mode": "grey"}, {"skip_bad": True}])
def test_options_of_files_are_refused(archive, options):
    with pytest.raises(TrainerError, match="is for image files"):
        archive({"X": GREY, "y": LABELS}, **options)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + b"\0" * 40])
def test_a_file_that_is_no_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataCorrupt, match="not an archive that numpy.savez wrote"):
        load(f"npz:{tmp_path / 'a.npz'}")
    with pytest.raises(TrainerError, match="is no file"):
        load(f"npz:{tmp_path}")


def test_damage_inside_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", X=GREY, y=LABELS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataCorrupt, match="not an archive that numpy.savez wrote"):
        load(f"npz:{tmp_path / 'a.npz'}")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as empty:
        empty.writestr("X.npy", b"no header")
    with pytest.raises(DataCorrupt):
        load(f"npz:{tmp_path / 'b.npz'}")


def test_an_archive_that_unpacks_to_more_than_memory_is_never_unpacked(archive):
    zeros = {"X": np.zeros((1000, 32, 32), np.uint8), "y": np.arange(1000) % 2}
    zeros["X"][::2, 0, 0] = 1
    with pytest.raises(TrainerError, match="unpacks to .* more than"):
        archive(zeros, save=np.savez_compressed, memory_limit=10**6)
    assert len(archive(zeros, save=np.savez_compressed, memory_limit=2 * 10**6).train) == 800
