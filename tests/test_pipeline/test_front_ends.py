"""One contract, whoever answers: a simulated annotator, a plug-in, a spreadsheet or the page.

Each answers in part, late, again and in another order; whatever it does, what a finished network was trained on stays
what it was, nothing is asked twice, and the record says who said what.
"""

import csv
import re
import sys

import pytest
from click.testing import CliRunner
from session_cases import LOOKS_AHEAD, answer, ask, make, network, opened, truth, until

from pipeline.cli import cli
from pipeline.errors import RunFailedError
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_events
from pipeline.run.stages.binding import labelled_sha256
from pipeline.run.stages.store import read_manifest
from trainer.data import load

PLUG_IN = """
from pipeline.annotators import Answer, Skip
from trainer.data import load

TRUTH = load("digits").labels("train")


class Slow:
    def __init__(self, classes, seed):
        assert len(classes) == 10 and seed == 0

    def ask(self, question):
        late = [Answer(item.sample, int(TRUTH[item.sample]), "slow") for item in question.open]
        items = question.items
        now = [Answer(item.sample, int(TRUTH[item.sample]), "slow") for item in items if item.sample % 4 > 1]
        yield late
        yield now[:1]
        yield now  # the first again
        yield [Skip(item.sample, "slow", "unclear") for item in items if item.sample % 4 == 1]
"""


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def simulated(start, go_on, tmp_path):
    path = start(annotator__late=0.25, annotator__missing=0.1, annotator__skip=0.1, query__strategy="margin")
    go_on(path)
    return path, {"simulated"}


def plug_in(start, go_on, tmp_path):
    (tmp_path / "panel.py").write_text(PLUG_IN)
    path = start(annotator__name="panel:Slow", query__strategy="margin")
    go_on(path)
    return path, {"slow"}


def files(start, go_on, tmp_path):
    path = start(annotator__name="files", query__strategy="margin")
    data = load("digits")
    kept = []
    for _ in range(3):
        CliRunner().invoke(cli, ["resume", str(path)])
        if read_events(path)[-1]["event"] == "finished":
            break
        call("export", path)
        table = list(csv.DictReader((path / "to_label.csv").read_text("utf-8-sig").splitlines()))
        labels = data.labels("train")
        filled = [{**row, "label": data.classes[labels[int(row["sample_id"])]]} for row in table]
        half = [*kept, *filled[::2]]  # those that were left before come late
        kept = filled[1::2]
        for _ in range(2):  # the same file again
            with (tmp_path / "filled.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(table[0]))
                writer.writeheader()
                writer.writerows(half)
            call("ingest", path, tmp_path / "filled.csv", "--annotator", "ben")
        call("ingest", path, tmp_path / "filled.csv", "--annotator", "ben", "--close")
    CliRunner().invoke(cli, ["resume", str(path)])
    return path, {"ben"}


def page(start, go_on, tmp_path):
    path = make(tmp_path / "page", **LOOKS_AHEAD)
    with opened(path) as session:
        first = answer(session, 12)
        session.answer("anna", first[0], truth(session, first[0]), 1.0)  # again, from another tab
        left = ask(session, "ben")["sample"]  # shown to somebody who goes away
        until(session, network(0))
        answer(session, 4)
        session.skip("anna", ask(session)["sample"], "blurred", 1.0)
        session.undo("anna", first[1])  # a correction of what the first network learned
        session.skip("anna", first[1], "", None)
        answer(session, 4)
        until(session, network(1))
        session.answer("ben", left, truth(session, left), 900.0)  # late
        answer(session, 5)
        until(session, network(2))
    return path, {"anna", "ben"}


@pytest.mark.parametrize("front_end", [simulated, plug_in, files, page])
def test_what_a_network_was_trained_on_never_changes(front_end, start, go_on, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, people = front_end(start, go_on, tmp_path)
    events = read_events(path)
    asked = [sample for event in events if event["event"] == "query" for sample in event["ids"]]
    assert len(asked) == len(set(asked))
    pool, networks = Pool(1297, events), 0
    for number, event in enumerate(events):
        if event["event"] == "stage_done" and event["stage"] == "train":
            cycle, networks = event["cycle"], networks + 1
            then = labelled_sha256(Pool(1297, events[: number + 1]).labelled(cycle))
            manifest = read_manifest(path / f"cycles/{cycle:03d}/train")
            assert manifest.binding.made_from["labelled"] == then  # what it was trained on
            assert labelled_sha256(pool.labelled(cycle)) == then  # is what the record says of it in the end
    assert networks >= 2
    said = {who for event in events if event["event"] == "label" for who in [event["annotator"]]}
    assert said == people
    closed = [event for event in events if event["event"] == "round_closed"]
    assert any(event["left"] or event["skipped"] for event in closed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "there is no Slow"),
        ("class Slow:\n    pass", r"expected an object with a method ask\(question\)"),
        ("class Slow:\n    def __init__(self, me): pass", "takes some of classes, root, seed"),
        ("raise SystemExit(0)", "cannot be imported: SystemExit"),
    ],
)
def test_a_plug_in_that_is_none_is_one_line(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    (tmp_path / "wrong.py").write_text(content)
    output = call("run", "--annotator", "wrong:Slow", "--cycles", "1", "--out", "x", code=2)
    assert re.search(message, output)


def test_a_plug_in_that_fails_is_named(start, go_on, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing.py").write_text("class Bad:\n    def ask(self, question):\n        return 1 / 0\n")
    path = start(annotator__name="failing:Bad", query__strategy="margin")
    with pytest.raises(RunFailedError, match="annotator 'failing:Bad' failed: ZeroDivisionError"):
        go_on(path)
    refused = call("resume", path, code=2)
    assert "--trust-code" in refused
