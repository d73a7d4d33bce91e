"""``labels.csv``: what it says, and that the folder it is copied into has exactly these labels."""

import csv
import shutil

import numpy as np
import pytest
from folder_cases import put, read
from products_cases import CLASSES, make_folder

from pipeline.products.labels import write_labels
from pipeline.run.pool import Pool
from pipeline.run.votes import Votes

ANNA, BEN = "anna", "=ben"
EVENTS = [
    {"event": "query", "cycle": -1, "ids": [0, 1, 2, 3, 4, 5], "scores": [0.0] * 6},
    {"event": "label", "cycle": -1, "labels": [[5, 0]], "annotator": "given"},
    {"event": "skip", "cycle": -1, "ids": [4, 1], "reasons": ["", ""], "annotator": ANNA},
    {
        "event": "label",
        "cycle": -1,
        "labels": [[0, 2], [1, 1], [2, 0], [2, 1], [3, 2]],
        "annotator": [ANNA, BEN, ANNA, BEN, ANNA],
        "seconds": [1.5, None, 2.0, 0.25, None],
        "time": ["2026-01-02T03:04:05Z", None, None, None, None],
    },
    {"event": "undo", "cycle": -1, "ids": [3], "annotator": ANNA},
    {"event": "round_closed", "cycle": -1, "answered": 3, "skipped": [4], "left": [2]},
    {"event": "query", "cycle": 0, "ids": [6, 7], "scores": [0.0] * 2},
    {"event": "query", "cycle": 0, "ids": [8], "scores": [0.0], "network": None},
    {"event": "label", "cycle": 0, "labels": [[6, 0], [8, 1]], "annotator": BEN},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("photos"), count=12)


def table(path):
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")  # by which spreadsheets know UTF-8
    return list(csv.DictReader(content.decode("utf-8-sig").splitlines()))


def written(folder, events=EVENTS, **options):
    data = read(folder, classes=list(CLASSES))
    path = folder / "made.csv"
    counts = write_labels(path, data, CLASSES, Votes(events), Pool(len(data.train), events).known(), **options)
    return data, counts, path


def test_every_sample_that_somebody_said_something_of_has_a_row(folder):
    _, counts, path = written(folder)
    rows = {int(row["sample_id"]): row for row in table(path) if row["sample_id"]}
    assert [*rows] == [0, 1, 2, 4, 5, 6, 8]  # of 3 all was undone, and 7 waits
    shown = {key: rows[0][key] for key in ("label", "status", "annotators", "votes", "seconds", "time", "asked_by")}
    assert shown == {
        "label": "'=cow",
        "status": "labeled",
        "annotators": "anna",
        "votes": "",
        "seconds": "1.5",
        "time": "2026-01-02T03:04:05Z",
        "asked_by": "random",
    }
    assert (rows[1]["label"], rows[1]["votes"]) == ("dog", "anna: (skipped); =ben: dog")
    assert (rows[2]["label"], rows[2]["status"], rows[2]["seconds"]) == ("", "disputed", "2.25")
    assert rows[2]["votes"] == "anna: cat; =ben: dog"
    assert (rows[4]["label"], rows[4]["status"]) == ("", "skipped")
    assert (rows[5]["annotators"], rows[5]["asked_by"]) == ("given", "given")
    assert [rows[i]["asked_by"] for i in (6, 8)] == ["0", "random"]
    assert [rows[i]["round"] for i in (0, 6)] == ["initial", "0"]
    assert rows[6]["annotators"] == "'=ben"
    assert counts == {"labeled": 5, "skipped": 1, "disputed": 1, "test": 6}
    assert list(table(path)[0])[:2] == ["path", "label"]


def test_no_cell_is_run_as_a_formula(folder):
    _, _, path = written(folder)
    cells = [cell for row in csv.reader(path.read_text("utf-8-sig").splitlines()) for cell in row]
    assert not [cell for cell in cells if cell.lstrip().startswith(tuple("=+-@"))]
    assert any(cell.startswith("'=") for cell in cells)


def test_the_folder_has_exactly_these_labels(folder, tmp_path):
    data, _, path = written(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(path, copy / "labels.csv")
    again = read(copy, classes=list(CLASSES))
    known = Pool(len(data.train), EVENTS).known()
    expected = {data.sample_path("train", i): CLASSES[label] for i, label in known.items() if i != 3}
    found = {again.sample_path("train", i): again.classes[again.train.labels[i]] for i in again.labelled_ids}
    assert found == expected
    assert len(again.train) == len(data.train)
    np.testing.assert_array_equal(again.test.labels, data.test.labels)
    assert again.paths[1] == data.paths[1]


def test_names_that_begin_with_a_blank_come_back_too(tmp_path):
    for i, name in enumerate((" x.png", " =y.png", "'=z.png", "w.png")):
        put(tmp_path, name, seed=i)
    events = [
        {"event": "query", "cycle": -1, "ids": [0, 1, 2, 3], "scores": [0.0] * 4},
        {"event": "label", "cycle": -1, "labels": [[i, i % 3] for i in range(4)], "annotator": ANNA},
    ]
    data, counts, path = written(tmp_path, events)
    assert counts["test"] == 0
    assert "split" not in table(path)[0]
    path.rename(tmp_path / "labels.csv")
    again = read(tmp_path, classes=list(CLASSES), test_fraction=0)
    found = {again.sample_path("train", i): again.train.labels[i] for i in again.labelled_ids}
    assert found == {data.sample_path("train", i): i % 3 for i in range(4)}


def test_a_run_that_draws_at_random_asked_at_random(folder):
    _, _, path = written(folder, random=True)
    assert {row["asked_by"] for row in table(path)} == {"random", "given"}
