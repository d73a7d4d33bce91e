"""What a person is shown of a sample."""

import dataclasses
import io
import threading

import numpy as np
import pytest
from folder_cases import picture as noise
from folder_cases import put, read
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainer.data import DataSet, ImageOptions, Split, load
from trainer.data.show import NEUTRAL, picture
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

SECRET = b"52.5163N-13.3777E"


def photograph(size):
    """Smooth, and of many colours."""
    return noise(1, (6, 8)).resize(size[::-1], Image.Resampling.BICUBIC)


def saved(root, image, name="1.png", **how):
    """A data set read at 8x8 whose samples are all one image, as a folder holds it."""
    for label in "ab":
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            image.save(root / label / f"{number}{name}", **how)
    return read(root, image_size=8)


def shown(data, side=64, split="train", index=0):
    content, kind = picture(data, split, index, side)
    seen = Image.open(io.BytesIO(content))
    assert kind == f"image/{seen.format.lower()}"
    return seen


FORMS = {  # how an image is stored, and how it is shown: kind, mode, size
    "a large photograph": (photograph((480, 640)), "1.jpg", {}, ("JPEG", "RGB", (256, 192))),
    "a tall one": (photograph((640, 480)), "1.jpg", {}, ("JPEG", "RGB", (192, 256))),
    "one without loss": (photograph((480, 640)), "1.png", {}, ("JPEG", "RGB", (256, 192))),
    "one for print": (photograph((480, 640)).convert("CMYK"), "1.jpg", {}, ("JPEG", "RGB", (256, 192))),
    "one no larger than asked": (photograph((100, 120)), "1.webp", {}, ("JPEG", "RGB", (120, 100))),
    "a small one": (photograph((48, 64)), "1.jpg", {}, ("PNG", "RGB", (64, 48))),
    "a long one": (photograph((3, 900)), "1.png", {}, ("PNG", "RGB", (256, 1))),
    "an X-ray": (photograph((480, 640)).convert("L"), "1.jpg", {}, ("PNG", "L", (256, 192))),
    "a fax": (photograph((480, 640)).convert("1"), "1.tif", {}, ("PNG", "L", (256, 192))),
    "a palette": (photograph((480, 640)).quantize(16), "1.png", {}, ("PNG", "RGB", (256, 192))),
    "a drawing": (Image.new("RGB", (640, 480), "teal"), "1.png", {}, ("PNG", "RGB", (256, 192))),
    "an animation": (
        Image.new("RGB", (100, 80), "red"),
        "1.gif",
        {"save_all": True, "append_images": [Image.new("RGB", (100, 80), "blue")]},
        ("PNG", "RGB", (100, 80)),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_shown_as_what_suits_it_and_resembles_the_file(tmp_path, form):
    image, name, how, expected = FORMS[form]
    seen = shown(saved(tmp_path, image, name, **how), 256)
    assert (seen.format, seen.mode, seen.size) == expected
    with Image.open(tmp_path / "a" / f"0{name}") as whole:  # the slow way: all of it, then shrunk
        slow = whole.convert(seen.mode)
    slow = slow.resize(seen.size, Image.Resampling.LANCZOS)
    off = np.abs(np.asarray(seen, np.float64) - np.asarray(slow))
    assert off.mean() < 4


def test_what_is_shown_of_a_small_lossless_image_is_that_image(tmp_path):
    image = noise(3, (20, 30))
    np.testing.assert_array_equal(np.asarray(shown(saved(tmp_path, image))), np.asarray(image))


def test_a_large_photograph_is_not_decoded_in_full(tmp_path, monkeypatch):
    sizes = []
    data = saved(tmp_path, photograph((1200, 1600)), "1.jpg")
    load_pixels = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, *a, **k: sizes.append(self.size) or load_pixels(self, *a))
    assert shown(data, 200).size == (200, 150)
    assert sizes == [(200, 150)]


@pytest.mark.parametrize("name", ["1.jpg", "1.png"])
def test_it_is_turned_as_exif_says(tmp_path, name):
    image = Image.new("RGB", (300, 200), "black")
    image.paste("white", (0, 0, 150, 200))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen, turn a quarter clockwise: what was left is then above
    seen = shown(saved(tmp_path, image, name, exif=exif), 150)
    assert seen.size == (100, 150)
    pixels = np.asarray(seen.convert("L")).astype(int)
    assert pixels[:70].min() > 240
    assert pixels[80:].max() < 15


def test_transparency_is_neutral_so_that_black_and_white_drawings_are_seen(tmp_path):
    glass = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    glass.putpixel((1, 0), (10, 20, 30, 0))
    assert np.asarray(shown(saved(tmp_path, glass)))[0].tolist() == [[10, 20, 30], list(NEUTRAL)]
    keyed = Image.new("P", (2, 1))
    keyed.putpalette([1, 2, 3, 4, 5, 6])
    keyed.putpixel((1, 0), 1)
    assert np.asarray(shown(saved(tmp_path / "p", keyed, transparency=1)))[0].tolist() == [[1, 2, 3], list(NEUTRAL)]


@pytest.mark.parametrize("bits", [12, 16])
def test_sixteen_bits_are_shown_as_the_network_sees_them(tmp_path, bits):
    values = (np.arange(64).reshape(8, 8) << (bits - 6)).astype(np.uint16) + (300 if bits == 12 else 0)
    data = saved(tmp_path, Image.fromarray(values))
    assert data.depth == ((300, 4) if bits == 12 else (0, 8))
    np.testing.assert_array_equal(np.asarray(shown(data)), data.train.images[0, 0])


def test_what_a_file_says_of_itself_never_goes_out(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = SECRET.decode()
    text = PngInfo()
    text.add_text("Comment", SECRET.decode())
    ways = {
        "1.jpg": {"exif": exif, "comment": SECRET, "xmp": SECRET, "icc_profile": SECRET},
        "1.png": {"exif": exif, "pnginfo": text, "icc_profile": SECRET},
        "1.webp": {"exif": exif, "xmp": SECRET, "icc_profile": SECRET},
        "1.gif": {"comment": SECRET},
        "1.tif": {"exif": exif, "icc_profile": SECRET},
    }
    for name, how in ways.items():
        root = tmp_path / name
        data = saved(root, photograph((100, 120)), name, **how)
        stored = (root / "a" / f"0{name}").read_bytes()
        assert SECRET in stored or b"iCCP" in stored  # PNG compresses it
        for side in (32, 110, 200):
            content, _ = picture(data, "train", 0, side)
            assert SECRET not in content
            seen = Image.open(io.BytesIO(content))
            assert not seen.getexif()
            assert not {"comment", "icc_profile", "xmp", "Comment", "exif"} & set(seen.info)


def test_both_halves_are_shown_by_id(root):
    data = read(root)
    for split in ("train", "test"):
        for index, path in enumerate(data.paths[split == "test"]):
            np.testing.assert_array_equal(
                np.asarray(shown(data, split=split, index=index)), np.asarray(Image.open(root / path))
            )


def test_data_without_files_is_shown_as_the_network_sees_it():
    digits = load("digits")
    expected = np.round(digits.test.images[7, 0] * (255 / 16))
    np.testing.assert_array_equal(np.asarray(shown(digits, split="test", index=7)), expected)
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 100, 90), np.uint8)
    half = Split(colours, np.array([0, 1]))
    data = DataSet("made", ("a", "b"), half, half, 255.0, (0.5,) * 3, (0.2,) * 3)
    seen = shown(data, 100)
    assert seen.format == "PNG"
    np.testing.assert_array_equal(np.asarray(seen), colours[0].transpose(1, 2, 0))
    assert shown(data, 50).size == (45, 50)


