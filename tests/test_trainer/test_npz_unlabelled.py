"""``npz:PATH`` without labels, as MedMNIST lays it out, of features, and which row each id is."""

import tracemalloc

import numpy as np
import pytest

from trainer.data import UNLABELLED, ImageOptions, constants, load, npz
from trainer.data.constants import feature_constants
from trainer.data.custom import draw_test
from trainer.errors import TrainerError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20) % 3
FEATURES = RNG.normal(3, 40, (20, 7)).astype(np.float32)


@pytest.fixture
def archive(tmp_path):
    """Write arrays and read them back as a data set: archive(arrays, **options)."""

    def make(arrays, labelled_only=False, memory_limit=None, **options):
        np.savez(tmp_path / "my scans.npz", **arrays)
        return load(
            f"npz:{tmp_path / 'my scans.npz'}",
            images=ImageOptions(**options),
            labelled_only=labelled_only,
            memory_limit=memory_limit,
        )

    return make


def rows(data, half):
    """The row of the user's array that each id is said to be."""
    names = [data.sample_path(half, index) for index in range(len(getattr(data, half)))]
    assert all(name.startswith("my scans.npz#X[") and name.endswith("]") for name in names)
    return [int(name.split("[")[1][:-1]) for name in names]


def test_every_id_leads_to_its_row(archive):
    for y in (LABELS, np.where(LABELS == 1, -1, LABELS)):
        data = archive({"X": GREY, "y": y})
        for half, split in (("train", data.train), ("test", data.test)):
            np.testing.assert_array_equal(split.images[:, 0], GREY[rows(data, half)])
        assert sorted(rows(data, "train") + rows(data, "test")) == list(range(20))
    assert rows(archive({"X": GREY, "y": LABELS}), "train") != list(range(16))  # else nothing was shown here


LOST = {
    "-1": (np.where(LABELS == 1, -1, LABELS), "7 marked -1"),
    "-1 in a column": (np.where(LABELS == 1, -1, LABELS)[:, None], "7 marked -1"),
    "nan": (np.where(LABELS == 1, np.nan, LABELS), "7 blank"),
    "empty text": (np.array(["a", "", "c"])[LABELS], "7 blank"),
    "words": (np.array(["a", "Unlabelled", "c"])[LABELS], "7 marked 'Unlabelled'"),
    "a number with a point": (np.array(["0.0", "-1.0", "1.0"])[LABELS], "7 marked '-1.0'"),
    "pandas": (np.array(["a", "<NA>", "c"])[LABELS], "7 marked '<NA>'"),
    "a spreadsheet": (np.array(["a", "#N/A", "c"])[LABELS], "7 marked '#N/A'"),
    "two words": (np.array(["a", "Not labelled", "c"])[LABELS], "7 marked 'Not labelled'"),
    "to do": (np.array(["a", "_todo_", "c"])[LABELS], "7 marked '_todo_'"),
    "bytes": (np.array([b"a", b"nan", b"c"])[LABELS], "7 marked 'nan'"),
}


@pytest.mark.parametrize("case", LOST)
def test_what_means_no_label_becomes_no_class(archive, case):
    y, why = LOST[case]
    data = archive({"X": GREY, "y": y})
    assert data.num_classes == 2
    last = 20 - len(data.test) - 7
    assert data.train.labels[last:].tolist() == [UNLABELLED] * 7
    assert set(rows(data, "train")[last:]) == set(np.flatnonzero(LABELS == 1))
    assert "7 of 20 samples of npz:" in data.notes[0]
    assert f"have no label: {why}" in data.notes[0]
    only = archive({"X": GREY, "y": y}, labelled_only=True)
    assert rows(only, "train") == rows(data, "train")[:last]
    assert rows(only, "test") == rows(data, "test")
    assert (only.train.labels >= 0).all()


def test_numbers_that_stand_for_no_label_where_there_is_no_sign_are_said(archive):
    for strange in (255, 65535, 99, 999):
        said = archive({"X": GREY, "y": np.where(LABELS == 1, strange, LABELS * 2).astype(np.uint16)}).notes
        assert f"the class {strange} stands far from the others, 0 to 4: if it means that there is no label" in said[-1]
    for y in (LABELS, LABELS % 2 * 255, np.r_[np.arange(10), np.arange(90, 100)]):  # 255: black and white
        assert archive({"X": GREY, "y": y}, test_fraction=0).notes == ()
    named = archive({"X": GREY, "y": np.array(["0", "2", "255"])[LABELS]}, classes="0,2,255")
    assert named.notes == ()


HOT = np.eye(3)[LABELS]
ADVICE = {
    ".argmax(1)": lambda y: y.argmax(1),
    "np.where(y.any(1), y.argmax(1), -1)": lambda y: np.where(y.any(1), y.argmax(1), -1),
    ".reshape(-1)": lambda y: y.reshape(-1),
}


