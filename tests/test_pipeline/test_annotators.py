"""Annotators and rounds: what is asked, what comes back, late, in part and in contradiction, and what is trained on."""

import csv
import json

import numpy as np
import pytest
from killed import kill_at

from pipeline.annotators import Answer, Item, Question, SimulatedAnnotator, Skip
from pipeline.annotators.simulated import Habits
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.loop import configured
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.rerun import rerun
from pipeline.run.rundir import RunDirectory, read_events

LABELS = np.arange(1000) % 7


def question(*samples, open=(), disputed=False, round_=0):
    items, left = (tuple(Item(sample, f"image {sample}") for sample in each) for each in (samples, open))
    return Question(round_, items, tuple("abcdefg"), left, disputed)


def said(annotator, asked):
    return [each for portion in annotator.ask(asked) for each in portion]


# The contract, of every annotator that does not wait for a person -----------------------------------------------------


@pytest.mark.parametrize(
    "habits", [None, Habits(noise=0.5), Habits(skip=0.5, disagree=0.5), Habits(late=0.5, missing=0.2)], ids=str
)
def test_only_what_is_asked_is_answered_and_twice_the_same(habits):
    asked = question(*range(40), open=range(40, 60))
    one, other = (said(SimulatedAnnotator(LABELS, 7, habits, seed=3), asked) for _ in range(2))
    assert one == other
    assert {each.sample for each in one} <= set(range(60))
    assert all(0 <= each.label < 7 for each in one if isinstance(each, Answer))
    assert all(each.annotator.startswith("simulated") for each in one)


def test_by_default_everything_is_answered_at_once_and_correctly():
    answers = said(SimulatedAnnotator(LABELS, 7), question(*range(30)))
    assert [(each.sample, each.label) for each in answers] == [(n, n % 7) for n in range(30)]


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_habits_are_as_frequent_as_stated(share):
    asked = question(*range(1000))

    def answered(**habits):
        return said(SimulatedAnnotator(LABELS, 7, Habits(**habits)), asked)

    wrong = [each for each in answered(noise=share) if each.label != LABELS[each.sample]]
    tolerance = 4 * np.sqrt(1000 * share * (1 - share))
    assert abs(len(wrong) - 1000 * share) <= tolerance
    assert len({(each.label - LABELS[each.sample]) % 7 for each in wrong}) == 6  # every other class
    skips = [each for each in answered(skip=share) if isinstance(each, Skip)]
    assert abs(len(skips) - 1000 * share) <= tolerance
    assert abs(len(answered(disagree=share)) - 1000 * (1 + share)) <= tolerance
    for habit in ("late", "missing"):
        assert abs(1000 - len(answered(**{habit: share})) - 1000 * share) <= tolerance
    late = said(SimulatedAnnotator(LABELS, 7, Habits(late=share)), question(open=range(1000)))
    assert abs(len(late) - 1000 * share) <= tolerance


# The state of the labelling, by hand ----------------------------------------------------------------------------------


def query(round_, *ids):
    return {"event": "query", "cycle": round_, "ids": list(ids), "scores": [0.0] * len(ids)}


def label(round_, *pairs, by="ann"):
    return {"event": "label", "cycle": round_, "labels": [list(pair) for pair in pairs], "annotator": by}


def closed(round_):
    return {"event": "round_closed", "cycle": round_}


def trained_on(pool, cycle):
    labelled = pool.labelled(cycle)
    return dict(zip(labelled.ids.tolist(), labelled.labels.tolist(), strict=True))


def test_a_late_answer_counts_from_the_next_training_on():
    pool = Pool(9, [query(INITIAL, 1, 2), label(INITIAL, (1, 0)), closed(INITIAL), query(0, 5, 6)])
    assert pool.open(0) == [2]
    pool.apply(label(0, (5, 1), (2, 1)))
    pool.apply(closed(0))
    assert [trained_on(pool, cycle) for cycle in range(3)] == [{1: 0}, {1: 0, 5: 1, 2: 1}, {1: 0, 5: 1, 2: 1}]
    assert pool.open(1) == [6]
    with pytest.raises(PipelineError, match="round 0 is closed: expected no label of it any more"):
        pool.apply(label(0, (6, 1)))
    assert sorted(pool.candidates(1, 9, np.random.default_rng(0))) == [0, 3, 4, 7, 8]  # 6 is asked for already


def test_a_correction_changes_what_is_trained_on_from_then_on():
    pool = Pool(9, [query(INITIAL, 1), label(INITIAL, (1, 0)), closed(INITIAL), query(0, 2), label(0, (1, 1))])
    pool.apply(closed(0))
    assert [trained_on(pool, cycle) for cycle in range(2)] == [{1: 0}, {1: 1}]


