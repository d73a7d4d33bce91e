"""Copies where there should be none, blank images, and classes that are spelt in two ways: said before training."""

import shutil
import unicodedata

import numpy as np
import pytest
from folder_cases import put, read, write_csv
from PIL import Image

from trainer.data import ImageOptions, load
from trainer.data.labels import taken_for, written_alike
from trainer.errors import TrainerError

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20) % 2


@pytest.fixture
def archive(tmp_path):
    def make(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return load(f"npz:{tmp_path / 'd.npz'}", images=ImageOptions())

    return make


@pytest.fixture
def halves(tmp_path):
    for half in ("train", "test"):
        for label in ("cat", "dog"):
            for number in range(3):
                put(tmp_path, f"{half}/{label}/{number}.png")
    return tmp_path


def test_copies_between_training_and_test_images_are_counted_and_named(halves):
    assert read(halves).notes == ()
    shutil.copy(halves / "train/cat/1.png", halves / "test/cat/0.png")
    Image.open(halves / "train/dog/0.png").save(halves / "test/dog/2.bmp")  # another file of the same pixels
    assert read(halves).notes == (
        "2 of 7 test images are exact copies of training images, such as test/cat/0.png of train/cat/1.png: accuracy "
        "on copies says nothing about new images; remove one of each pair",
    )


def test_a_copy_without_a_label_counts_too_and_so_do_rows_of_features(halves, archive):
    shutil.copy(halves / "test/cat/1.png", halves / "train/loose.png")
    assert "1 of 6 test images is an exact copy of training images, such as test/cat/1.png of" in read(halves).notes[-1]
    features = RNG.normal(size=(20, 3))
    given = {"x_train": features[:15], "y_train": LABELS[:15], "x_test": features[14:], "y_test": LABELS[14:]}
    assert (
        "1 of 6 test samples is an exact copy of training samples, such as d.npz#x_test[0] of d.npz#x_train[14]"
        in (archive(**given).notes[-1])
    )


def test_one_image_in_two_classes_is_said_whichever_half_it_is_in(halves, archive):
    for at, name in enumerate(("train/cat/0.png", "train/cat/1.png")):
        shutil.copy(halves / name, halves / f"train/dog/same{at}.png")
    assert read(halves).notes == (
        "2 images stand in more than one class, such as train/cat/0.png ('cat'), of which train/dog/same0.png ('dog') "
        "is an exact copy: label all copies alike, or remove them",
    )
    assert "1 image stands in more than one class" in archive(X=GREY[[*range(19), 0]], y=LABELS).notes[-1]
    assert archive(X=GREY[[*range(18), 0, 1]], y=np.where(LABELS == 1, -1, LABELS)).notes[-1].startswith("10 of 20")


def test_a_list_that_names_copies_differently_is_found_too(halves):
    shutil.copy(halves / "train/cat/0.png", halves / "b.png")
    write_csv(halves, "path,label\ntrain/cat/0.png,cat\nb.png,dog\ntrain/cat/1.png,cat\ntrain/dog/1.png,dog\n")
    assert "b.png ('dog')" in next(note for note in read(halves).notes if "more than one class" in note)


def test_blank_images_are_named(halves):
    for name in ("train/cat/1.png", "test/dog/0.png"):
        Image.new("RGB", (8, 8), (9, len(name), 9)).save(halves / name)
    assert read(halves).notes == (
        "2 of 12 images are of one colour all over, such as train/cat/1.png: if nothing is to be seen on them, remove "
        "them",
    )


ALIKE = {
    "blanks": ("cat", "cat "),
    "blanks inside": ("big cat", "big  cat"),
    "a blank that does not break": ("big cat", "big\u00a0cat"),
    "case": ("Cat", "cat"),
    "an invisible letter": ("cat", "cat\u200b"),
    "accents that are stored otherwise": ("caf\u00e9", "cafe\u0301"),
    "full width": ("ab", "\uff41\uff42"),
    "numbers": ("1", "1.0"),
    "leading zeros": ("7", "007"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_classes_that_are_spelt_in_two_ways_are_said(archive, case):
    one, other = ALIKE[case]
    [note] = archive(X=GREY, y=np.array([one, other])[LABELS]).notes
    assert "differ in spelling alone: if they are one class, spell both alike" in note
    shown = note.split("'")[1::2]
    assert len(set(shown)) == 2
    assert taken_for(other, ["dog", one]) == one


@pytest.mark.parametrize("names", ["a A", "1 2 10", "cat cats", "1 -1", "a1 a01", "é e"])
def test_classes_that_differ_are_not_doubted(names):
    first, *others = names.split()
    assert written_alike([first, *others]) == ()
    assert taken_for(first, others) is None


def test_a_folder_that_differs_from_a_given_class_in_spelling_alone_is_refused(halves):
    composed, stored = "Pferdebäume", unicodedata.normalize("NFD", "Pferdebäume")
    for name, given in (("cat ", "cat"), ("Dog", "dog"), (stored, composed)):
        put(halves, f"train/{name}/1.png")
        with pytest.raises(TrainerError, match="differ in spelling alone; spell them alike"):
            read(halves, classes=f"cow,{given}")
        shutil.rmtree(halves / "train" / name)
