"""The size that is suggested where nobody gave one."""

import pytest
from folder_cases import picture, put, write_csv
from PIL import Image

from trainer.data import ImageOptions, load
from trainer.data.suggest import suggested_size
from trainer.errors import DataNotFound

CASES = {  # sizes of images (height, width), and what is suggested
    "small and all alike": ([(8, 8)] * 4, None),
    "as large as is kept": ([(64, 64)] * 4, None),
    "one side larger": ([(64, 65)] * 4, (32, 32)),
    "photographs all alike": ([(120, 160)] * 4, (32, 32)),
    "of several sizes": ([(120, 160), (160, 120), (90, 90), (30, 30)], (32, 32)),
    "small, of several sizes": ([(40, 40), (48, 40), (40, 64), (40, 40)], (32, 32)),
    "tiny, of several sizes": ([(10, 12), (20, 24), (12, 10), (9, 40)], (20, 20)),
    "flat": ([(3, 200)] * 4, (8, 8)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_size_is_suggested_with_which_the_folder_can_be_read(tmp_path, case):
    sizes, expected = CASES[case]
    for number, size in enumerate(sizes):
        put(tmp_path, f"{'ab'[number % 2]}/{number}.png", size, seed=number)
    seen = suggested_size(tmp_path, ImageOptions())
    assert seen == expected
    text = None if seen is None else "{}x{}".format(*seen)
    assert load(f"folder:{tmp_path}", images=ImageOptions(image_size=text)).input_shape[1:] == (seen or sizes[0])


def test_a_size_that_is_given_is_not_overruled(tmp_path):
    for number in range(4):
        put(tmp_path, f"{'ab'[number % 2]}/{number}.png", (90 + number, 80))
    assert suggested_size(tmp_path, ImageOptions(image_size=48)) is None


def test_small_images_of_which_one_is_turned_are_not_all_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        how = {"exif": exif} if number == 3 else {}
        picture(number, (10, 20)).save(tmp_path / "ab"[number % 2] / f"{number}.png", **how)
    assert suggested_size(tmp_path, ImageOptions()) == (10, 10)


def test_headers_alone_are_read_and_unreadable_files_have_no_say(tmp_path):
    for number in range(4):
        put(tmp_path, f"{'ab'[number % 2]}/{number}.png", (100, 100))
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])  # no pixel of it can be decoded
    assert suggested_size(tmp_path, ImageOptions()) == (32, 32)
    put(tmp_path, "a/x.png", (7, 7))
    for path in tmp_path.rglob("[0-9].png"):
        path.write_bytes(b"no image")
    assert suggested_size(tmp_path, ImageOptions()) is None
    (tmp_path / "a/x.png").write_bytes(b"")
    assert suggested_size(tmp_path, ImageOptions()) is None


def test_what_a_list_names_and_what_lies_beside_it_count(tmp_path):
    for number in range(4):
        put(tmp_path, f"all/{number}.png", (30, 30))
    write_csv(tmp_path, "path,label\nall/0.png,a\nall/1.png,b\n")
    assert suggested_size(tmp_path, ImageOptions()) is None
    put(tmp_path, "beside.png", (31, 30))
    assert suggested_size(tmp_path, ImageOptions()) == (30, 30)


def test_no_folder_is_said_as_loading_says_it(tmp_path):
    with pytest.raises(DataNotFound, match="does not exist; give the folder"):
        suggested_size(tmp_path / "gone", ImageOptions())