def test_what_two_annotators_differ_on_is_no_label_until_a_third_decides():
    pool = Pool(9, [query(INITIAL, 1, 2), label(INITIAL, (1, 0), (2, 0)), label(INITIAL, (1, 1), by="bea")])
    assert pool.disputed == {1}
    assert pool.unanswered(INITIAL) == [1]
    assert pool.answers(INITIAL) == {2: 0}
    third = label(INITIAL, (1, 1), by="cem")
    pool.apply(third)
    assert not pool.disputed
    assert pool.answers(INITIAL) == {1: 1, 2: 0}
    pool.apply(closed(INITIAL))
    pool.apply(label(0, (1, 2), by="bea"))  # later all three differ: the label is withdrawn, the trained one stays
    assert [trained_on(pool, cycle) for cycle in range(2)] == [{1: 1, 2: 0}, {2: 0}]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (query(1, 5), "sample 5 was asked for in round 0 and again in round 1"),
        (query(1, 7, 7), "a sample was asked for twice in round 1"),
        (label(0, (5, 2), (5, 3)), "sample 5 of round 0 has two labels, 2 and 3"),
        (label(0, (8, 2)), "sample 8 got a label in round 0 without being asked for"),
        ({"event": "skip", "cycle": 0, "ids": [8]}, "sample 8 got a skip in round 0 without"),
        (query(INITIAL, 8), "the initial round is closed: expected no query"),
    ],
)
def test_an_event_that_contradicts_the_log_is_refused_before_it_is_written(event, message, start):
    path = start()
    with RunDirectory(path, print) as run:
        run.start({"dataset_sha256": "", "versions": {}})
        pool = run.pool(9)
        for good in (query(INITIAL, 1), label(INITIAL, (1, 0)), closed(INITIAL), query(0, 5)):
            run.append(**good)
        with pytest.raises(PipelineError, match=message):
            run.append(**event)
        assert pool.unanswered(0) == [5]
    assert len(read_events(path)) == 5


# Runs -----------------------------------------------------------------------------------------------------------------


class Half:
    """Answers samples of odd number, unless it asks for the initial set, until it is told to answer all."""

    full = False

    def ask(self, asked):
        known = [item.sample for item in asked.items if self.full or asked.round == INITIAL or item.sample % 2]
        yield [Answer(sample, sample % 10, "half") for sample in known]


def record(path):
    with RunDirectory(path, print) as run:
        sizes = [len(run.pool(1437).labelled(cycle)) for cycle in range(3)]
    with (path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["metric"]) == ("test", "accuracy")]
    return sizes, [int(row["n_labeled"]) for row in rows]


@pytest.mark.parametrize("strategy", ["margin", "margin-lin-sequential"])
def test_answers_after_a_finished_run_never_change_what_it_was_trained_on(start, go_on, strategy):
    path, half = start(query__strategy=strategy, query__size=8, query__n_init=12), Half()
    go_on(path, half)
    before, (sizes, recorded) = read_events(path), record(path)
    assert sizes == recorded
    assert sizes[0] == 12 < sizes[1] < sizes[2] < 28
    half.full = True
    go_on(path, half)
    assert read_events(path) == before
    assert record(path) == (sizes, recorded)


HABITS = {"annotator__noise": 0.1, "annotator__skip": 0.2, "annotator__disagree": 0.4, "annotator__late": 0.2}


def test_every_habit_in_one_run(start, go_on, tmp_path):
    path = start(query__strategy="margin", query__size=10, cycles=3, **HABITS)
    rows = go_on(path).rows
    events, (sizes, recorded) = read_events(path), record(path)
    assert sizes == recorded == [row.n_labelled for row in rows]
    asked = [sample for event in events if event["event"] == "query" for sample in event["ids"]]
    assert len(asked) == len(set(asked)) == 32
    ends = [event for event in events if event["event"] == "round_closed"]
    assert [event["cycle"] for event in ends] == [-1, 0, 1]
    assert any(event["skipped"] for event in ends)
    assert any(event["left"] for event in ends)
    first = {sample for event in events[:2] for sample in event.get("ids", ())}
    late = [event for event in events if event["event"] == "label" and event["cycle"] == 0]
    assert first & {sample for event in late for sample, _ in event["labels"]}  # came one round later
    files = [path / "cycles/000/labels.jsonl", path / "cycles/001/labels.jsonl"]
    written = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {row["status"] for row in written} == {"labeled", "skipped"}
    assert {row["annotator"] for row in written} == {"simulated", "simulated 2", "simulated 3"}
    (tmp_path / "again").mkdir()
    assert rerun(path, "train", 1, tmp_path / "again").same
    for keep in range(1, len(events), 3):
        kill_at(path, keep)
        go_on(path)
        assert read_events(path) == events, keep


def test_an_initial_set_without_any_label_is_one_line(start, go_on):
    with pytest.raises(RunFailedError, match="none of the 12 samples of the initial set got a label"):
        go_on(start(annotator__missing=1.0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda sample: [Answer(sample + 5000, 0, "x")], "expected answers, skips or undos of the samples asked for"),
        (lambda sample: [Answer(sample, 10, "x")], "expected a label from 0 to 9"),
        (lambda sample: [Answer(sample, "cat", "x")], "expected a label from 0 to 9"),
        (lambda sample: [(sample, 0)], "expected answers, skips or undos"),
    ],
)
def test_nothing_is_kept_of_a_portion_that_breaks_the_contract(start, go_on, wrong, message):
    class Wrong:
        def ask(self, asked):
            good = Answer(asked.items[0].sample, 1, "x")
            yield [good, *wrong(asked.items[1].sample)]

    path = start()
    with pytest.raises(RunFailedError, match=message):
        go_on(path, Wrong())
    assert not [event for event in read_events(path) if event["event"] == "label"]


def test_the_simulated_annotator_of_a_run_has_the_configurations_habits(start, go_on):
    from pipeline.run.context import open_context
    from pipeline.run.rundir import read_config

    annotator = configured(open_context(read_config(start(**HABITS))))
    assert annotator._habits == Habits(noise=0.1, skip=0.2, disagree=0.4, late=0.2)
