"""Hand-offs to labelling tools: what each is given, and its own files back into the run, whole or not at all."""

import csv
import json
import zipfile

import numpy as np
import pytest
from handoff_cases import NAMES, asked, asking, call, said, sample_of

from pipeline.handoff.registry import read_answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that nobody answers."""
    path = tmp_path_factory.mktemp("asked")
    return asked(path)


def test_a_folder_with_files_is_not_written_to(folder, tmp_path):
    (tmp_path / "x.txt").write_text("mine")
    for name in ("label-studio", "cvat", "fiftyone", "imagefolder"):
        assert "expected a new or an empty folder" in call("export", folder, "--format", name, "-o", tmp_path, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    assert "expected with --format label-studio" in call("export", folder, "--predictions", code=2)


def answer_cvat(out, path, labels):
    text = (out / "annotations.xml").read_text()
    for name, label in labels.items():
        at = text.index(f'name="{name}"')
        end = text.index("</image>", at)
        text = f'{text[:end]}<tag label="{label}" source="manual"></tag>{text[end:]}'
    (out / "annotations.xml").write_text(text)


def answer_fiftyone(out, path, labels):
    file = out / "labels.json"
    value = json.loads(file.read_text())
    value["labels"] |= {name.rpartition(".")[0]: value["classes"].index(label) for name, label in labels.items()}
    file.write_text(json.dumps(value))


def answer_imagefolder(out, path, labels):
    file = out / "metadata.csv"
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(row | {"label": labels.get(row["file_name"], "")} for row in rows)


ANSWER = {"cvat": answer_cvat, "fiftyone": answer_fiftyone, "imagefolder": answer_imagefolder}


@pytest.mark.parametrize("name", ANSWER)
def test_out_to_a_tool_and_back(tmp_path, name):
    path = asked(tmp_path)
    out = tmp_path / "out"
    output = call("export", path, "--format", name, "-o", out)
    assert f"pipeline ingest {path} {out if name == 'imagefolder' else 'EXPORTED'}" in output
    assert "0 labels" in call("ingest", path, out)  # nobody has answered yet
    labels = {"a/1.png": "cat", "b/1.png": "dog", "3.jpg": "dog", "b/Größe 4.png": "cat"}
    ANSWER[name](out, path, labels)
    assert "4 labels and 0 skips taken in; 0 were known already\n4 samples of this round are left" in call(
        "ingest", path, out, "--annotator", "anna"
    )
    assert said(path) == {(sample_of(path, key), "anna"): ("cat", "dog").index(label) for key, label in labels.items()}
    assert "0 labels and 0 skips taken in; 4 were known already" in call("ingest", path, out, "--annotator", "anna")


@pytest.mark.parametrize("name", ANSWER)
def test_blanks_around_a_name_are_part_of_it(tmp_path, name):
    names = (" 8.png", "8.png", " folder /9.png", "folder/9.png")
    path, out = asked(tmp_path, names), tmp_path / "out"
    call("export", path, "--format", name, "-o", out)
    labels = dict(zip(names, ("cat", "dog", "cat", "dog"), strict=True))
    ANSWER[name](out, path, labels)
    if name == "imagefolder":  # by the names alone
        rows = list(csv.DictReader((out / "metadata.csv").read_text(encoding="utf-8").splitlines()))
        (out / "metadata.csv").unlink()
        lines = [json.dumps({key: row[key] for key in ("file_name", "label")}) for row in rows]
        (out / "metadata.jsonl").write_text("\n".join(lines))
    call("ingest", path, out)
    assert said(path) == {(sample_of(path, key), "files"): ("cat", "dog").index(label) for key, label in labels.items()}


def test_blanks_that_somebody_set_around_a_name(tmp_path):
    path, file = asked(tmp_path), tmp_path / "metadata.csv"
    file.write_text("file_name,label\n a/1.png , cat\n")
    call("ingest", path, file)
    assert said(path) == {(sample_of(path, "a/1.png"), "files"): 0}


@pytest.mark.parametrize("name", ANSWER)
def test_pictures_of_an_archive_of_arrays_are_called_by_their_ids(tmp_path, name):
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).integers(0, 255, (6, 8, 8), np.uint8), y=np.full(6, -1))
    path = asking(tmp_path, f"npz:{tmp_path / 'x.npz'}", {"data.classes": ["cat", "dog"]})
    out = tmp_path / "out"
    call("export", path, "--format", name, "-o", out)
    ANSWER[name](out, path, {"3.png": "dog"})
    call("ingest", path, out)
    assert said(path) == {(3, "files"): 1}


def test_the_files_of_each_tool_are_as_its_documents_say(folder, tmp_path):
    for name in ANSWER:
        call("export", folder, "--format", name, "-o", tmp_path / name)
    with zipfile.ZipFile(tmp_path / "cvat/images.zip") as archive:
        assert set(archive.namelist()) == set(NAMES)
    assert json.loads((tmp_path / "cvat/task_labels.json").read_text())[0] == {
        "name": "cat",
        "type": "tag",
        "attributes": [],
    }
    assert not (tmp_path / "cvat/images").exists()
    labels = json.loads((tmp_path / "fiftyone/labels.json").read_text())
    assert labels == {
        "classes": ["cat", "dog"],
        "labels": dict.fromkeys(n.rpartition(".")[0] for n in reversed(sorted_names(folder))),
    }
    for name in NAMES:
        original = (folder.parent / "photos" / name).read_bytes()
        assert (tmp_path / "fiftyone/data" / name).read_bytes() == original
        assert (tmp_path / "imagefolder" / name).read_bytes() == original


def sorted_names(folder):
    return sorted(NAMES, key=lambda name: sample_of(folder, name))


def test_features_have_no_pictures(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).random((6, 3), np.float32), y=np.full(6, -1))
    options = {"data.classes": ["cat", "dog"], "model.name": "linear"}
    path = asking(tmp_path, f"npz:{tmp_path / 'x.npz'}", options)
    for name in ("label-studio", *ANSWER):
        assert "its samples are features" in call("export", path, "--format", name, code=2)
        assert not (path / name).exists()
    call("export", path)


# --- pictures that cannot be told apart, and other tools' ways of writing ---------------------------------------


def test_fiftyone_knows_no_endings(tmp_path):
    path = asked(tmp_path, ("1.png", "1.jpg", "2.png", "3.png"))
    refused = call("export", path, "--format", "fiftyone", code=2)
    assert "are both called '1' there: choose another --format" in refused
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"labels": {"1": "cat"}}))
    assert "2 samples are called '1'" in call("ingest", path, file, code=2)
    file.write_text(json.dumps({"labels": {"2": "cat"}}))
    call("ingest", path, file)


@pytest.mark.parametrize(
    ("target", "classes", "label"),
    [
        (1, ["cat", "dog"], 1),
        ("dog", None, 1),
        ({"label": "dog", "confidence": 0.5, "attributes": {}}, None, 1),
        ([{"label": "dog"}], ["x"], 1),
        ({"label": 0}, ["dog"], 1),
        (None, ["cat"], None),
        (True, ["cat", "dog"], "expected one name of a class or its position"),
        (2, ["cat", "dog"], "expected one name of a class or its position"),
        (-1, ["cat", "dog"], "expected one name of a class or its position"),
        ([{"label": "cat"}, {"label": "dog"}], None, "expected one name of a class or its position"),
        (1.0, ["cat", "dog"], "expected one name of a class or its position"),
    ],
)
def test_what_fiftyone_calls_a_label(tmp_path, target, classes, label):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"classes": classes, "labels": {"2": target}}))
    [row] = read_answers(file).rows
    if isinstance(label, str):
        assert label in row.fault
    else:
        assert row.cells == {"stem": "2", "label": "" if label is None else ("cat", "dog")[label]}


CVAT = '<annotations><version>1.1</version><image id="0" name="{}">{}</image></annotations>'


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a/1.png", '<tag label="cat"/>', 0),
        ("a\\1.png", '<tag label="cat"/><tag label="cat"/>', 0),
        ("2.png", '<tag label="dog" source="file"/>', 1),
        ("2.png", '<tag label="dog" source="auto"/>', None),
        ("2.png", '<box label="dog" xtl="1" ytl="1" xbr="2" ybr="2"/>', None),
        ("2.png", '<tag label="cat"/><tag label="dog"/>', "image 0: expected one tag with a label, got 'cat', 'dog'"),
        ("2.png", "<tag/>", "expected one tag with a label"),
        ("", '<tag label="cat"/>', "it has no name"),
        ("1.png", '<tag label="cat"/>', "2 samples are called '1.png': give their paths"),
        ("c/2.png", '<tag label="cat"/>', "the run has none called 'c/2.png'"),
        ("Größe 4.png", '<tag label="cat"/>', 0),  # folders are left out where files were chosen one by one
    ],
)
def test_what_cvat_calls_a_tag(tmp_path, name, tags, expected):
    path = asked(tmp_path)
    file = tmp_path / "annotations.xml"
    file.write_text(CVAT.format(name, tags), encoding="utf-8")
    output = call("ingest", path, file, code=2 if isinstance(expected, str) else 0)
    if isinstance(expected, str):
        assert expected in output
    else:
        assert [*said(path).values()] == ([] if expected is None else [expected])
    assert ("were left out" in output) is ("auto" in tags)


def test_cvats_archive(tmp_path):
    path = asked(tmp_path)
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", CVAT.format("2.png", '<tag label="dog" source="manual"/>'))
        archive.writestr("images/2.png", b"")
    assert "1 labels" in call("ingest", path, tmp_path / "task.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("x.txt", "x")
    assert "expected an archive that CVAT exported, with annotations.xml" in call(
        "ingest", path, tmp_path / "other.zip", code=2
    )


def test_lines_of_json(tmp_path):
    path = asked(tmp_path)
    file = tmp_path / "metadata.jsonl"
    rows = [
        {"file_name": "a/1.png", "label": "cat"},
        {"file_name": "2.png", "label": None},
        {"file_name": "5.png", "label": "dog", "more": [1]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8-sig")
    assert "2 labels" in call("ingest", path, file)
    for line, message in (
        ("{", "line 1: expected a JSON object, but it cannot be read"),
        ('{"label": "cat"}', "line 1: expected a JSON object with 'file_name'"),
        ('{"file_name": "2.png", "label": ["cat"]}', "line 1: label: expected a name or a number, got ['cat']"),
        ('{"file_name": "2.png", "label": "cat", "run_id": "x"}', "line 1: run_id: expected an answer to this run"),
        (
            json.dumps({"file_name": "2.png", "label": "cat", "sample_id": sample_of(path, "5.png")}),
            "is not '2.png', which is",
        ),
    ):
        file.write_text(line)
        assert message in call("ingest", path, file, "--format", "imagefolder", code=2)


# --- hostile and mistaken files ----------------------------------------------------------------------------------