@pytest.mark.parametrize(
    ("y", "advice", "meant"),
    [
        (HOT, ".argmax(1)", LABELS),
        (HOT * 0.9 + 0.1 / 3, ".argmax(1)", LABELS),
        (HOT * (LABELS > 0)[:, None], "np.where(y.any(1), y.argmax(1), -1)", np.where(LABELS > 0, LABELS, -1)),
        (LABELS[None], ".reshape(-1)", LABELS),
        (LABELS[:, None, None], ".reshape(-1)", LABELS),
    ],
)
def test_the_advice_on_labels_of_another_shape_gives_the_labels_that_were_meant(archive, y, advice, meant):
    with pytest.raises(TrainerError) as caught:
        archive({"X": GREY, "y": y})
    assert str(caught.value).endswith(f" {advice}")
    np.testing.assert_array_equal(ADVICE[advice](y), meant)


def test_labels_in_a_column_are_labels(archive):
    for y in (LABELS, np.array(list("abc"))[LABELS]):
        assert archive({"X": GREY, "y": y[:, None]}).fingerprint() == archive({"X": GREY, "y": y}).fingerprint()


def test_the_test_half_is_drawn_from_rows_with_a_label(archive):
    y = np.where(LABELS == 1, -1, LABELS)
    known = np.flatnonzero(y >= 0)
    drawn = draw_test([str(row) for row in known], 0.3)
    assert rows(archive({"X": GREY, "y": y}, test_fraction=0.3), "test") == known[drawn].tolist()
    assert len(archive({"X": GREY, "y": y}, test_fraction=0).test) == 0


def test_without_any_label(archive):
    data = archive({"images": GREY})
    assert (data.num_classes, len(data.train), len(data.test)) == (0, 20, 0)
    assert data.notes[0].endswith("have no label: 20 without an array of labels for images")
    data = archive({"X": GREY}, classes="cat,dog")
    assert data.classes == ("cat", "dog")
    with pytest.raises(TrainerError, match="X: 20 samples and no label, but here labels are needed"):
        archive({"X": GREY}, labelled_only=True)


def test_named_classes_number_the_labels(archive):
    assert archive({"X": GREY, "y": LABELS}, classes="a,b,c,d").classes == ("a", "b", "c", "d")
    data = archive({"X": GREY, "y": LABELS % 2 * 2 - 1}, classes="no,yes")  # 1 is the second of two, -1 is none
    assert set(data.train.labels) == {1, UNLABELLED}
    with pytest.raises(TrainerError, match="the archive names 'a', 'b', 'c', --classes 'x', 'y', 'z'"):
        archive({"X": GREY, "y": LABELS, "classes": np.array(["a", "b", "c"])}, classes="x,y,z")
    with pytest.raises(TrainerError, match="labels 'b' are not among the classes 'a', 'c'"):
        archive({"X": GREY, "y": np.array(["a", "b", "c"])[LABELS]}, classes="a,c")


def test_the_names_of_medmnist(archive):
    halves = {"train": slice(0, 9), "val": slice(9, 14), "test": slice(14, 20)}
    colours = RNG.integers(0, 256, (20, 6, 6, 3), np.uint8)
    arrays = {f"{half}_images": colours[at] for half, at in halves.items()}
    data = archive(arrays | {f"{half}_labels": LABELS[at, None].astype(np.uint8) for half, at in halves.items()})
    assert (len(data.train), len(data.test), data.input_shape, data.classes) == (14, 6, (3, 6, 6), ("0", "1", "2"))
    np.testing.assert_array_equal(data.train.images, colours[:14].transpose(0, 3, 1, 2))
    assert data.labels("test").tolist() == LABELS[14:].tolist()
    assert data.sample_path("train", 8) == "my scans.npz#train_images[8]"
    assert data.sample_path("train", 9) == "my scans.npz#val_images[0]"
    assert data.sample_path("test", 0) == "my scans.npz#test_images[0]"
    assert data.notes[0].endswith("val_images are training samples here, after those of train_images")


@pytest.mark.parametrize("name", ["X", "embeddings", "features", "x_train"])
def test_features_are_kept_as_they_are(archive, name):
    data = archive({name: FEATURES.astype(np.float64), ("y_train" if name == "x_train" else "y"): LABELS})
    assert (data.input_shape, data.holds_features, data.num_classes) == ((7, 1, 1), True, 3)
    at = [int(data.sample_path("train", index).split("[")[1][:-1]) for index in range(len(data.train))]
    np.testing.assert_array_equal(data.train.images[:, :, 0, 0], FEATURES[at])
    x = FEATURES[at].astype(np.float64)
    np.testing.assert_allclose(data.inputs("train")[:, :, 0, 0], (x - x.mean(0)) / x.std(0), atol=1e-5)
    assert "holds 7 features of each sample, not images" in data.notes[-1]
    with pytest.raises(TrainerError, match="augment flip-crop is for images"):
        data.require_augmentable("flip-crop")


