"""Images decoded once and mapped afterwards: the same data set in every case, and never an old one."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from folder_cases import picture, put, write_csv
from PIL import Image

from trainer.data import ImageOptions, folder_images, image_cache, load
from trainer.errors import DataCorrupt, TrainerError


def plain(root):
    for label in ("cat", "dog"):
        for number in range(5):
            put(root, f"{label}/{number}.png", seed=10 * (label == "cat") + number)


def grey(root):
    for number in range(6):
        put(root, f"{'ab'[number % 2]}/{number}.png", mode="L", seed=number)


def grey_saved_as_colours(root):
    for number in range(7):
        (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        picture(number, mode="L").convert("RGB").save(root / "ab"[number % 2] / f"{number}.png")


def one_last_colour(root):
    grey_saved_as_colours(root)
    put(root, "b/9.png", seed=3)


def mixed_sizes(root):
    for number in range(8):
        put(root, f"{'ab'[number % 2]}/{number}.{('png', 'jpg')[number % 2]}", (5 + number, 9), seed=number)


def sixteen_bits(root):
    for number in range(6):
        (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        values = 1000 + (np.arange(64).reshape(8, 8) << (number + 2))
        Image.fromarray(values.astype(np.uint16)).save(root / "ab"[number % 2] / f"{number}.png")


def some_unreadable(root):
    plain(root)
    (root / "cat/0.png").write_bytes(b"text")
    for name in ("cat/3.png", "dog/1.png"):
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2])  # the header is sound


def listed(root):
    plain(root)
    write_csv(
        root,
        "path,label,split\ncat/0.png,x,train\ndog/1.png,y,test\ncat/2.png,x,test\ndog/4.png,y,train\ndog/0.png,?,\n",
    )


def unlabelled(root):
    for number in range(9):
        put(root, f"deep/er/{number}.png", seed=number)
    shutil.move(root / "deep/er/3.png", root / "loose.png")


def halves(root):
    for name in ("Train/a/1.png", "Train/a/2.png", "Train/b/1.png", "Test/a/9.png", "Test/b/9.png"):
        put(root, name)


def strange_names(root):
    for name in (
        "Große Katze/Foto Nr. 1 – früh.PNG",
        "Große Katze/b.JPeG",
        "犬/1\u202fPM.jpg",
        "犬/'q\".png",
        "犬/.x.png",
    ):
        put(root, name)


def links(root):
    plain(root)
    (root / "dog/also.png").symlink_to(root / "cat/1.png")


CASES = {
    "plain": (plain, {}),
    "scaled": (plain, {"image_size": "4x6"}),
    "to grey": (plain, {"mode": "grey"}),
    "no test half": (plain, {"test_fraction": 0}),
    "classes named": (plain, {"classes": "dog,cat,cow"}),
    "grey": (grey, {}),
    "grey saved as colours": (grey_saved_as_colours, {}),
    "grey kept as colours": (grey_saved_as_colours, {"mode": "rgb"}),
    "one last colour": (one_last_colour, {}),
    "mixed sizes": (mixed_sizes, {"image_size": 8}),
    "16 bits": (sixteen_bits, {}),
    "unreadable": (some_unreadable, {"skip_bad": True, "image_size": 8}),
    "unreadable headers": (some_unreadable, {"skip_bad": True}),
    "labels.csv": (listed, {}),
    "unlabelled": (unlabelled, {"classes": "a,b"}),
    "halves": (halves, {}),
    "strange names": (strange_names, {}),
    "links": (links, {}),
}


def through(root, cache, labelled_only=False, progress=None, **options):
    return load(
        f"folder:{root}", images=ImageOptions(**options), cache=cache, labelled_only=labelled_only, progress=progress
    )


def assert_same(seen, expected, notes=True):
    assert seen.fingerprint() == expected.fingerprint()
    for half in ("train", "test"):
        np.testing.assert_array_equal(getattr(seen, half).images, getattr(expected, half).images)
        np.testing.assert_array_equal(getattr(seen, half).labels, getattr(expected, half).labels)
    for field in ("classes", "mean", "std", "paths", "root", "depth", "scale", "name"):
        assert getattr(seen, field) == getattr(expected, field), field
    assert seen.notes == expected.notes or not notes


def is_mapped(array):
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded, in order."""
    names, read = [], folder_images.read_images
    monkeypatch.setattr(
        folder_images, "read_images", lambda paths, *rest: names.extend(p.name for p in paths) or read(paths, *rest)
    )
    return names


