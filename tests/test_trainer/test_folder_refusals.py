"""Every folder, list of labels and option that is refused, in one line that says why."""

import os
from pathlib import Path

import pytest
from folder_cases import put, read, write_csv

from trainer.data import ImageOptions, load
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

CSV = {
    "no header": ("cat/1.png,cat\n", "line 1: expected the columns path,label"),
    "empty": ("", "line 1: expected the columns"),
    "no such file": ("path,label\ncat/1.png,a\ncat/77.png,b\n", "line 3: there is no file 'cat/77.png'"),
    "folder for a file": ("path,label\ncat,a\n", "line 2: there is no file 'cat'"),
    "twice": (
        "path,label\ncat/1.png,a\ndog/1.png,b\ncat/../cat/1.png,b\n",
        "line 4: 'cat/../cat/1.png' was listed before, in line 2",
    ),
    "too short": ("path,label\ncat/1.png\n", "line 2: it has fewer values than columns"),
    "no path": ("path,label\n,a\n", "line 2: it has no path"),
    "too long": ("path,label\ncat/1.png,a,b\n", "line 2: it has more values than columns"),
    "unknown split": ("path,label,split\ncat/1.png,a,valid\n", "line 2: split must be train or test, got 'valid'"),
    "blank split": ("path,label,split\ncat/1.png,a,train\ncat/2.png,a,\n", "line 3: split must be train or test"),
    "a test image without a label": (
        "path,label,split\ncat/1.png,a,train\ndog/1.png,?,test\n",
        "line 3: it has the split test but no label; label it, or give it the split train",
    ),
    "absolute": ("path,label\n/etc/hostname,a\n", "line 2: /etc/hostname leads out of"),
    "upwards": ("path,label\n../secret.png,a\n", "leads out of"),
    "link out": ("path,label\ncat/out.png,a\n", "leads out of"),
    "no image": ("path,label\ncat/notes.txt,a\n", "line 2: 'cat/notes.txt' has no extension of an image"),
    "open quote": ('path,label\n"cat/1.png,a\n', "unexpected end of data"),
    "control": ("path,label\ncat/1.png,a\x07\n", "line 2: 'a\\x07': file names must be printable"),
    "two labels": (
        "path,label,Label\ncat/1.png,a,b\n",
        "line 1: expected one column label, found label mor",
    ),
    "as windows writes it": ("path,label\n.\\cat\\1.png,a\n", ", but 'cat/1.png': write it so"),
    "many": ("path,label\n" + "x.png,a\n" * 9, "; and 4 more"),
}


@pytest.mark.parametrize("case", CSV)
def test_a_wrong_list_is_refused_with_line_numbers(root, case):
    text, message = CSV[case]
    put(root.parent, "secret.png")
    (root / "cat/out.png").symlink_to(root.parent / "secret.png")
    (root / "cat/notes.txt").write_text("x")
    write_csv(root, text)
    with pytest.raises(TrainerError) as caught:
        read(root)
    assert message in str(caught.value)
    assert "labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_utf8_says_how_to_save_it(root):
    write_csv(root, "path,label\ncat/1.png,Käse\n", "latin-1")
    with pytest.raises(DataCorrupt, match=r"not UTF-8 .*; save it as 'CSV UTF-8'"):
        read(root)


def empty(root):
    for path in list(root.rglob("*.png")):
        path.unlink()
    for folder in list(root.iterdir()):
        folder.rmdir()


def only_one_class(root):
    for path in (root / "dog").iterdir():
        path.unlink()
    (root / "dog").rmdir()


def halves(*names):
    def make(root):
        empty(root)
        for name in names:
            put(root, name)

    return make


def bytes_at(name, content):
    return lambda root: (root / name).write_bytes(content)


REFUSED = {
    "no folder": (lambda root: root.rename(root.parent / "gone"), "does not exist; give the folder"),
    "empty": (empty, "holds no images; expected images, a folder of them for each class"),
    "one class": (only_one_class, "expected samples of at least two classes, found only 'cat'"),
    "empty class": (lambda root: (root / "cow").mkdir(), "cow holds no images, so it is no class"),
    "validation beside": (halves("train/a/1.png", "val/a/1.png"), "has a folder train beside 'val'"),
    "three halves": (halves("train/a/1.png", "test/a/1.png", "val/a/1.png"), "beside 'test', 'val'"),
    "half without classes": (
        halves("train/a/1.png", "test/1.png"),
        "the half test holds no class folders; test images",
    ),
    "strange test class": (
        halves("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/bb/1.png"),
        "the test half has images of 'bb', the training half has none",
    ),
    "sizes": (lambda root: put(root, "dog/3.png", (8, 9)), "cat/0.png is 8x8 and dog/3.png is 8x9; bring all to one"),
    "not an image": (bytes_at("dog/3.png", b"text"), "1 of 10 images under"),
    "nothing in it": (bytes_at("dog/3.png", b""), "dog/3.png (not an image), cannot be read"),
    "link out": (lambda root: (root / "cat/l.png").symlink_to("/etc/hostname"), "leads out of"),
    "link to itself": (lambda root: (root / "cat/l.png").symlink_to("l.png"), "leads nowhere"),
    "linked folder": (lambda root: (root / "cow").symlink_to("cat"), "cow is a link to a folder"),
    "linked folder out": (lambda root: (root / "cow").symlink_to("/etc"), "leads out of"),
    "control characters": (lambda root: put(root, "cat/a\nb.png"), "'a\\nb.png': file names must be printable"),
    "no utf-8": (lambda root: put(root, os.fsdecode(b"cat/\xff.png")), "'\\udcff.png': file names must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_is_no_data_set_is_refused_in_one_line(root, case):
    change, message = REFUSED[case]
    change(root)
    with pytest.raises(TrainerError) as caught:
        read(root)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


OPTIONS = {
    "zero": ({"image_size": 0}, "expected a side in pixels"),
    "words": ({"image_size": "big"}, "expected a side in pixels"),
    "three": ({"image_size": "1x2x3"}, "expected a side in pixels"),
    "negative": ({"image_size": "-3"}, "expected a side in pixels"),
    "mode": ({"mode": "bw"}, "expected one of auto, rgb, grey"),
    "all for testing": ({"test_fraction": 1.0}, "between 0 and 1"),
    "one class": (
        {"classes": "cat"},
        "classes: expected two or more names that all differ, such as cat,dog, got 'cat'",
    ),
    "class twice": ({"classes": ["cat", "dog", "cat"]}, "two or more names that all differ"),
    "class without a name": ({"classes": "cat,,dog"}, "two or more names that all differ"),
    "class that YAML reads as a truth": ({"classes": [True, False]}, "put words like yes and no in quotes"),
    "class that breaks a line": ({"classes": "cat,d\tog"}, "without control characters"),
    "nan": ({"test_fraction": float("nan")}, "between 0 and 1"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_make_no_sense(case):
    given, message = OPTIONS[case]
    with pytest.raises(TrainerError, match=message):
        ImageOptions(**given)


def test_no_such_folder_and_home_directories():
    with pytest.raises(DataNotFound, match=r"folder:.* is a file"):
        load(f"folder:{Path(__file__)}")
    with pytest.raises(TrainerError, match="home directory"):
        load("folder:~nobody-of-that-name/x")
    with pytest.raises(TrainerError, match="there is no data set 'folder:'"):
        load("folder:")
