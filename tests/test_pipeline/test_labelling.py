"""Labels by files: what is asked goes out as a table, and a table comes back in, whole or not at all."""

import csv
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import cli
from pipeline.run.rundir import read_events
from trainer.data import load

WAITING = 75


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def begun(start):
    """A run that waits for the labels of its initial set, in the working directory or anywhere."""
    path = start(**{"annotator__name": "files", "query__strategy": "margin", "cycles": 2, "train__epochs": 4})
    output = call("resume", path, code=WAITING)
    assert "12 samples wait for labels" in output
    assert f"pipeline ingest {path} " in output
    return path


def rows(path):
    call("export", path)
    with (path / "to_label.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def answered(path):
    truth, classes = load("digits").labels("train"), load("digits").classes
    return [{**row, "label": classes[truth[int(row["sample_id"])]]} for row in rows(path)]


def table(path, lines, *, delimiter=",", end="\n", encoding="utf-8", before=""):
    text = io.StringIO(before)
    text.seek(0, io.SEEK_END)
    writer = csv.DictWriter(text, list(lines[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(lines)
    file = path.parent / "labels.csv"
    file.write_bytes(text.getvalue().encode(encoding))
    return file


def kinds(path):
    return [event["event"] for event in read_events(path)]


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ({}, None),
        ({"delimiter": ";", "encoding": "utf-8-sig", "end": "\r\n", "before": "sep=;\r\n"}, None),
        ({"delimiter": "\t", "encoding": "utf-16", "end": "\r"}, None),
        ({"delimiter": ";"}, ["label", "path"]),
        ({}, ["sample_id", "label"]),
    ],
    ids=str,
)
def test_a_round_by_a_spreadsheet(begun, form, columns):
    lines = [{name: row[name] for name in columns or row} for row in answered(begun)]
    file = table(begun, lines, **form)
    assert "12 labels and 0 skips taken in" in call("ingest", begun, file)
    before = read_events(begun)
    assert "0 labels and 0 skips taken in; 12 were known already" in call("ingest", begun, file)
    assert read_events(begun) == before
    assert "4 samples wait for labels" in call("resume", begun, code=WAITING)
    assert kinds(begun) == ["start", "query", "label", "round_closed", *["stage_done"] * 2, "query"]
    call("ingest", begun, table(begun, answered(begun)))
    assert "with 16 labels" in call("resume", begun)
    assert kinds(begun)[-3:] == ["stage_done", "cycle_done", "finished"]
    assert "the run asks nothing now" in call("ingest", begun, file, code=2)
    assert "the run asks nothing now" in call("export", begun, code=2)


def test_a_part_a_skip_and_the_rest_a_round_later(begun):
    lines = answered(begun)
    late = lines[4]
    lines[3] = {**lines[3], "label": "", "status": "skipped"}
    file = table(begun, [*lines[:4], {**late, "label": ""}, *lines[5:]])
    assert "1 samples of this round are left" in call("ingest", begun, file)
    assert "1 samples wait for labels" in call("resume", begun, code=WAITING)
    assert [row["sample_id"] for row in rows(begun)] == [late["sample_id"]]
    assert f"pipeline resume {begun}" in call("ingest", begun, file, "--close")
    call("resume", begun, code=WAITING)
    call("export", begun, "--format", "label-studio", "--predictions", "-o", begun / "tasks")
    tasks = json.loads((begun / "tasks/tasks.json").read_text())
    guesses = [task["predictions"][0]["result"][0]["value"]["choices"] for task in tasks]
    assert len(guesses) == 4
    assert all(guess[0] in load("digits").classes for guess in guesses)
    call("ingest", begun, table(begun, [late, *answered(begun)]), "--annotator", "bea")
    assert "with 15 labels" in call("resume", begun)
    closed = [event for event in read_events(begun) if event["event"] == "round_closed"]
    counts = [(event["answered"], len(event["skipped"]), len(event["left"])) for event in closed]
    assert counts == [(10, 1, 1), (5, 0, 0)]
    assert [event["annotator"] for event in read_events(begun) if event["event"] == "label"] == ["files", "bea"]


def first(lines, **changes):
    return [{**lines[0], **changes}, *lines[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: first(rows, label="eleven"), r"line 2: label: expected one of 0, 1, .*; got 'eleven'"),
        (lambda rows: first(rows, sample_id="7x"), "line 2: sample_id: expected a whole number, got '7x'"),
        (lambda rows: first(rows, sample_id="99999"), "line 2: sample_id: the run never asked for 99999"),
        (lambda rows: first(rows, path="digits/train/x"), "line 2: path: the run never asked for 'digits/train/x'"),
        (lambda rows: first(rows, path=rows[1]["path"]), "line 2: sample .* is not '.*', which is sample"),
        (lambda rows: first(rows, sample_id="", path=""), "line 2: expected a sample_id or a path, got neither"),
        (lambda rows: first(rows, seconds="-1"), "line 2: seconds: expected a number of at least 0, got '-1'"),
        (lambda rows: first(rows, status="maybe"), "line 2: status: expected labeled, skipped or nothing, got 'maybe'"),
        (lambda rows: first(rows, status="skipped"), "line 2: sample .*: expected a label or a skip, got both"),
        (
            lambda rows: [*rows, {**rows[0], "label": str((int(rows[0]["label"]) + 1) % 10)}],
            "line 14: sample .*: expected one answer of files, got",
        ),
        (lambda rows: [{"name": "x", "label": "1"}], "got the columns name, label"),
        (lambda rows: [{"sample_id": row["sample_id"]} for row in rows], "got the columns sample_id"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_taken_in(begun, change, message):
    before = read_events(begun)
    output = call("ingest", begun, table(begun, change(answered(begun))), code=2)
    assert re.search(message, output), output
    assert read_events(begun) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got the columns of an empty file"),
        (b"sample_id,label\n1,caf\xe9\n", "in UTF-8; got another encoding"),
        (b'sample_id,label\n1,"a\n', "expected a row of a table"),
        (b"sample_id,label\n1,a,b\n", "line 2: expected 2 cells as in the first line, got 3"),
        (None, "it cannot be read"),
    ],
)
def test_what_is_no_table_is_one_line(begun, tmp_path, content, message):
    file = tmp_path / "x.csv"
    if content is not None:
        file.write_bytes(content)
    assert message in call("ingest", begun, file, code=2)


def test_another_answer_of_the_same_person_in_the_same_round_is_refused(begun):
    lines = answered(begun)
    call("ingest", begun, table(begun, lines[:1]))
    other = {**lines[0], "label": str((int(lines[0]["label"]) + 1) % 10)}
    assert "files called it" in call("ingest", begun, table(begun, [other]), code=2)
    call("ingest", begun, table(begun, [{**other, "annotator": "bea"}]))  # somebody else may: it is asked for again
    assert lines[0]["sample_id"] in [row["sample_id"] for row in rows(begun)]


def test_what_is_left_may_be_disputed_alone(begun):
    lines = answered(begun)
    other = {**lines[0], "label": str((int(lines[0]["label"]) + 1) % 10), "annotator": "bea"}
    call("ingest", begun, table(begun, [*lines, other]))
    assert "1 samples wait for labels" in call("resume", begun, code=WAITING)
    assert [row["sample_id"] for row in rows(begun)] == [lines[0]["sample_id"]]
    call("ingest", begun, table(begun, lines[:1]), "--annotator", "cem")
    assert "4 samples wait for labels" in call("resume", begun, code=WAITING)


def test_an_initial_set_without_labels_is_not_closed(begun):
    before = read_events(begun)
    empty = table(begun, rows(begun))
    assert "none of the 12 samples of the initial set got a label" in call("ingest", begun, empty, "--close", code=1)
    assert read_events(begun) == before
    call("ingest", begun, table(begun, answered(begun)))
    call("resume", begun, code=WAITING)


def test_what_waits_is_counted_as_it_is_written(begun):
    """What two people call by different names waits too, beside what nobody has looked at."""
    lines = answered(begun)
    other = {**lines[0], "label": str((int(lines[0]["label"]) + 1) % 10), "annotator": "bea"}
    taken = call("ingest", begun, table(begun, [*lines[:4], other]))
    left = re.search(r"(\d+) samples of this round are left", taken)[1]
    waits = re.search(r"(\d+) samples wait for labels", call("resume", begun, code=WAITING))[1]
    written = re.search(r"to_label.csv: (\d+) samples to label", call("export", begun))[1]
    assert left == waits == written == str(len(rows(begun))) == "9"


def test_labels_by_files_are_for_runs_that_wait_for_them(start, begun, tmp_path, monkeypatch):
    path = start("other", query__strategy="margin")
    assert "expected a run begun with --annotator files" in call("ingest", path, begun / "x.csv", code=2)
    monkeypatch.chdir(tmp_path)
    grid = ("compare", "--strategies", "random", "--seeds", "0", "--set", "annotator.name=files", "--out", "grid")
    assert "nobody can answer all cells of a grid" in call(*grid, code=2)
    assert "expected simulated, files or MODULE:OBJECT" in call("run", "--annotator", "me", "--out", "x", code=2)


def test_strategies_that_ask_after_each_answer_are_refused(start):
    path = start(annotator__name="files", query__mode="sequential")
    assert "files hand out a whole round at once" in call("resume", path, code=2)


def test_images_without_labels_are_labelled(tmp_path):
    """Nobody's labels are needed but those of the test images; names may have spaces and letters of any script."""
    rng, photos = np.random.default_rng(0), tmp_path / "photos"
    for name, count in (("train", 20), ("test/dark", 4), ("test/bright", 4)):
        (photos / name).mkdir(parents=True)
        for n in range(count):
            pixels = rng.integers(0, 200 if "dark" in name else 255, (12, 12, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(photos / name / f"Größe {n}.png")
    run = tmp_path / "run"
    options = ("--model", "mlp", "--n-init", 6, "--query-size", 4, "--cycles", 2, "--epochs", 4, "--strategy", "margin")
    call("run", "--dataset", f"folder:{photos}", *options, "--annotator", "files", "--out", run, code=WAITING)
    for _ in range(2):
        lines = [{"path": row["path"], "label": ("dark", "bright")[n % 2]} for n, row in enumerate(rows(run))]
        assert all("Größe" in line["path"] for line in lines)
        call("ingest", run, table(run, lines))
        output = CliRunner().invoke(cli, ["resume", str(run)]).output
        assert "failed:" not in output, output
    assert kinds(run)[-1] == "finished"
    assert "index.html" in call("report", run)


def test_a_class_that_a_table_brings(begun, tmp_path):
    lines = answered(begun)
    for line in lines[:4]:
        line["label"] = "smudge"
    file = table(begun, lines)
    assert "got 'smudge' (if it is a class, too: --new-classes)" in call("ingest", begun, file, code=2)
    assert "class_added" not in kinds(begun)
    lines[3]["label"] = "Smudge"
    refused = call("ingest", begun, table(begun, lines), "--new-classes", code=2)
    assert "'smudge' and 'Smudge' differ in spelling alone; spell both alike" in refused
    assert "class_added" not in kinds(begun)
    lines[3]["label"] = "smudge"
    assert "12 labels" in call("ingest", begun, table(begun, lines), "--new-classes")
    call("resume", begun, code=WAITING)  # the first network has it
    assert "smudge" in call("export", begun)
    call("ingest", begun, table(begun, answered(begun)))
    call("resume", begun)
    summary = json.loads((begun / "cycles/001/train/summary.json").read_text())
    assert summary["classes"][-1] == "smudge"
    assert "equals the run's own" in call("stage", "score", begun, "--cycle", 0)
    call("report", begun)


def test_a_path_that_a_spreadsheet_would_run(start, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        name = f"={number}+1.png" if number % 2 else f"{number}.png"
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(folder / name)
    data = {"data__name": f"folder:{folder}", "data__classes": ["a", "b"], "data__test_fraction": 0.0}
    size = {"query__n_init": 4, "query__size": 1, "query__subset": 2, "cycles": 2}
    path = start(annotator__name="files", query__strategy="margin", **data, **size)
    call("resume", path, code=WAITING)
    lines = [{"path": row["path"], "label": "ab"[n % 2]} for n, row in enumerate(rows(path))]
    assert not any(line["path"].startswith("=") for line in lines)
    assert any(line["path"].startswith("./=") for line in lines)
    assert "4 labels and 0 skips" in call("ingest", path, table(path, lines))
