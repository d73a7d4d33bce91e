"""Label Studio's files: what it is given, and its three exports back into the run, whole or not at all.

The files are a real server's (1.23), of one project in which a task was labelled again, one skipped, one labelled by
two people, one by one person twice, one after a prediction, and one has a draft alone.
"""

import json
import re

import pytest
from handoff_cases import GOLDEN, asked, call, run_id, said

from pipeline.handoff.base import Given
from pipeline.handoff.label_studio import USER, LabelStudio, words
from pipeline.handoff.plain_xml import parse_xml
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
