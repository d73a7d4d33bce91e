"""`folder:PATH`: real image files in every layout, and every folder that is refused."""

import hashlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data import ImageOptions, load
from trainer.data.own import channel_constants, draw_test, require_memory
from trainer.errors import DataCorrupt, DataNotFound, TrainerError


def picture(seed, size=(8, 8), mode="RGB"):
    height, width = size
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


def put(root, name, size=(8, 8), mode="RGB", seed=None):
    """Write an image at root/name; lossless formats keep its pixels."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture(len(name) if seed is None else seed, size, mode)
    image.save(path, format="PNG" if path.suffix.lower() not in (".jpg", ".jpeg") else "JPEG")
    return np.asarray(image)


@pytest.fixture
def root(tmp_path):
    """Two classes of five colour images each."""
    for label in ("cat", "dog"):
        for number in range(5):
            put(tmp_path / "data", f"{label}/{number}.png", seed=10 * (label == "cat") + number)
    return tmp_path / "data"


def read(root, **options):
    return load(f"folder:{root}", images=ImageOptions(**options))


def test_class_folders_become_classes_and_every_image_keeps_its_pixels_and_path(root):
    data = read(root)
    assert (data.name, data.classes, data.input_shape, data.scale) == ("folder", ("cat", "dog"), (3, 8, 8), 255)
    assert (len(data.train), len(data.test), data.notes) == (8, 2, ())
    seen = []
    for half, split in (("train", data.train), ("test", data.test)):
        paths = [data.sample_path(half, index) for index in range(len(split))]
        assert paths == sorted(paths)
        seen += paths
        for path, image, label in zip(paths, split.images, split.labels, strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(root / path)).transpose(2, 0, 1))
            assert data.classes[label] == path.split("/")[0]
    assert sorted(seen) == sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    mean, std = (np.array(v) for v in (data.mean, data.std))
    np.testing.assert_allclose(mean, (data.train.images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (data.train.images / 255).std((0, 2, 3)), rtol=1e-12)


def test_the_test_half_is_drawn_by_the_hash_of_the_path_and_by_nothing_else(root):
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    for fraction, count in ((0.2, 2), (0.5, 5), (0.01, 1), (0.99, 9)):
        assert set(read(root, test_fraction=fraction).paths[1]) == set(by_hash[:count])
    before = set(read(root).paths[1])
    put(root, "cat/new.png")
    assert len(before - set(read(root).paths[1])) <= 1


def test_a_drawn_test_half_looks_uniform():
    taken = draw_test([f"cat/{number}.png" for number in range(10_000)], 0.2)
    assert taken.sum() == 2000
    tenths = taken.reshape(10, 1000).sum(1)
    assert np.abs(tenths - 200).max() < 5 * np.sqrt(1000 * 0.2 * 0.8)  # five standard deviations


def test_given_halves_are_kept(tmp_path):
    for name in ("Train/a/1.png", "Train/a/2.png", "Train/b/1.png", "Test/a/9.png", "Test/b/9.png"):
        put(tmp_path, name)
    data = read(tmp_path, test_fraction=0.9)
    assert data.paths == (("Train/a/1.png", "Train/a/2.png", "Train/b/1.png"), ("Test/a/9.png", "Test/b/9.png"))
    assert data.labels("train").tolist() == [0, 0, 1]


def test_names_with_spaces_umlauts_and_upper_case_extensions(tmp_path):
    names = ["Große Katze/Foto Nr. 1 – früh.PNG", "Große Katze/b.JPeG", "犬/1\u202fPM.jpg", "犬/'q\".Webp"]
    for name in names:
        put(tmp_path, name)
    (tmp_path / "犬/'q\".Webp").unlink()
    picture(0).save(tmp_path / "犬/'q\".Webp", format="WEBP")
    data = read(tmp_path)
    assert data.classes == ("Große Katze", "犬")
    assert sorted(data.paths[0] + data.paths[1]) == sorted(names)


def test_what_is_no_image_is_counted_and_named(root):
    for name in (".DS_Store", "cat/.hidden.png", "cat/Thumbs.db", "readme.txt", "__MACOSX/cat/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    put(root, "loose.png")
    data = read(root)
    assert len(data.train) + len(data.test) == 10
    assert [note.split(" under")[0] for note in data.notes] == ["ignored 5 files", "ignored 1 image"]


def test_images_deeper_in_a_class_folder_count(root):
    put(root, "cat/2024/may/x.png")
    assert "cat/2024/may/x.png" in sum(read(root).paths, ())


@pytest.mark.parametrize(
    ("mode", "images", "shape"),
    [
        ("auto", "L", (1, 8, 8)),
        ("rgb", "L", (3, 8, 8)),
        ("auto", "RGB", (3, 8, 8)),
        ("grey", "RGB", (1, 8, 8)),
    ],
)
def test_colours(tmp_path, mode, images, shape):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        put(tmp_path, name, mode=images)
    assert read(tmp_path, mode=mode).input_shape == shape


def test_greys_saved_as_colours_are_grey_unless_one_pixel_is_not(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(0, mode="L").convert("RGB").save(tmp_path / name)
    data = read(tmp_path)
    assert data.input_shape == (1, 8, 8)
    np.testing.assert_array_equal(data.train.images[0, 0], np.asarray(picture(0, mode="L")))
    image = picture(0, mode="L").convert("RGB")
    image.putpixel((7, 7), (1, 2, 3))
    image.save(tmp_path / "b/1.png")
    assert read(tmp_path).input_shape == (3, 8, 8)


def one(tmp_path, image, **options):
    """A single image as it is read, `[C, H, W]`, through a folder of three of it."""
    name = options.pop("name", "x.png")
    for label in "ab":
        (tmp_path / label).mkdir(exist_ok=True)
        for number in range(2):
            image.save(tmp_path / label / f"{number}{name}", **options.pop("save", {}))
    return read(tmp_path, **options).train.images[0]


def test_sizes_scale_to_cover_and_crop_the_centre(tmp_path):
    image = picture(0, (8, 24), "L")
    bilinear = Image.Resampling.BILINEAR
    whole = np.asarray(image.resize((12, 4), bilinear))  # the slow way: all of it first, then the crop
    np.testing.assert_array_equal(one(tmp_path, image, image_size=4)[0], whole[:, 4:8])
    for size, expected in (("8x24", image), ("4x12", whole), ("16x48", image.resize((48, 16), bilinear))):
        np.testing.assert_array_equal(read(tmp_path, image_size=size).train.images[0, 0], np.asarray(expected))
    tall = np.asarray(image.resize((6, 8), bilinear, box=(9, 0, 15, 8)))  # as high as it is, and 6 of 24 pixels wide
    np.testing.assert_array_equal(read(tmp_path, image_size="8x6").train.images[0, 0], tall)


def test_shrinking_averages_so_that_fine_patterns_do_not_alias(tmp_path):
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    seen = one(tmp_path, Image.fromarray(board), image_size=8)
    assert np.abs(seen.astype(int) - 127).max() < 10  # every fourth pixel alone would be all black or all white


def test_exif_orientation_is_applied(tmp_path):
    image = picture(3, (4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen, turn a quarter clockwise
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            image.save(tmp_path / label / f"{number}.png", exif=exif)
    seen = read(tmp_path).train.images[0]
    np.testing.assert_array_equal(seen.transpose(1, 2, 0), np.rot90(np.asarray(image), -1))


def test_transparency_is_put_on_white_and_sixteen_bits_keep_their_upper_byte(tmp_path):
    glass = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    glass.putpixel((1, 0), (10, 20, 30, 0))
    assert one(tmp_path / "glass", _in(tmp_path / "glass", glass))[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]
    deep = Image.fromarray(np.array([[0x1234, 0xFF00]], np.uint16))
    assert one(tmp_path / "deep", _in(tmp_path / "deep", deep))[0, 0].tolist() == [0x12, 0xFF]


def _in(folder, image):
    folder.mkdir()
    return image


def write_csv(root, text, encoding="utf-8"):
    (root / "labels.csv").write_bytes(text.encode(encoding))


def test_labels_csv_with_and_without_splits(root):
    write_csv(root, "\ufeffPath;Label;Note\ncat/1.png; tabby ;x\ndog/0.png;Köter;\n\ncat/2.png;tabby;\n")
    data = read(root)
    assert data.classes == ("Köter", "tabby")
    assert sorted(sum(data.paths, ())) == ["cat/1.png", "cat/2.png", "dog/0.png"]
    write_csv(root, 'label,path,split\nx,"cat/1.png",train\ny,dog/0.png,TRAIN\nx,cat/2.png,test\n')
    data = read(root)
    assert data.paths == (("cat/1.png", "dog/0.png"), ("cat/2.png",))
    assert data.notes == ("no image of the test half shows 'y': its accuracy cannot be measured",)


CSV = {
    "no header": ("cat/1.png,cat\n", "line 1: expected the columns path,label"),
    "empty": ("", "line 1: expected the columns"),
    "nothing listed": ("path,label\n", "lists no images"),
    "no such file": ("path,label\ncat/1.png,a\ncat/77.png,b\n", "line 3: there is no file 'cat/77.png'"),
    "folder for a file": ("path,label\ncat,a\n", "line 2: there is no file 'cat'"),
    "twice": (
        "path,label\ncat/1.png,a\ndog/1.png,b\ncat/../cat/1.png,b\n",
        "line 4: 'cat/../cat/1.png' was listed before, in line 2",
    ),
    "no label": ("path,label\ncat/1.png,a\ncat/2.png,\n", "line 3: it has no label"),
    "too short": ("path,label\ncat/1.png\n", "line 2: it has no label"),
    "no path": ("path,label\n,a\n", "line 2: it has no path"),
    "too long": ("path,label\ncat/1.png,a,b\n", "line 2: it has more values than columns"),
    "unknown split": ("path,label,split\ncat/1.png,a,valid\n", "line 2: split must be train or test, got 'valid'"),
    "blank split": ("path,label,split\ncat/1.png,a,train\ncat/2.png,a,\n", "line 3: split must be train or test"),
    "no test": ("path,label,split\ncat/1.png,a,train\ndog/1.png,b,train\n", "no image has the split test"),
    "absolute": ("path,label\n/etc/hostname,a\n", "line 2: /etc/hostname leads out of"),
    "upwards": ("path,label\n../secret.png,a\n", "leads out of"),
    "link out": ("path,label\ncat/out.png,a\n", "leads out of"),
    "no image": ("path,label\ncat/notes.txt,a\n", "line 2: 'cat/notes.txt' has no extension of an image"),
    "open quote": ('path,label\n"cat/1.png,a\n', "unexpected end of data"),
    "control": ("path,label\ncat/1.png,a\x07\n", "line 2: 'a\\x07': file names must be printable"),
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


def loose_only(root):
    empty(root)
    put(root, "1.png")


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
    "empty": (empty, "holds no images; expected a folder for each class"),
    "no class folders": (loose_only, "holds 1 image but no class folders"),
    "one class": (only_one_class, "expected images of at least two classes, found only 'cat'"),
    "empty class": (lambda root: (root / "cow").mkdir(), "cow holds no images, so it is no class"),
    "validation beside": (halves("train/a/1.png", "val/a/1.png"), "has a folder train beside 'val'"),
    "three halves": (halves("train/a/1.png", "test/a/1.png", "val/a/1.png"), "beside 'test', 'val'"),
    "half without classes": (halves("train/a/1.png", "test/1.png"), "the half test holds no class folders"),
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
    "none for testing": ({"test_fraction": 0.0}, "between 0 and 1"),
    "nan": ({"test_fraction": float("nan")}, "between 0 and 1"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_make_no_sense(case):
    given, message = OPTIONS[case]
    with pytest.raises(TrainerError, match=message):
        ImageOptions(**given)


def test_sizes_have_one_spelling():
    assert ImageOptions(image_size=16) == ImageOptions(image_size=" 016 ") == ImageOptions(image_size="16x16")


def test_bad_files_are_all_counted_and_can_be_left_out(root):
    (root / "cat/0.png").write_bytes(b"text")
    whole = (root / "dog/2.png").read_bytes()
    (root / "dog/2.png").write_bytes(whole[: len(whole) // 2])  # its header is sound
    for size, count in ((None, 2), (8, 1)):  # found when sizes are compared, or when pixels are wanted
        with pytest.raises(DataCorrupt, match=rf"{count} of 10 images .*cat/0.png .*data.skip_bad=true"):
            read(root, image_size=size)
        assert read(root, image_size=size, skip_bad=True).fingerprint() == read(root, skip_bad=True).fingerprint()
    data = read(root, skip_bad=True, image_size=8)
    drawn = draw_test([f"{label}/{number}.png" for label in ("cat", "dog") for number in range(5)], 0.2)
    assert len(data.test) == 2 - drawn[0] - drawn[7]  # bad files change no other's half
    assert len(data.train) + len(data.test) == 8
    assert not {"cat/0.png", "dog/2.png"} & set(sum(data.paths, ()))
    assert data.notes[0].startswith("2 of 10 images under")
    assert "cat/0.png (not an image), dog/2.png (image file is truncated), cannot be read" in data.notes[0]
    for path in (root / "dog").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataCorrupt, match="no image of 'dog' can be read"):
        read(root, skip_bad=True)


def test_a_decompression_bomb_is_an_unreadable_image_and_no_warning(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put(root, "cat/bomb.png", (11, 11))  # between the limit and twice of it Pillow only warns
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataCorrupt, match="cat/bomb.png .*decompression bomb"):
            read(root, image_size=8)


def test_a_file_that_pretends_to_be_an_image_starts_no_other_decoder(root):
    picture(0).save(root / "cat/page.eps")
    (root / "cat/page.eps").rename(root / "cat/page.png")
    with pytest.raises(DataCorrupt, match="cat/page.png .not an image."):
        read(root)


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
def test_a_pipe_is_no_image_and_is_not_waited_for(root):
    os.mkfifo(root / "cat/pipe.png")
    assert read(root).notes == (f"ignored 1 file under {root}: hidden, or no image",)


def test_links_inside_are_followed(root):
    (root / "dog/also.png").symlink_to(root / "cat/1.png")
    assert "dog/also.png" in sum(read(root).paths, ())


def test_images_larger_than_memory_are_refused_with_a_size_that_fits(root):
    with pytest.raises(TrainerError, match=r"10 images of 3x8x8 take .*: --image-size 4x4 would fit"):
        load(f"folder:{root}", images=ImageOptions(), memory_limit=3 * 10 * 5 * 5 - 1)
    assert load(f"folder:{root}", images=ImageOptions(image_size="4x4"), memory_limit=3 * 10 * 16).input_shape[1:] == (
        4,
        4,
    )
    with pytest.raises(TrainerError, match="use fewer of them"):
        require_memory(10**9, 3, (32, 32), 10**6)


def test_the_fingerprint_knows_pixels_names_and_labels_but_not_where_the_folder_lies(root):
    first = read(root).fingerprint()
    moved = root.rename(root.parent / "elsewhere")
    assert read(moved).fingerprint() == first
    (moved / "cat/1.png").rename(moved / "cat/1b.png")
    assert read(moved).fingerprint() != first
    (moved / "cat/1b.png").rename(moved / "cat/1.png")
    assert read(moved).fingerprint() == first
    put(moved, "cat/1.png", seed=12345)
    assert read(moved).fingerprint() != first


def test_a_constant_channel_has_a_deviation_of_one():
    images = np.zeros((3, 2, 4, 4), np.uint8)
    images[:, 1, ::2] = 255
    assert channel_constants(images) == ((0.0, 0.5), (1.0, 0.5))


def test_a_class_without_training_images_is_said(tmp_path):
    names = [f"many/{number}.png" for number in range(6)] + ["rare/1.png"]
    for name in names:
        put(tmp_path, name)
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    count = by_hash.index("rare/1.png") + 1
    if count < len(names):
        note = read(tmp_path, test_fraction=count / len(names)).notes[0]
        assert note == "no image of the train half shows 'rare': nothing can be learned about it"


def test_no_such_folder_and_home_directories():
    with pytest.raises(DataNotFound, match=r"folder:.* is a file"):
        load(f"folder:{Path(__file__)}")
    with pytest.raises(TrainerError, match="home directory"):
        load("folder:~nobody-of-that-name/x")
    with pytest.raises(TrainerError, match="there is no data set 'folder:'"):
        load("folder:")
