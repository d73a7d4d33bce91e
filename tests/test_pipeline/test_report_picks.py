"""Who is credited with a pick: the network that chose it, never one that was not there yet, nor chance or a grid."""

import csv
import io

import pytest
from report_cases import digits, write_run

from pipeline.report.balance import class_balance
from pipeline.report.picks import picks_of
from pipeline.report.results import read_results
from pipeline.report.table import results_csv
from pipeline.report.thumbnails import make_sheet
from pipeline.run.events import EventLog
from pipeline.run.rundir import read_events
from pipeline.run.votes import Votes

QUESTIONS = [  # round, network, ids, grid: after the initial set, chance until network 0 is there; 0 asks on in round 1
    (-1, None, [0, 1, 2], None),
    (0, None, [3, 4], None),
    (0, 0, [6, 5], None),
    (1, 0, [7], None),
    (1, 0, [8, 9], "4"),
    (1, 1, [10], None),
    (2, None, [11], None),
]
SKIPPED = 5


@pytest.fixture
def run(tmp_path):
    """A run that somebody labelled, as a session logs it."""
    path = write_run(tmp_path / "run", "margin", 0, [0.5, 0.6, 0.7])
    own = ("seq", "event", "prev", "hash")
    start, *stages = [
        {name: value for name, value in event.items() if name not in own}
        for event in read_events(path)
        if event["event"] in ("start", "stage_done")
    ]
    (path / "events.jsonl").unlink()
    log, labels = EventLog(path / "events.jsonl"), digits().train.labels
    log.append("start", **start)
    for round_, network, ids, grid in QUESTIONS:
        more = {"grid": grid} if grid else {}
        fields = {} if round_ < 0 else {"network": network}
        log.append("query", cycle=round_, ids=ids, scores=[0.0] * len(ids), **fields, **more)
        said = [[i, int(labels[i])] for i in ids if i != SKIPPED]
        log.append("label", cycle=round_, labels=said, annotator="anna")
    for stage in stages:
        log.append("stage_done", **stage)
    for cycle in range(3):
        log.append("cycle_done", cycle=cycle)
    log.append("finished")
    log.close()
    return path


def test_each_pick_has_one_group(run):
    events, truth = read_events(run), digits().train.labels
    found = [{key: [s for s, _ in picks] for key, picks in groups.items()} for groups in picks_of(events)]
    assert found == [{-1: [0, 1, 2], 0: [6, 7], 1: [10]}, {0: [3, 4], 2: [11]}, {0: [8, 9]}]
    assert all(label == truth[s] for groups in picks_of(events) for picks in groups.values() for s, label in picks)
    asked_by = Votes(events).asked_by  # what labels.csv says
    assert all(asked_by[s] == network for network, picks in found[0].items() if network >= 0 for s in picks)
    assert all(asked_by[s] is None for picks in found[1].values() for s in picks)


def test_the_report_credits_the_strategy_with_its_own_picks_alone(run):
    [experiment] = read_results([run]).experiments
    truth = digits().train.labels
    expected = {
        "initial set": [0, 1, 2],
        "margin": [6, 7, 10],
        "drawn at random": [3, 4, 11],
        "shown as a grid": [8, 9],
    }
    shares = class_balance(experiment)
    assert shares.keys() == expected.keys()
    for name, ids in expected.items():
        assert shares[name].tolist() == [sum(truth[i] == label for i in ids) / len(ids) for label in range(10)]
    strips = make_sheet(experiment).strips
    shown = {name: [[pick.sample for pick in strip.picks] for strip in of] for name, of in strips.items()}
    assert shown == {
        "initial set": [[0, 1, 2]],
        "margin": [[6, 7], [10]],
        "drawn at random": [[3, 4], [11]],
        "shown as a grid": [[8, 9]],
    }
    assert [strip.caption for strip in strips["margin"]] == ["cycle 0, at 12 labels", "cycle 1, at 16 labels"]
    counts = dict.fromkeys(("initial", "picked", "random", "grid"), 0)
    for row in csv.DictReader(io.StringIO(results_csv([experiment]))):
        if (name := row["metric"].partition("[")[0]) in counts:
            counts[name] += int(row["value"])
    assert counts == {"initial": 3, "picked": 3, "random": 3, "grid": 2}


def test_a_run_that_nobody_serves_is_credited_round_by_round(tmp_path):
    path = write_run(tmp_path / "run", "margin", 0, [0.5, 0.6, 0.7])
    picks = picks_of(read_events(path))
    assert [len(of) for of in picks.asked.values()] == [12, 4, 4]
    assert (picks.drawn, picks.grids) == ({}, {})
    [experiment] = read_results([path]).experiments
    assert list(class_balance(experiment)) == ["initial set", "margin"]
