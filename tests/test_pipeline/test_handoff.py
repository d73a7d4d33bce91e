"""Hand-offs to labelling tools: what each is given, and each tool's own files back into the run, whole or not at all.

The files of Label Studio are a real server's (1.23), of one project in which a task was labelled again, one skipped,
one labelled by two people, one by one person twice, one after a prediction, and one has a draft alone.
"""

import csv
import json
import re
import zipfile

import numpy as np
import pytest
from handoff_cases import GOLDEN, NAMES, asked, asking, call, run_id, said, sample_of

from pipeline.errors import PipelineError
from pipeline.handoff.base import Given
from pipeline.handoff.label_studio import USER, LabelStudio, words
from pipeline.handoff.plain_xml import parse_xml
from pipeline.handoff.registry import HANDOFFS, read_answers
from pipeline.run.rundir import read_events

ANNA, BEA = USER.format(1), USER.format(2)
FIRST = 100
"""The sample of the golden files' first task."""
TRUTH = {
    (100, ANNA): "cat",
    (101, ANNA): "cat",
    (103, ANNA): "cat",
    (103, BEA): "dog",
    (104, ANNA): "cat",
    (107, ANNA): "cat",
}
SKIPS = {(102, ANNA), (100, BEA)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that nobody answers."""
    path = tmp_path_factory.mktemp("asked")
    return asked(path)


def golden(path, name):
    """Return a golden file's text, as if the run at a path had been labelled: its first samples are the run's."""
    text = (GOLDEN / name).read_text().replace("0123456789ab", run_id(path))
    for task in range(8):
        old = ('"sample_id": {}', '"{}",{},') if name.endswith("json") else (f'"{run_id(path)}",{{}},',)
        text = text.replace(old[0].format(FIRST + task), old[0].format(task))
    return text


@pytest.mark.parametrize("name", ["export.json", "export_min.json", "export.csv"])
def test_the_last_word_of_every_annotator_in_label_studios_own_exports(name):
    handed = LabelStudio().read(Given(GOLDEN / name))
    rows = {(int(row.cells["sample_id"]), row.cells["annotator"]): row.cells for row in handed.rows}
    assert {key: cells["label"] for key, cells in rows.items() if cells["label"]} == TRUTH
    skips = {key for key, cells in rows.items() if cells.get("status") == "skipped"}
    assert skips == (SKIPS if name == "export.json" else set())
    assert bool(handed.notes) is (name != "export.json")
    assert {cells["run_id"] for cells in rows.values()} == {"0123456789ab"}
    assert float(rows[101, ANNA]["seconds"]) == 9.5
    assert rows[101, ANNA]["time"] == "2026-11-27T07:31:06.741643+00:00"


def test_label_studios_interface_says_the_same_as_its_export():
    tasks = json.loads((GOLDEN / "tasks.json").read_text())["tasks"]
    rows = {(int(row.cells["sample_id"]), row.cells["annotator"]): row.cells for row in words(tasks)}
    labels = {key: cells["label"] for key, cells in rows.items() if cells["label"]}
    assert labels == {key: label for key, label in TRUTH.items() if key[0] in (103, 107)}
    assert [key for key, cells in rows.items() if cells["status"] == "skipped"] == [(102, ANNA)]


@pytest.mark.parametrize("name", ["export.json", "export_min.json", "export.csv"])
def test_label_studios_exports_come_in_once_and_completely(tmp_path, name):
    path = asked(tmp_path)
    file = tmp_path / name
    file.write_text(golden(path, name))
    skips = 2 if name == "export.json" else 0
    output = call("ingest", path, file)
    assert f"6 labels and {skips} skips taken in; 0 were known already" in output
    assert ("export as JSON" in output) is (skips == 0)
    assert said(path) == {(s - FIRST, who): ("cat", "dog").index(label) for (s, who), label in TRUTH.items()} | (
        {(s - FIRST, who): None for s, who in SKIPS} if skips else {}
    )
    before = read_events(path)
    assert "0 labels and 0 skips taken in" in call("ingest", path, file)
    assert read_events(path) == before


def changed(path, change, name="export.json"):
    tasks = json.loads(golden(path, name))
    change(tasks)
    file = path.parent / "again.json"
    file.write_text(json.dumps(tasks))
    return file


def test_a_task_that_is_labelled_again_later_corrects_and_an_older_file_does_not(tmp_path):
    path = asked(tmp_path)
    first = tmp_path / "first.json"
    first.write_text(golden(path, "export.json"))
    call("ingest", path, first)

    def other(tasks):
        tasks[0]["annotations"][0] |= {"updated_at": "2026-11-27T09:00:00Z"}
        tasks[0]["annotations"][0]["result"][0]["value"]["choices"] = ["dog"]
        tasks[2]["annotations"][0] |= {
            "updated_at": "2026-11-27T09:00:00+02:00",  # 07:00 in UTC: before it was skipped
            "was_cancelled": False,
            "result": tasks[0]["annotations"][0]["result"],
        }

    again = changed(path, other)
    assert "1 labels and 0 skips taken in; 1 of them correct earlier ones; 7 were known" in call("ingest", path, again)
    assert (said(path)[0, ANNA], said(path)[2, ANNA]) == (1, None)
    assert "0 labels and 0 skips taken in; 8 were known already" in call("ingest", path, first)  # the older one
    assert said(path)[0, ANNA] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tasks: tasks[1]["data"].update(run_id="another"), "expected an answer to this run"),
        (lambda tasks: tasks[1]["data"].pop("run_id"), "data.run_id: expected the run that the task is of, got null"),
        (lambda tasks: tasks[1]["data"].pop("sample_id"), "was the task made by 'pipeline export"),
        (lambda tasks: tasks[1]["data"].update(sample_id=True), "expected the number of a sample, got true"),
        (lambda tasks: tasks[1]["data"].update(sample_id=1.0), "expected the number of a sample, got 1.0"),
        (lambda tasks: tasks[1]["data"].update(sample_id="x"), "sample_id: expected a whole number, got 'x'"),
        (lambda tasks: tasks[1]["data"].update(sample_id=99), "sample_id: the run never asked for 99"),
        (lambda tasks: tasks[1].update(data=[]), "expected data and a list of annotations"),
        (lambda tasks: tasks[1].pop("annotations"), "expected data and a list of annotations"),
        (lambda tasks: tasks[1].update(annotations=[3]), "expected an annotation, got 3"),
        (lambda tasks: annotation(tasks).update(result={}), "result: expected a list"),
        (lambda tasks: annotation(tasks)["result"][0]["value"].update(choices=["cat", "dog"]), "expected one choice"),
        (lambda tasks: annotation(tasks)["result"][0]["value"].update(choices=["bird"]), "got 'bird' .*--new-classes"),
        (lambda tasks: annotation(tasks)["result"][0]["value"].update(choices=["Cat"]), "differ in spelling alone"),
        (lambda tasks: annotation(tasks).update(was_cancelled="no"), "was_cancelled: expected true or false"),
        (lambda tasks: annotation(tasks).update(completed_by=[1]), "annotator: expected a number or an object"),
        (lambda tasks: annotation(tasks).update(completed_by="x" * 65), "64 printable characters"),
        (lambda tasks: annotation(tasks).update(lead_time="1"), "lead_time: expected seconds, got '1'"),
        (lambda tasks: annotation(tasks).update(lead_time=-1), "seconds: expected a number of at least 0"),
        (lambda tasks: annotation(tasks).update(lead_time=float("nan")), "seconds: expected a number of at least 0"),
        (lambda tasks: annotation(tasks).update(updated_at="today"), "updated_at: expected a time in ISO 8601"),
    ],
)
def test_a_wrong_task_is_named_and_nothing_is_taken_in(folder, change, message):
    before = read_events(folder)
    output = call("ingest", folder, changed(folder, change), code=2)
    assert "nothing was taken in, for 1 of its rows are wrong" in output
    assert re.search(message, output), output
    assert read_events(folder) == before


def annotation(tasks):
    return tasks[1]["annotations"][0]


def test_what_label_studio_writes_otherwise_means_the_same(tmp_path):
    """An object for who answered, text for a sample, a class with blanks, several controls; no answer is none."""
    path = asked(tmp_path)

    def change(tasks):
        annotation(tasks)["completed_by"] = {"id": 1, "email": "anna@example.org"}
        annotation(tasks)["result"][0]["value"]["choices"] = [" cat "]
        annotation(tasks)["result"].append({"type": "textarea", "from_name": "why", "value": {"text": ["x"]}})
        quality = {"type": "choices", "from_name": "quality", "value": {"choices": ["blurred"]}}
        annotation(tasks)["result"].insert(0, quality)
        tasks[1]["data"]["sample_id"] = "1"
        tasks[4]["annotations"][0]["result"] = []  # submitted empty
        tasks[4]["annotations"][0]["completed_by"] = None

    assert "5 labels and 2 skips" in call("ingest", path, changed(path, change))
    assert said(path)[1, ANNA] == 0
    assert not [key for key in said(path) if key[0] == 4]


def test_a_new_class_from_label_studio(tmp_path):
    path = asked(tmp_path)
    file = changed(path, lambda tasks: annotation(tasks)["result"][0]["value"].update(choices=["bird"]))
    call("ingest", path, file, "--new-classes")
    assert said(path)[1, ANNA] == 2


def test_two_choices_in_the_flat_exports_are_refused(folder):
    both = changed(folder, lambda tasks: tasks[0].update(label={"choices": ["cat", "dog"]}), "export_min.json")
    assert "expected one choice" in call("ingest", folder, both, code=2)
    file = folder.parent / "two.csv"
    file.write_text(golden(folder, "export.csv").replace('"cat"', '"{""choices"":[""cat"",""dog""]}"', 1))
    assert "expected one choice" in call("ingest", folder, file, code=2)


# --- what goes out -----------------------------------------------------------------------------------------------


def test_tasks_for_label_studio(folder, tmp_path):
    out = tmp_path / "tasks"
    output = call("export", folder, "--format", "label-studio", "-o", out)
    tasks = json.loads((out / "tasks.json").read_text())
    assert [task["data"]["sample_id"] for task in tasks] == [*range(8)][::-1]
    assert [task["data"]["rank"] for task in tasks] == [*range(1, 9)]
    assert {(task["data"]["run_id"], task["data"]["cycle"]) for task in tasks} == {(run_id(folder), -1)}
    assert not any("predictions" in task for task in tasks)
    names = [task["data"]["image"].removeprefix("/data/local-files/?d=") for task in tasks]
    assert all((out / name).is_file() and name.startswith("images/") for name in names)
    choices = parse_xml((out / "config.xml").read_text(), "x").all("Choices")
    assert [choice.attributes["value"] for choice in choices[0].children] == ["cat", "dog"]
    for line in (
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true",
        f"DOCUMENT_ROOT={out}",
        f"{out / 'images'}",
        "as JSON",
    ):
        assert line in output


def test_images_where_label_studio_serves_them_already(folder, tmp_path):
    out, root = tmp_path / "tasks", folder.parent
    call("export", folder, "--format", "label-studio", "-o", out, "--image-root", root)
    images = [task["data"]["image"] for task in json.loads((out / "tasks.json").read_text())]
    assert "/data/local-files/?d=photos/b/Gr%C3%B6%C3%9Fe%204.png" in images
    assert not (out / "images").exists()
    for wrong in (root / "photos", tmp_path):
        refused = call(
            "export", folder, "--format", "label-studio", "-o", tmp_path / "x", "--image-root", wrong, code=2
        )
        assert "--image-root: expected a folder above" in refused
    assert not (tmp_path / "x").exists()


def test_a_picture_that_no_browser_shows_is_copied(tmp_path):
    path = asked(tmp_path, ("1.tif", "2.png", "3.png", "4.png"))
    root = ("--image-root", tmp_path)
    assert "leave --image-root out" in call("export", path, "--format", "label-studio", *root, code=2)
    call("export", path, "--format", "label-studio")
    assert len(list((path / "label-studio/images").iterdir())) == 4
    call("export", path, "--format", "label-studio")  # a second one has a folder of its own
    assert (path / "label-studio-2/tasks.json").is_file()


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

LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotations><version>&b;</version></annotations>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a table with the columns"),
        (b"[", "expected JSON, but it cannot be read"),
        (b"[" * 100_000, "expected JSON, but it cannot be read (it nests too deeply)"),
        (b"[1, 2]", "expected a list of tasks"),
        (b'[{"id": 1}]', "expected data and a list of annotations"),
        (b"[" + b"1" * 5000 + b"]", "expected JSON, but it cannot be read"),
        (b'[{"id": 1, "annotation_id": 2}]', "data.sample_id: expected the number of a sample"),
        (b'{"a": 1}', "expected the labels.json of a FiftyOneImageClassificationDataset"),
        (b'{"labels": {"2": "cat"}, "classes": [1]}', "expected the labels.json of a FiftyOne"),
        (b"<annotations>", "expected XML, but it cannot be read"),
        (b"<annotations></annotations>", "expected 'CVAT for images 1.1', got version 'none'"),
        (b"<annotations><version>1.1</version><track/></annotations>", "got tracks"),
        (b"<html></html>", "expected 'CVAT for images 1.1' (<annotations>), got <html>"),
        (LAUGHS.encode(), "expected XML without a document type or entities"),
        (b"<a>" * 60, "expected at most 50 levels"),
        (b"PK\x03\x04" + b"\0" * 40, "expected an archive that CVAT exported"),
        (b"\xff\xfe\x00", "got another encoding"),
        (b'annotation_id,label,sample_id\n1,"caf\xe9",1\n', "got another encoding"),
        (b'file_name,label\n"2.png', "expected a row of a table"),
        (b"annotation_id,label\n1,cat\n", "got the columns annotation_id, label"),
        (b"annotation_id,label,sample_id\n1,cat,2\n", "data.run_id: expected the run"),
    ],
)  # fmt: skip
def test_what_is_no_hand_off_is_refused_in_one_line(folder, tmp_path, content, message):
    before = read_events(folder)
    file = tmp_path / "x"
    file.write_bytes(content)
    output = call("ingest", folder, file, code=2)
    assert message in output, output[-500:]
    assert len(output) < 2000
    assert read_events(folder) == before


@pytest.mark.parametrize("name", HANDOFFS)
def test_a_file_of_another_kind_than_was_said(folder, tmp_path, name):
    file = tmp_path / "x"
    for content in (b"\0\1\2\3", b"x" * 100, b"PK\x03\x04", '{"labels": "é"}'.encode("utf-16")):
        file.write_bytes(content)
        call("ingest", folder, file, "--format", name, code=2)
    with pytest.raises(PipelineError, match="cannot be read"):
        read_answers(tmp_path / "none", name)
    with pytest.raises(PipelineError, match="none of"):
        read_answers(tmp_path / "..", name)


def test_a_folder_with_two_files_of_labels(tmp_path):
    for name in ("labels.json", "metadata.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(PipelineError, match=r"holds both metadata.csv and labels.json"):
        read_answers(tmp_path)


def test_an_archive_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.handoff.cvat.LARGEST_TEXT", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", b" " * 10**6)
    with pytest.raises(PipelineError, match="but it has more"):
        read_answers(tmp_path / "x.zip")


def test_a_long_text_is_read_in_a_time_that_grows_with_it():
    """What stands in an element is kept as far as anybody looks at it: a text of many pieces is no trap."""
    top = parse_xml("<a><version>1.1</version>" + "x<b/>" * 20_000 + "&amp;" * 200_000 + "</a>", "x")
    assert (len(top.children), top.all("version")[0].text) == (20_001, "1.1")
    assert len(top.text) <= 2000


def test_files_of_windows_are_read(tmp_path):
    """A byte order mark, UTF-16, and other line ends."""
    path = asked(tmp_path)
    text = golden(path, "export.csv")
    for content in (
        text.encode("utf-8-sig"),
        text.replace("\n", "\r\n").encode("utf-16"),
        golden(path, "export.json").encode("utf-16"),
    ):
        (tmp_path / "x").write_bytes(content)
        call("ingest", path, tmp_path / "x")
    assert len(said(path)) == 8
