"""Images whose values use few of their bits, beside outliers, beside others or all of one value: said or refused."""

import struct
import zlib

import numpy as np
import pytest
from folder_cases import put, read
from PIL import Image

from trainer.data import ImageOptions, load
from trainer.data.decode import UPPER_BYTE, Depth
from trainer.data.few_greys import few_greys, sampled
from trainer.errors import TrainerError

RNG = np.random.default_rng(0)
LOW = RNG.integers(0, 200, (20, 8, 8)).astype(np.uint16)  # 8 of 16 bits
LABELS = np.arange(20) % 2


def save(root, images):
    for number, image in enumerate(images):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


@pytest.fixture
def archive(tmp_path):
    def make(x):
        np.savez(tmp_path / "d.npz", X=x, y=LABELS)
        return load(f"npz:{tmp_path / 'd.npz'}", images=ImageOptions())

    return make


def hot(images, value):
    """A pixel that is white now and then, as a camera may have one."""
    images = images.copy()
    images[3:9, 1, 1] = value
    return images


def test_one_hot_pixel_that_flattens_all_others_is_said(tmp_path, archive):
    save(tmp_path, LOW)
    assert not any("pixels" in note for note in read(tmp_path).notes)
    save(tmp_path, hot(LOW, 65535))
    data = read(tmp_path)
    assert len(np.unique(data.train.images)) <= 2
    [note] = [note for note in data.notes if "98 %" in note]
    assert note.startswith(f"98 % of the pixels of 20 16-bit images under {tmp_path} have 19")
    assert "values and become 1 of 256 greys, as a few others set what is black and white: cut these off" in note
    floats = LOW / 2**16
    assert not any("98 %" in note for note in archive(floats).notes)  # spread over their range
    [note] = [note for note in archive(hot(floats, 1.0)).notes if "98 %" in note]
    assert note.startswith("98 % of the pixels of X have 19")


@pytest.mark.parametrize(
    "images",
    [
        np.where(RNG.random((20, 8, 8)) < 0.01, RNG.random((20, 8, 8)), 0.0),  # a few spots on black
        RNG.random((20, 8, 8)),
        RNG.integers(0, 4, (20, 8, 8)) / 3,  # few values, all kept
    ],
)
def test_what_loses_nothing_is_not_doubted(archive, images):
    assert not any("98 %" in note for note in archive(images).notes)


def test_only_a_sample_is_looked_at():
    assert sampled(np.arange(10**6).reshape(10, -1), 1000).shape == (1000,)
    assert sampled(np.arange(7), 1000).tolist() == list(range(7))
    assert few_greys(np.array([5]), UPPER_BYTE.bytes_of) is None


def test_sixteen_bits_on_a_scale_of_their_own_beside_eight_are_said(tmp_path):
    save(tmp_path, LOW)
    put(tmp_path, "a/eight.png", mode="L")
    assert "1 image beside them with 8 bits: let all have 8, or all 16, on one scale" in read(tmp_path).notes


def test_values_beyond_the_range_of_the_data_set_are_cut_off_and_do_not_begin_anew():
    values = np.array([0, 39_999, 40_000, 40_100, 40_255, 40_256, 65_535], np.uint16)
    assert Depth(40_000, 0).bytes_of(values).tolist() == [0, 0, 0, 100, 255, 255, 255]
    assert UPPER_BYTE.bytes_of(values).tolist() == [0, 156, 156, 156, 157, 157, 255]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.full((20, 8, 8), 7, np.uint8),
            ": expected training samples that differ, but all 16 have the value 7 in",
        ),
        (np.full((20, 8, 8, 3), 0.5), "all 16 have the value 128 in every place"),
        (np.zeros((20, 8, 8), bool), "all 16 have the value 0 in every place"),
        (np.full((20, 3), 2.5), "all 16 have the same features"),
        (np.tile([1.0, 2.0], (20, 1)), "all 16 have the same features"),
    ],
)
def test_what_has_one_value_left_is_refused(archive, x, message):
    with pytest.raises(TrainerError, match=message):
        archive(x)


def png_of_sixteen_bits_a_colour(pixels):
    """Write what Pillow reads and cannot write; pixels: uint16 ``[H, W, 3]``."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def test_colours_of_sixteen_bits_that_use_eight_are_black_and_refused(tmp_path):
    for number in range(6):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png_of_sixteen_bits_a_colour(RNG.integers(0, 250, (4, 4, 3))))
    with pytest.raises(TrainerError, match="all 5 have the value 0 in every place; look at how .* the upper 8 bits"):
        read(tmp_path)
