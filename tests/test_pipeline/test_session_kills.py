"""A labelling session that is killed at every point of its log, and goes on."""

import json
import shutil

import pytest
from killed import cut_back, lines_of
from session_cases import ask, make, network, opened, say, shade, squares, until

from pipeline.run.pool import INITIAL, Pool
from pipeline.run.rundir import read_events
from pipeline.run.stages.train import read_summary

SIZE, GIVEN = 60, 3


def data_set(folder):
    return squares(folder, SIZE, GIVEN) | {"query__subset": 30, "query__n_init": 6, "query__size": 3}


def session_of_everything(session):
    say(session, 2)
    session.skip("anna", ask(session)["sample"], "blurred", 1.0)
    say(session)  # the sixth label, three of them given
    until(session, network(0))
    undone = say(session, 2)[-1]
    session.undo("anna", undone)
    session.answer("anna", undone, shade(undone + 1), 1.0)  # wrong
    session.answer("ben", undone, shade(undone), 1.0)  # a dispute
    session.add_class("grey")
    grid = [item["sample"] for item in session.grid("anna", "dark", 3)["items"]]
    session.confirm("anna", "dark", grid[1:], grid[:1], 2.0)
    until(session, network(1))
    session.undo("anna", undone)
    sample = ask(session, "carl")["sample"]
    session.answer("carl", sample, "grey", 1.0)
    say(session, 3)
    until(session, network(2))
    say(session)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything")
    path = make(folder / "run", **data_set(folder))
    with opened(path) as session:
        session_of_everything(session)
    kinds = {event["event"] for event in read_events(path)}
    assert kinds == {
        "start",
        "query",
        "label",
        "skip",
        "undo",
        "class_added",
        "round_closed",
        "stage_done",
        "cycle_done",
    }
    return path


def killed_at(path, keep, made):
    """Leave a run as a kill would: ``made`` says whether the stages of the network in the making are complete."""
    events = read_events(path)
    kept, following = events[:keep], events[keep:]
    cut_back(path, keep)
    done = {(event["cycle"], event["stage"]) for event in kept if event["event"] == "stage_done"}
    closed = max((event["cycle"] for event in kept if event["event"] == "round_closed"), default=-2)
    closing = made and [line["event"] for line in following[:1]] == ["round_closed"]  # its files come first
    (path / "metrics.csv").unlink(missing_ok=True)
    for folder in path.glob("cycles/*"):
        cycle = int(folder.name)
        for stage in ("train", "migrate", "score"):
            if (cycle, stage) not in done and not (made and cycle == closed + 1):
                shutil.rmtree(folder / stage, ignore_errors=True)
        if cycle > closed + closing:
            for name in ("query.jsonl", "labels.jsonl"):
                (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    return kept


def trained_on(pool, cycles):
    labelled = {cycle: pool.labelled(cycle) for cycle in cycles}
    return {cycle: (known.ids.tolist(), known.labels.tolist()) for cycle, known in labelled.items()}


@pytest.mark.parametrize("made", [False, True], ids=["the network in the making is gone", "its stages are there"])
def test_every_kill(finished, tmp_path, made):
    for keep in range(len(lines_of(finished))):
        path, warnings = tmp_path / str(keep), []
        shutil.copytree(finished, path)
        kept = killed_at(path, keep, made)
        known = Pool(SIZE, kept)
        with opened(path, warnings) as session:
            waiting = set(known.open_samples) - known.disputed - session.clerk.turns.put_off - set(range(GIVEN))
            assert not waiting or ask(session)["sample"] in known.open_samples, keep
            say(session, 2)
            until(session, lambda state: not state["training"])
        assert all("learning rate" in warning for warning in warnings), (keep, warnings)
        events = read_events(path)
        assert events[:keep] == kept, keep
        pool = Pool(SIZE, events)  # contradicts nothing, so nothing is asked twice
        fixed = [cycle for cycle in range(known.round + 1) if known.closed(cycle - 1)]
        assert trained_on(pool, fixed) == trained_on(known, fixed), keep
        check_each_once(events, keep)
        check_files(path, events, pool, keep)
        shutil.rmtree(path)


def check_each_once(events, keep):
    kinds = ("start", "stage_done", "cycle_done", "round_closed")
    found = [(event["event"], event.get("cycle"), event.get("stage")) for event in events if event["event"] in kinds]
    assert len(found) == len(set(found)), keep


def check_files(path, events, pool, keep):
    for event in events:
        folder = path / f"cycles/{event.get('cycle', 0):03d}"
        if event["event"] == "stage_done" and event["stage"] == "train":
            assert read_summary(folder / "train")["n_labeled"] == len(pool.labelled(event["cycle"])), keep
        if event["event"] == "round_closed" and event["cycle"] != INITIAL:
            rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
            of_round = [each for each in events if each["event"] == "label" and each["cycle"] == event["cycle"]]
            said = {sample for each in of_round for sample, _ in each["labels"]} & set(pool.answers(event["cycle"]))
            assert {row["sample_id"] for row in rows if row["status"] == "labeled"} >= said, keep


def test_the_files_of_a_round_are_there_before_its_end_is_logged(tmp_path):
    path, closed = make(tmp_path / "run", **data_set(tmp_path)), []
    with opened(path) as session:
        append = session.clerk.run.append

        def checked(event, **fields):
            if event == "round_closed" and fields["cycle"] != INITIAL:
                closed.append((path / f"cycles/{fields['cycle']:03d}/labels.jsonl").read_text().count("\n"))
            return append(event, **fields)

        session.clerk.run.append = checked
        say(session, 3)
        until(session, network(0))
        say(session, 3)
        until(session, network(1))
    assert closed == [3]