@pytest.mark.parametrize("pieces", [1, 3, 128])
@pytest.mark.parametrize("labelled_only", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_data_set_is_the_same_with_and_without_a_cache(tmp_path, monkeypatch, decoded, case, labelled_only, pieces):
    make, options = CASES[case]
    root, cache = tmp_path / "a folder", tmp_path / "run" / "images"
    make(root)
    if case == "unlabelled" and labelled_only:
        for number in range(4):  # leaves something to read
            put(root, f"{'ab'[number % 2]}/{number}.png", seed=number)
    expected = through(root, None, labelled_only, **options)
    monkeypatch.setattr(folder_images, "PIECE_IMAGES", pieces)
    assert_same(through(root, None, labelled_only, **options), expected)
    assert_same(through(root, cache, labelled_only, **options), expected)
    decoded.clear()
    again = through(root, cache, labelled_only, **options)
    assert decoded == []
    assert_same(again, expected)
    assert is_mapped(again.train.images)
    assert not is_mapped(expected.train.images)
    assert not again.train.images.flags.writeable
    assert sorted(p.name for p in cache.iterdir() if p.suffix != ".npy") == ["images.json", "lock"]
    assert len(list(cache.glob("*.npy"))) == 1


def test_what_is_asked_of_a_mapped_data_set_is_a_plain_array_in_memory(root, tmp_path):
    data, expected = through(root, tmp_path / "c"), through(root, None)
    x = data.view("train")([3, 0, 3])
    assert type(data.train.images) is np.ndarray
    assert type(x) is np.ndarray
    assert type(data.train.images[[1]]) is np.ndarray
    assert x.flags.writeable
    np.testing.assert_array_equal(x, expected.inputs("train", [3, 0, 3]))
    np.testing.assert_array_equal(data.inputs("test"), expected.inputs("test"))


CHANGES = {  # what happens to the folder of ten images, and what is said of it
    "another image": (lambda root: put(root, "cat/new.png", seed=5), "1 file changed"),
    "one less": (lambda root: (root / "cat/1.png").unlink(), "1 file changed"),
    "renamed": (lambda root: (root / "cat/1.png").rename(root / "cat/9.png"), "2 files changed"),
    "other pixels": (lambda root: put(root, "dog/2.png", seed=999), "1 file changed"),
    "another time": (lambda root: os.utime(root / "dog/2.png", ns=(5, 5)), "1 file changed"),
    "a list": (lambda root: write_csv(root, "path,label\ncat/1.png,a\ndog/1.png,b\n"), "other options, labels"),
    "moved": (lambda root: (root / "cat/1.png").rename(root / "dog/11.png"), "2 files changed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_the_folder_all_is_read_again_and_said_once(root, tmp_path, change):
    make, said = CHANGES[change]
    through(root, tmp_path / "c")
    make(root)
    expected = through(root, None)
    seen = through(root, tmp_path / "c")
    assert_same(seen, expected, notes=False)
    [again] = set(seen.notes) - set(expected.notes)
    assert said in again
    assert again.endswith("all were read again")
    assert_same(through(root, tmp_path / "c"), expected)
    assert len(list((tmp_path / "c").glob("*.npy"))) == 1


def test_another_list_of_labels_is_another_data_set(root, tmp_path):
    write_csv(root, "path,label\ncat/1.png,a\ndog/1.png,b\n")
    through(root, tmp_path / "c")
    write_csv(root, "path,label\ncat/1.png,b\ndog/1.png,a\n")
    seen = through(root, tmp_path / "c")
    assert_same(seen, through(root, None), notes=False)
    assert any("other options, labels" in note for note in seen.notes)


@pytest.mark.parametrize(
    "options", [{"image_size": 4}, {"mode": "grey"}, {"test_fraction": 0.5}, {"classes": "dog,cat"}, {"skip_bad": True}]
)
def test_other_options_are_another_cache(root, tmp_path, options):
    through(root, tmp_path / "c")
    seen = through(root, tmp_path / "c", **options)
    assert_same(seen, through(root, None, **options), notes=False)
    assert any("made with other options" in note for note in seen.notes)


@pytest.mark.parametrize("what", ["FORMAT", "version"])
def test_another_version_of_the_program_or_of_pillow_reads_again(root, tmp_path, monkeypatch, decoded, what):
    through(root, tmp_path / "c")
    decoded.clear()
    if what == "FORMAT":
        monkeypatch.setattr(image_cache, "FORMAT", 99)
    else:
        monkeypatch.setattr(image_cache.PIL, "__version__", "0.1")
    through(root, tmp_path / "c")
    assert len(decoded) == 10


def test_a_cache_of_another_folder_is_not_believed(root, tmp_path):
    through(root, tmp_path / "c")
    other = tmp_path / "other"
    shutil.copytree(root, other)  # the same names, sizes and times
    put(other, "cat/1.png", seed=77)
    before = (root / "cat/1.png").stat()
    os.utime(other / "cat/1.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert_same(through(other, tmp_path / "c"), through(other, None), notes=False)


def npy_of(cache):
    [file] = cache.glob("*.npy")
    return file


def rewritten(cache, **changes):
    stored = json.loads((cache / "images.json").read_text())
    (cache / "images.json").write_text(json.dumps({**stored, **changes}))


def pickled(cache):
    np.save(npy_of(cache), np.array([{"a": 1}], object), allow_pickle=True)


def another_array(cache):
    images = np.load(npy_of(cache))
    np.save(npy_of(cache), images.view(np.int8))


def archive(cache):
    with npy_of(cache).open("wb") as stream:
        np.savez(stream, x=np.zeros(3, np.uint8))


def cut(file, size):
    os.truncate(file, size)


DAMAGE = {
    "cut bytes": lambda c: cut(npy_of(c), npy_of(c).stat().st_size - 1),
    "cut header": lambda c: cut(npy_of(c), 20),
    "no bytes": lambda c: cut(npy_of(c), 0),
    "more bytes": lambda c: npy_of(c).write_bytes(npy_of(c).read_bytes() + b"x"),
    "gone": lambda c: npy_of(c).unlink(),
    "a pickle": pickled,
    "another type": another_array,
    "an archive": archive,
    "cut index": lambda c: cut(c / "images.json", 100),
    "empty index": lambda c: cut(c / "images.json", 0),
    "another index": lambda c: (c / "images.json").write_text('["images"]'),
    "number": lambda c: (c / "images.json").write_text("7"),
    "missing field": lambda c: (c / "images.json").write_text(
        json.dumps({"origin": json.loads((c / "images.json").read_text())["origin"]})
    ),
    "skips one": lambda c: rewritten(c, skipped={"cat/1.png": "no"}),
    "depth": lambda c: rewritten(c, depth=3),
    "a folder for the index": lambda c: (c / "images.json").unlink() or (c / "images.json").mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_torn_or_foreign_cache_is_never_believed(root, tmp_path, damage):
    cache = tmp_path / "c"
    through(root, cache)
    DAMAGE[damage](cache)
    if damage == "a folder for the index":
        with pytest.raises(TrainerError, match="cannot be kept"):
            through(root, cache)
        return
    expected = through(root, None)
    seen = through(root, cache)
    assert_same(seen, expected, notes=False)
    assert set(seen.notes) - set(expected.notes) == {f"the images kept in {cache} were not whole: all were read again"}
    assert_same(through(root, cache), expected)


def test_a_process_that_dies_while_decoding_leaves_nothing_that_is_believed(root, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from trainer.data import load, folder_images;"
        "folder_images.PIECE_IMAGES = 2;"
        "load(sys.argv[1], cache=Path(sys.argv[2]), progress=lambda done, total: done > 4 and os._exit(9))"
    )
    cache = tmp_path / "c"
    assert subprocess.run([sys.executable, "-c", code, f"folder:{root}", str(cache)], check=False).returncode == 9
    assert len(list(cache.glob(".images-*"))) == 1
    assert_same(through(root, cache), through(root, None))
    assert not list(cache.glob(".images-*"))


def test_a_cache_that_dies_between_its_two_files_is_made_again(root, tmp_path, monkeypatch):
    def die(path, content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(image_cache, "write_bytes", die)
        with pytest.raises(KeyboardInterrupt):
            through(root, tmp_path / "c")
    put(root, "cat/1.png", seed=1234)  # what stands there is old
    assert_same(through(root, tmp_path / "c"), through(root, None))


def test_unreadable_images_are_refused_alike_and_nothing_is_kept(tmp_path):
    some_unreadable(tmp_path / "d")
    for options in ({}, {"image_size": 8}):
        messages = []
        for cache in (None, tmp_path / "c"):
            with pytest.raises(DataCorrupt) as caught:
                through(tmp_path / "d", cache, **options)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        assert [p.name for p in (tmp_path / "c").iterdir()] == ["lock"]


def test_all_refusals_are_the_same(root, tmp_path):
    def refusal(cache, **options):
        with pytest.raises(TrainerError) as caught:
            through(root, cache, **options)
        return str(caught.value)

    put(root, "dog/x.png", (9, 9))
    assert refusal(None) == refusal(tmp_path / "c")
    for path in (root / "dog").iterdir():
        path.write_bytes(b"x")
    for _ in range(2):  # a cache does not hide that a class is gone
        assert refusal(None, skip_bad=True) == refusal(tmp_path / "c", skip_bad=True)
    for path in (root / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    assert refusal(None, skip_bad=True, image_size=8) == refusal(tmp_path / "c", skip_bad=True, image_size=8)


def test_the_disk_and_not_the_memory_sets_the_limit(root, tmp_path, monkeypatch):
    data = load(f"folder:{root}", images=ImageOptions(), memory_limit=10, cache=tmp_path / "c")
    assert len(data.train) == 8
    free = shutil.disk_usage(tmp_path)._replace(free=3 * 10 * 5 * 5 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(TrainerError, match=r"are free where .*/new is: --image-size 4x4 would fit") as caught:
        through(root, tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "new").glob("*image*"))


def test_a_folder_that_cannot_be_written_is_one_line(root, tmp_path):
    (tmp_path / "c").write_text("a file")
    with pytest.raises(TrainerError, match=r"images cannot be kept in .*/c \(File exists\); free space") as caught:
        through(root, tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(root, tmp_path, monkeypatch):
    real = image_cache._header

    def full(stream, shape):
        real(stream, shape)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache, "_header", full)
    with pytest.raises(TrainerError, match=r"images cannot be kept in .*/c \(No space left on device\); free space"):
        through(root, tmp_path / "c")
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["lock"]


@pytest.mark.parametrize("cached", [False, True])
def test_progress_is_told_while_images_are_decoded(root, tmp_path, monkeypatch, cached):
    monkeypatch.setattr(folder_images, "PIECE_IMAGES", 4)
    told, cache = [], tmp_path / "c" if cached else None
    through(root, cache, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (10, 10)]
    through(root, cache, progress=lambda done, total: told.append((done, total)))
    assert len(told) == (3 if cached else 6)


def test_pieces_are_small_whatever_the_size_of_images(root, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_images, "PIECE_BYTES", 3 * 8 * 8 * 2)
    told = []
    through(root, tmp_path / "c", progress=lambda done, total: told.append(done))
    assert told == [2, 4, 6, 8, 10]
    monkeypatch.setattr(folder_images, "PIECE_BYTES", 1)
    through(root, None, progress=lambda done, total: told.append(done))
    assert told[5:] == list(range(1, 11))


def test_two_at_once_decode_once(root, tmp_path, decoded):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(through(root, tmp_path / "c"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(decoded) == 10
    for data in seen:
        assert_same(data, through(root, None))


def test_data_that_is_no_folder_keeps_nothing(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.arange(128, dtype=np.uint8).reshape(8, 4, 4), y=np.arange(8) % 2)
    load(f"npz:{tmp_path / 'x.npz'}", cache=tmp_path / "c")
    load("digits", cache=tmp_path / "c")
    assert not Path(tmp_path / "c").exists()
