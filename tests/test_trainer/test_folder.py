"""``folder:PATH``: real image files in every layout."""

import hashlib
import os
import sys

import numpy as np
import pytest
from folder_cases import picture, put, read, write_csv
from PIL import Image

from trainer.data import ImageOptions
from trainer.data.custom import draw_test
from trainer.errors import TrainerError


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
    data = read(root)
    assert len(data.train) + len(data.test) == 10
    assert [note.split(" under")[0] for note in data.notes] == ["ignored 5 files"]


def test_images_deeper_in_a_class_folder_count(root):
    put(root, "cat/2024/may/x.png")
    assert "cat/2024/may/x.png" in sum(read(root).paths, ())


def test_labels_csv_with_and_without_splits(root):
    write_csv(root, "\ufeffPath;Label;Note\ncat/1.png; tabby ;x\ndog/0.png;Köter;\n\ncat/2.png;tabby;\n")
    data = read(root, labelled_only=True)
    assert data.classes == ("Köter", "tabby")
    assert sorted(sum(data.paths, ())) == ["cat/1.png", "cat/2.png", "dog/0.png"]
    write_csv(root, "\ufeffsep=;\r\npath;label\r\ncat/1.png;tabby\r\ndog/0.png;Köter\r\n")
    assert sorted(sum(read(root, labelled_only=True).paths, ())) == ["cat/1.png", "dog/0.png"]
    write_csv(root, 'label,path,split\nx,"cat/1.png",train\ny,dog/0.png,TRAIN\nx,cat/2.png,test\n')
    data = read(root, labelled_only=True)
    assert data.paths == (("cat/1.png", "dog/0.png"), ("cat/2.png",))
    assert data.notes[1:] == ("no image of the test half shows 'y': its accuracy cannot be measured",)


def test_sizes_have_one_spelling():
    assert ImageOptions(image_size=16) == ImageOptions(image_size=" 016 ") == ImageOptions(image_size="16x16")


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
def test_a_pipe_is_no_image_and_is_not_waited_for(root):
    os.mkfifo(root / "cat/pipe.png")
    assert read(root).notes == (f"ignored 1 file under {root}: hidden, or no image",)


def test_pictures_of_kinds_that_are_not_read_are_counted(root):
    for name in ("cat/a.HEIC", "cat/b.heic", "dog/c.CR2", "dog/notes.txt"):
        (root / name).write_bytes(b"x")
    kinds = "among them pictures of kinds that are not read: 1 .cr2, 2 .heic; save them as JPEG or PNG"
    assert read(root).notes == (f"ignored 4 files under {root}: hidden, or no image, {kinds}",)
    for path in [*root.rglob("*.png"), *root.rglob("*.jpg")]:
        path.unlink()
    with pytest.raises(TrainerError, match="holds no images.*: 1 .cr2, 2 .heic; save them as JPEG"):
        read(root)


def test_links_inside_are_followed(root):
    (root / "dog/also.png").symlink_to(root / "cat/1.png")
    assert "dog/also.png" in sum(read(root).paths, ())


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


def test_a_class_without_training_images_is_said(tmp_path):
    names = [f"many/{number}.png" for number in range(6)] + ["rare/1.png"]
    for name in names:
        put(tmp_path, name)
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    count = by_hash.index("rare/1.png") + 1
    if count < len(names):
        note = read(tmp_path, test_fraction=count / len(names)).notes[0]
        assert note == "no image of the train half shows 'rare': nothing can be learned about it"