def test_features_have_no_picture(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).normal(size=(8, 3)), y=np.arange(8) % 2)
    data = load(f"npz:{tmp_path / 'x.npz'}", images=ImageOptions())
    with pytest.raises(TrainerError, match="vector of features and has no picture; show its text"):
        picture(data, "train", 0, 64)


@pytest.mark.parametrize(
    ("split", "index", "side"), [("train", 8, 9), ("train", -1, 9), ("pool", 0, 9), ("train", 0, 0), ("train", 0, 9999)]
)
def test_what_is_no_id_or_side_is_refused(root, split, index, side):
    with pytest.raises(TrainerError, match=r"ids run from|must be 'train'|side: expected 1 to 4096"):
        picture(read(root), split, index, side)


def test_a_file_that_became_a_link_out_of_the_folder_is_refused_and_one_within_is_followed(root):
    data = read(root)
    secret = root.parent / "secret.png"
    noise(99).save(secret)
    file = data.sample_file("train", 0)
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(TrainerError, match="leads out of"):
        picture(data, "train", 0, 64)
    file.unlink()
    file.symlink_to(data.sample_file("train", 1))
    np.testing.assert_array_equal(np.asarray(shown(data)), np.asarray(shown(data, index=1)))
    (root / "cat").rename(root.parent / "cat")  # a folder on the way is no better
    (root / "cat").symlink_to(root.parent / "cat")
    with pytest.raises(TrainerError, match="leads out of"):
        picture(data, "train", 1, 64)
    moved = dataclasses.replace(data, paths=(("../secret.png",) * 8, data.paths[1]))
    with pytest.raises(TrainerError, match="leads out of"):
        picture(moved, "train", 0, 64)


def test_a_file_that_changed_since_is_refused_in_one_line(root, monkeypatch):
    data = read(root)
    file = data.sample_file("train", 0)
    for content, reason in ((b"x", "not an image"), (file.read_bytes()[:80], "truncated|broken")):
        file.write_bytes(content)
        with pytest.raises(DataCorrupt, match=reason) as caught:
            picture(data, "train", 0, 64)
        assert "\n" not in str(caught.value)
    put(root, file.relative_to(root).as_posix(), (11, 11))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120)  # between the limit and twice of it Pillow only warns
    with pytest.raises(DataCorrupt, match="decompression bomb"):
        picture(data, "train", 0, 64)
    file.unlink()
    with pytest.raises(DataNotFound, match="is gone since the data was loaded"):
        picture(data, "train", 0, 64)


def test_many_at_once_are_all_right(tmp_path):
    data = saved(tmp_path, photograph((480, 640)), "1.jpg")
    alone, seen = picture(data, "train", 0, 100), []
    threads = [threading.Thread(target=lambda: seen.append(picture(data, "train", 0, 100))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [alone] * 8
