"""``folder:PATH`` with images that have no label: where they are found, and that they never become a class."""

import numpy as np
import pytest
from folder_cases import put, read, write_csv

from trainer.data import UNLABELLED, ImageOptions, load
from trainer.errors import TrainerError


def places(root, *names):
    for name in names:
        put(root, name)
    return root


def labels(data):
    """Path to class name, None where there is no label."""
    pairs = zip(sum(data.paths, ()), [*data.train.labels, *data.test.labels], strict=True)
    return {path: None if label == UNLABELLED else data.classes[label] for path, label in pairs}


def test_a_flat_or_nested_folder_without_classes_has_no_class_yet(tmp_path):
    data = read(places(tmp_path, "1.png", "2.png", "3.png"))
    assert (data.num_classes, len(data.train), len(data.test)) == (0, 3, 0)
    assert data.notes == (
        f"3 of 3 images under {tmp_path} have no label: 3 in no class folder",
        "no class has a name yet: name them, such as --classes cat,dog",
    )
    assert (data.sample_path("train", 1), data.sample_file("train", 1)) == ("2.png", tmp_path / "2.png")
    data = read(places(tmp_path, "2024/may/1.png", "2025/1.png"), classes="cat,dog")
    assert (data.classes, len(data.train), set(labels(data).values())) == (("cat", "dog"), 5, {None})
    assert "3 in no class folder, 1 in the folder '2024', 1 in the folder '2025'" in data.notes[0]
    assert data.inputs("train").shape == (5, 3, 8, 8)


def test_loose_images_beside_class_folders_have_no_label_and_come_last(root):
    alone = read(root)
    data = read(places(root, "a.png", "z.png"))
    assert data.paths == ((*alone.paths[0], "a.png", "z.png"), alone.paths[1])  # the same ids, the same test half
    assert data.train.labels.tolist() == [*alone.train.labels, UNLABELLED, UNLABELLED]
    assert data.labelled_ids.tolist() == list(range(8))
    assert data.notes == (f"2 of 12 images under {root} have no label: 2 in no class folder",)
    only = read(root, labelled_only=True)
    assert only.fingerprint() == alone.fingerprint()
    assert only.notes == (f"2 of 12 images under {root} have no label and are left out: 2 in no class folder",)


@pytest.mark.parametrize(
    "name", ["unlabelled", "Unlabeled", "unknown", "none", "?", "-1", "not_labelled", "(no label)", "TODO", "???"]
)
def test_a_folder_whose_name_says_so_is_no_class(root, name):
    before = read(root).fingerprint()
    data = read(places(root, f"{name}/1.png", f"{name}/more/2.png"))
    assert data.classes == ("cat", "dog")
    assert [path for path, label in labels(data).items() if label is None] == [f"{name}/1.png", f"{name}/more/2.png"]
    [note] = data.notes
    assert note == (
        f"2 of 12 images under {root} have no label: 2 in the folder {name!r}; if such a mark is a class, name it with "
        "--classes"
    )
    assert read(root, labelled_only=True).fingerprint() == before
    named = read(root, classes=["cat", "dog", name])
    assert named.classes == ("cat", "dog", name)
    assert labels(named)[f"{name}/1.png"] == name


def test_class_folders_may_be_empty_while_there_is_something_to_label(tmp_path):
    (tmp_path / "dog").mkdir()
    data = read(places(tmp_path, "cat/1.png", "cat/2.png", "1.png"))
    assert data.classes == ("cat", "dog")
    assert "shows 'dog': nothing can be learned about it before one is labelled" in data.notes[1]


def test_given_halves_with_images_without_a_label(tmp_path):
    names = ["train/a/1.png", "train/b/1.png", "train/3.png", "train/unknown/4.png", "unlabelled/5.png", "6.png"]
    places(tmp_path, *names, "test/a/1.png", "test/unknown/1.png", "test/7.png")
    data = read(tmp_path)
    assert data.paths == (
        ("train/a/1.png", "train/b/1.png", "6.png", "train/3.png", "train/unknown/4.png", "unlabelled/5.png"),
        ("test/a/1.png",),
    )
    assert data.notes[0] == f"ignored 2 test images under {tmp_path}: without a label"
    assert data.notes[1].startswith(f"4 of 7 images under {tmp_path} have no label: 2 in no class folder")


def test_a_test_half_is_not_compulsory(tmp_path, root):
    assert len(read(root, test_fraction=0).test) == 0
    places(tmp_path / "halves", "train/a/1.png", "train/b/1.png")
    data = read(tmp_path / "halves")
    assert (data.classes, len(data.train), len(data.test)) == (("a", "b"), 2, 0)
    assert data.notes == ()
    write_csv(root, "path,label,split\ncat/1.png,a,train\ndog/1.png,b,train\ndog/2.png,,\n")
    assert len(read(root).test) == 0