def test_constants_of_features_far_from_zero_or_all_alike():
    far = (1e4 + RNG.normal(size=(50, 2))).astype(np.float32)
    far[:, 1] = 1e4
    mean, std = feature_constants(far[:, :, None, None])
    np.testing.assert_allclose(mean, far.astype(np.float64).mean(0), rtol=1e-12)
    assert std[0] == pytest.approx(far[:, 0].astype(np.float64).std(), rel=1e-9)
    assert std[1] == 1.0


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.where(FEATURES > 60, np.nan, FEATURES)}, "X: expected finite numbers .* such as row [0-9]+;"),
        ({"X": FEATURES.astype(np.float64) * 1e300}, "finite numbers that float32 can hold, but 20 of 20 rows"),
        ({"X": FEATURES[:, :0]}, r"X: expected features \[N, d\], numbers, got float32 \[20, 0\]"),
        ({"X": FEATURES.astype(str)}, "X: expected features"),
        (
            {"x_train": FEATURES, "x_test": FEATURES[:, 1:], "y_test": LABELS},
            r"x_train \[7, 1, 1\] but x_test \[6, 1, 1\]",
        ),
        ({"x_train": FEATURES, "x_test": GREY, "y_test": LABELS}, "x_train: expected .* images of|x_train: expected"),
        ({"X": FEATURES, "show": np.arange(20)}, "show: expected a text for each of 20 samples, got int64"),
        ({"X": FEATURES, "text": np.array(["a"])}, r"text: expected a text for each of 20 samples, got <U1 \[1\]"),
    ],
)
def test_features_and_texts_that_are_refused_in_one_line(archive, arrays, message):
    with pytest.raises(TrainerError, match=message) as caught:
        archive(arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["show", "text"])
def test_texts_go_with_their_rows_and_count_in_the_fingerprint(archive, name):
    texts = np.array([f"Satz Nr. {row} ü" for row in range(20)])
    data = archive({"X": FEATURES, "y": LABELS, name: texts})
    for half in ("train", "test"):
        for index in range(len(getattr(data, half))):
            row = data.sample_path(half, index).split("[")[1][:-1]
            assert data.sample_text(half, index) == f"Satz Nr. {row} ü"
    plain = archive({"X": FEATURES, "y": LABELS})
    assert plain.sample_text("train", 0) is None
    assert plain.sample_file("train", 0) is None
    assert (
        len(
            {
                data.fingerprint(),
                plain.fingerprint(),
                archive({"X": FEATURES, "y": LABELS, name: texts[::-1]}).fingerprint(),
            }
        )
        == 3
    )


def test_texts_of_given_halves(archive):
    arrays = {"x_train": FEATURES[:9], "y_train": LABELS[:9], "show_train": np.array(list("abcdefghi"))}
    data = archive(arrays | {"x_test": FEATURES[9:], "y_test": LABELS[9:]})
    assert (data.sample_text("train", 2), data.sample_text("test", 2)) == ("c", "")


def test_only_what_is_used_is_read_and_the_rest_is_named(archive):
    data = archive({"X": GREY, "y": LABELS, "raw": np.zeros(10**6), "odd": np.array([{}])}, memory_limit=2000)
    assert data.notes[0].endswith("no use is made of 'odd', 'raw'")


def test_the_name_of_the_archive_is_not_in_the_fingerprint(archive, tmp_path):
    first = archive({"X": GREY, "y": LABELS})
    moved = (tmp_path / "my scans.npz").rename(tmp_path / "b.npz")
    assert load(f"npz:{moved}").fingerprint() == first.fingerprint()


@pytest.mark.parametrize("halves", [False, True])
def test_no_more_is_held_than_the_arrays_and_the_data_set(archive, halves, monkeypatch):
    for module in (constants, npz):
        monkeypatch.setattr(module, "CHUNK_BYTES", 2**16)  # what is held of a piece is the same for any data set
    x = RNG.integers(0, 256, (400, 3, 64, 64), np.uint8)
    y = np.arange(400) % 3 - 1
    arrays = {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:] + 1}
    tracemalloc.start()
    try:
        archive(arrays if halves else {"X": x, "y": y})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.4 * x.nbytes


def test_floats_that_span_little_are_not_flattened(archive):
    low = (GREY / 255 * 0.02).astype(np.float32)
    data = archive({"X": low, "y": LABELS})
    assert len(np.unique(data.train.images)) > 200
    assert "floats from 0 to 0.02: these, not 0 to 1, are read as black to white" in data.notes[-1]
    assert archive({"X": GREY / 255, "y": LABELS}).notes == ()
