"""What becomes of an image of a folder: colours, size, orientation, and files that cannot be read."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from folder_cases import picture, put, read
from PIL import Image

from trainer.data import ImageOptions, load
from trainer.data.constants import channel_constants
from trainer.data.custom import require_memory
from trainer.errors import DataCorrupt, TrainerError


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
    """A single image as it is read, ``[C, H, W]``, through a folder of three of it."""
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


@pytest.mark.parametrize("low", [0, 40_000])
@pytest.mark.parametrize(("bits", "steps"), [(8, 1), (12, 16), (14, 64), (16, 256)])
def test_sixteen_bits_of_which_few_are_used_keep_their_greys(tmp_path, bits, steps, low):
    if low and bits == 16:
        return
    values = np.arange(200).reshape(4, 50) << (bits - 8)
    values += low
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.fromarray(values.astype(np.uint16)).save(tmp_path / label / f"{number}.{'tif' if number else 'png'}")
    data = read(tmp_path)
    np.testing.assert_array_equal(data.train.images[0, 0], np.arange(200).reshape(4, 50))
    said = (
        f"4 16-bit images under {tmp_path} use only the values {low:,} to {values.max():,}: these, not 0 to 65,535, are"
    )
    notes = [note for note in data.notes if "16-bit" in note]
    assert [note.startswith(said) for note in notes] == [True] * (bits < 16)
    assert all(note.endswith(f"in steps of {steps}") for note in notes)


def test_sixteen_bits_share_one_scale_in_a_data_set(tmp_path):
    for label, most in (("a", 100), ("b", 4000)):
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.fromarray(np.array([[0, most]], np.uint16)).save(tmp_path / label / f"{number}.png")
    data = read(tmp_path, test_fraction=0)
    assert data.train.images[:, 0, 0, 1].tolist() == [100 >> 4] * 2 + [4000 >> 4] * 2


@pytest.mark.parametrize(("kind_of_colour", "values"), [(2, 3), (4, 2)])  # red, green and blue; grey and alpha
def test_sixteen_bits_a_colour_are_said_to_lose_their_lower_byte(tmp_path, kind_of_colour, values):
    rows = [b"".join(b"\0" + bytes(range(at, at + 8 * values)) for _ in range(4)) for at in (0, 1)]  # of 4 pixels
    header = struct.pack(">IIBBBBB", 4, 4, 16, kind_of_colour, 0, 0, 0)
    for label, pixels in zip("ab", rows, strict=True):
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(png)
    assert read(tmp_path, test_fraction=0).notes == (
        f"2 images under {tmp_path} with 16 bits a colour, of which the upper 8 are read: if they use fewer, save them "
        "with 8",
    )


@pytest.mark.parametrize(("ending", "save"), [("gif", {}), ("webp", {"lossless": True}), ("tif", {}), ("png", {})])
def test_the_first_of_several_pictures_is_read_and_that_is_said(tmp_path, ending, save):
    first, *others = (picture(seed, mode="RGB").convert("P" if ending == "gif" else "RGB") for seed in range(3))
    name = f"x.{ending}"
    seen = one(tmp_path, first, name=name)  # of one picture
    assert "pictures" not in " ".join(read(tmp_path).notes)
    for folder in "ab":
        first.save(tmp_path / folder / f"1{name}", save_all=True, append_images=others, **save)
    data = read(tmp_path, test_fraction=0)
    assert (
        f"2 files under {tmp_path} with several pictures, animated or in pages, such as a/1{name}: the first of each "
        "is read; save the others as files of their own if they matter"
    ) in data.notes
    if ending != "webp":  # whose single picture here is lossy
        np.testing.assert_array_equal(data.train.images[1], seen)


def test_the_previews_of_a_cameras_file_are_not_worth_a_word(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for number in range(2):
            picture(number).save(tmp_path / folder / f"{number}.jpg", "MPO", save_all=True, append_images=[picture(9)])
    assert not any("pictures" in note for note in read(tmp_path, test_fraction=0).notes)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_defined_range_are_named(tmp_path, kind):
    with pytest.raises(DataCorrupt, match=r"floats, negative or 32-bit integers, without a defined range: save it"):
        one(tmp_path, Image.fromarray(np.arange(4, dtype=kind).reshape(2, 2)), name="x.tif")


def _in(folder, image):
    folder.mkdir()
    return image


def test_bad_files_are_all_counted_and_can_be_left_out(root):
    (root / "cat/0.png").write_bytes(b"text")
    whole = (root / "dog/2.png").read_bytes()
    (root / "dog/2.png").write_bytes(whole[: len(whole) // 2])  # its header is sound
    for size, count in ((None, 2), (8, 1)):  # found when sizes are compared, or when pixels are wanted
        with pytest.raises(DataCorrupt, match=rf"{count} of 10 images .*cat/0.png .*data.skip_bad=true"):
            read(root, image_size=size)
        assert read(root, image_size=size, skip_bad=True).fingerprint() == read(root, skip_bad=True).fingerprint()
    data = read(root, skip_bad=True, image_size=8)
    assert len(data.test) == 2
    assert len(data.train) + len(data.test) == 8
    assert not {"cat/0.png", "dog/2.png"} & set(sum(data.paths, ()))
    assert data.notes[0].startswith("2 of 10 images under")
    assert "cat/0.png (not an image), dog/2.png (image file is truncated), cannot be read" in data.notes[0]
    for path in (root / "dog").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataCorrupt, match="no image of 'dog' can be read"):
        read(root, skip_bad=True)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("options", [{}, {"stratified": True}])
def test_a_file_that_is_left_out_does_not_count(root, tmp_path, options, cached):
    cache = tmp_path / "kept" if cached else None

    def drawn(**more):
        data = load(f"folder:{root}", images=ImageOptions(skip_bad=True, **options), cache=cache, **more)
        return data.paths, data.fingerprint()

    for number in range(5, 14):
        put(root, f"cat/{number}.png")
    without = drawn()
    whole = (root / "dog/2.png").read_bytes()
    for name in [f"cat/bad {number}.png" for number in range(30)]:  # six test images more
        (root / name).write_bytes(b"text" if name.endswith("1.png") else whole[: len(whole) // 2])
    assert drawn() == without
    assert drawn() == without  # as it is kept now
    again = load(f"folder:{root}", images=ImageOptions(skip_bad=True, **options))
    assert drawn(before=again.listed) == without


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


def test_images_larger_than_memory_are_refused_with_a_size_that_fits(root):
    with pytest.raises(TrainerError, match=r"10 images of 3x8x8 take .*: --image-size 4x4 would fit"):
        load(f"folder:{root}", images=ImageOptions(), memory_limit=3 * 10 * 5 * 5 - 1)
    assert load(f"folder:{root}", images=ImageOptions(image_size="4x4"), memory_limit=3 * 10 * 16).input_shape[1:] == (
        4,
        4,
    )
    with pytest.raises(TrainerError, match="use fewer of them"):
        require_memory(10**9, 3, (32, 32), 10**6)


def test_a_constant_channel_has_a_deviation_of_one():
    images = np.zeros((3, 2, 4, 4), np.uint8)
    images[:, 1, ::2] = 255
    assert channel_constants(images) == ((0.0, 0.5), (1.0, 0.5))