def test_labels_csv_with_blanks_marks_and_some_of_the_files(root):
    rows = ["cat/0.png,tabby", "cat/1.png,", "cat/2.png,?", "cat/3.png, None", "dog/0.png,UNLABELLED", "dog/1.png,pug"]
    write_csv(root, "path,label\n" + "\n".join(rows) + "\n")
    (root / "dog/link.png").symlink_to(root / "dog/0.png")  # no image of its own
    data = read(root)
    known = {path: label for path, label in labels(data).items() if label}
    assert known == {"cat/0.png": "tabby", "dog/1.png": "pug"}
    assert len(data.train) + len(data.test) == 10
    why = data.notes[0].partition(": ")[2]
    assert why == (
        "1 blank in labels.csv, 1 marked '?' in labels.csv, 1 marked 'None' in labels.csv, 1 marked 'UNLABELLED' in "
        "labels.csv, 4 not in labels.csv; if such a mark is a class, name it with --classes"
    )
    assert data.notes[0].startswith(f"8 of 10 images under {root} have no label")
    assert len(read(root, labelled_only=True).train) == 1
    data = read(root, classes="pug,tabby,None")
    assert labels(data)["cat/3.png"] == "None"
    write_csv(root, "path,label\n")
    assert (read(root).num_classes, len(read(root).train)) == (0, 10)


def test_names_that_are_given_are_the_classes_in_their_order(root):
    data = read(root, classes="dog, cow ,cat")
    assert data.classes == ("dog", "cow", "cat")
    assert all(label == path.split("/")[0] for path, label in labels(data).items())
    data = read(places(root, "misc/1.png"), classes="cat,dog")
    assert labels(data)["misc/1.png"] is None
    assert ImageOptions(classes="0,1").names == ImageOptions(classes=[0, 1]).names == ("0", "1")


def test_what_differs_from_a_given_name_is_not_taken_for_unlabelled_in_silence(root):
    with pytest.raises(TrainerError, match="folder and class 'cat' and 'Cat' differ in spelling alone"):
        read(root, classes="Cat,dog")
    write_csv(root, "path,label\ncat/1.png,cat\ndog/1.png,dgo\n")
    with pytest.raises(TrainerError, match="line 3: the label 'dgo' is none of the classes 'cat', 'dog'"):
        read(root, classes="cat,dog")


def test_unreadable_images_without_a_label_are_left_out_on_request(root):
    (root / "loose.png").write_bytes(b"text")
    with pytest.raises(TrainerError, match=r"1 of 11 images .* loose.png \(not an image\), cannot be read"):
        read(root)
    data = read(root, skip_bad=True)
    assert len(data.train) + len(data.test) == 10
    assert "cannot be read and are left out" in data.notes[-1]
    assert len(read(root, labelled_only=True).train) == 8  # never opened


def test_no_label_is_ever_handed_out_as_a_number(root):
    data = read(places(root, "a.png"))
    with pytest.raises(TrainerError, match=r"1 of 9 samples have no label, such as a.png \(id 8\)"):
        data.labels("train")
    with pytest.raises(TrainerError, match="1 of 2 samples have no label"):
        data.labels("train", [0, 8])
    assert data.labels("train", data.labelled_ids).tolist() == [0] * 4 + [1] * 4
    assert data.inputs("train", [8]).shape == (1, 3, 8, 8)


def test_where_labels_are_needed_and_there_are_none(tmp_path):
    with pytest.raises(TrainerError, match="2 samples and no label, but here labels are needed") as caught:
        read(places(tmp_path, "1.png", "2.png"), labelled_only=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        TrainerError, match="2 training samples, of which 0 have a label, and no class; name the classes"
    ):
        read(tmp_path).require_classes()


def test_the_fingerprint_sees_which_images_have_a_label(root):
    data = read(root)
    write_csv(
        root, "path,label\n" + "".join(f"{p},{p.split('/')[0]}\n" for p in sum(data.paths, ()) if p != "cat/0.png")
    )
    prints = {data.fingerprint(), read(root).fingerprint(), read(root, labelled_only=True).fingerprint()}
    assert len(prints) == 3


def test_a_run_on_the_labelled_part_has_the_ids_of_the_whole(root):
    whole, part = (read(places(root, "0.png", "unknown/1.png"), labelled_only=only) for only in (False, True))
    assert whole.paths[0][: len(part.train)] == part.paths[0]
    assert whole.paths[1] == part.paths[1]
    np.testing.assert_array_equal(whole.train.images[: len(part.train)], part.train.images)


def test_registered_data_has_every_label():
    assert load("digits", labelled_only=True).fingerprint() == load("digits").fingerprint()
