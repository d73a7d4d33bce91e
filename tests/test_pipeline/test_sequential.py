"""Queries that are answered one after another within a cycle, with no training between."""

import dataclasses
import json
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from killed import cut_back, kill_at, kill_before
from marks import some_long

from linearize import CRITERIA, LookAhead, MemoryBudgetError
from pipeline.annotators import Answer, SimulatedAnnotator, Skip
from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.queries import get_strategy, resolve
from pipeline.queries.base import Chosen, QueryStrategy
from pipeline.queries.validated_query import ValidatedSequentialQuery
from pipeline.run.context import open_context
from pipeline.run.events import EventLog
from pipeline.run.pool import Pool
from pipeline.run.rerun import rerun
from pipeline.run.rundir import read_events
from pipeline.run.stages.score import draw_candidates, query_state, read_scores
from pipeline.run.stages.sequential import query_sizes
from trainer.targets import one_hot

SEQUENTIAL = {"query__strategy": "mlmoc-flips", "query__mode": "sequential", "cycles": 2}


def asked(path):
    return [sample for event in rounds(path, 0, "query") for sample in event["ids"]]


def rounds(path, cycle, kind):
    return [event for event in read_events(path) if event["event"] == kind and event["cycle"] == cycle]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1, 1, 1, 1)),
        ({"query.strategy": "mlmoc"}, (4,)),
        ({"query.strategy": "mlmoc", "query.mode": "greedy"}, (4,)),
        ({"query.strategy": "mlmoc", "query.mode": "sequential"}, (1, 1, 1, 1)),
        ({"query.strategy": "mlmoc-sequential", "query.retrain_every": 3}, (1, 1, 1)),
        ({"query.strategy": "mlmoc", "query.mode": "greedy", "query.retrain_every": 9}, (4, 4, 1)),
        ({"query.strategy": "mlmoc", "query.retrain_every": 8}, (4, 4)),
        ({"query.strategy": "margin", "query.retrain_every": 8, "query.mode": "sequential"}, (8,)),
        ({"query.strategy": "margin-lin-sequential"}, (1, 1, 1, 1)),
        ({"query.mode": "greedy"}, (4,)),
        ({"query.mode": "top"}, (4,)),
        ({"query.mode": "sequential"}, (1, 1, 1, 1)),
    ],
    ids=str,
)
def test_how_many_are_asked_at_once(options, expected):
    query = load_config(options={"query.size": 4, **options}).query
    assert query_sizes(query.resolved.strategy, query) == expected


def test_one_query_and_one_answer_at_a_time(start, go_on):
    path = start(**SEQUENTIAL)
    recorder = go_on(path)
    asked, answered = rounds(path, 0, "query"), rounds(path, 0, "label")
    assert [len(event["ids"]) for event in asked] == [len(event["labels"]) for event in answered] == [1, 1, 1, 1]
    kinds = [event["event"] for event in read_events(path) if event.get("cycle") == 0]
    assert kinds == ["stage_done"] * 3 + ["query", "label"] * 4 + ["stage_done", "round_closed", "cycle_done"]
    shown = [json.loads(line) for line in (path / "cycles/000/query.jsonl").read_text().splitlines()]
    assert [row["sample_id"] for row in shown] == [event["ids"][0] for event in asked]
    assert [row["rank"] for row in shown] == [1, 2, 3, 4]
    assert [row.n_labelled for row in recorder.rows] == [12, 16]
    assert (0, "sequential") in recorder.stages


@pytest.mark.parametrize("strategy", ["mlmoc-flips", "mlmoc", "margin-lin"])
def test_every_query_equals_that_of_a_service_fitted_afresh_with_the_answers_so_far(start, go_on, strategy):
    """The reference: fit on labelled ∪ answered from scratch, without any update, and take the highest score."""
    path = start(**SEQUENTIAL | {"query__strategy": strategy, "kernel__precision": "float64", "query__size": 6})
    go_on(path)
    config = load_config(path / "config.yaml")
    context, events = open_context(config), read_events(path)
    before = [event for event in events if event.get("cycle", -1) < 0 or event["event"] == "start"]
    pool = Pool(len(context.data.train), before)
    candidates = draw_candidates(config, pool, 0)
    cycle = path / "cycles/000"
    state = query_state(context, 0, pool.labelled(0), candidates, cycle / "train", cycle / "migrate")
    first = state.look_ahead
    X, labels, left = context.images(pool.labelled(0).ids), pool.labelled(0).labels, candidates
    for step, (asked, answer) in enumerate(zip(rounds(path, 0, "query"), rounds(path, 0, "label"), strict=True)):
        service = LookAhead.fit(
            *first.network, X, one_hot(labels, 10), context.images(left), config.kernel_options, ids=left
        )
        chosen = service if step == 0 else _from_f_lin(service)
        scores = chosen.scores(strategy)
        [sample] = asked["ids"]
        assert left[int(np.argmax(scores))] == sample, f"query {step}"
        [(_, label)] = answer["labels"]
        X, labels = np.concatenate([X, context.images(np.array([sample]))]), np.append(labels, label)
        left = left[left != sample]


class _from_f_lin:
    """A fresh fit whose network is the linearised one: f = f_lin and a = 0, as after the first answer."""

    def __init__(self, service):
        self.posterior = dataclasses.replace(service.posterior, f=service.posterior.mean)

    def scores(self, name):
        return CRITERIA[name].scores(self.posterior)


class Killed(BaseException):
    """Stands for SIGKILL: nothing above it handles it."""


@pytest.mark.long
def test_a_crash_at_any_event_of_a_sequential_query_changes_nothing(start, go_on, monkeypatch):
    whole = start("whole", **SEQUENTIAL)
    go_on(whole)
    append = EventLog.append
    for at in range(6, len(read_events(whole)) - 2):
        for after in (False, True):
            path = start(f"crash{at}-{after}", **SEQUENTIAL)

            def crashing(self, event, *, at=at, after=after, **fields):
                if len(self.events) == at and not after:
                    raise Killed
                append(self, event, **fields)
                if len(self.events) == at + 1 and after:
                    raise Killed
                return self.events[-1]

            with monkeypatch.context() as patch:
                patch.setattr(EventLog, "append", crashing)
                with pytest.raises(Killed):
                    go_on(path)
            go_on(path)
            assert (path / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes(), (at, after)
            assert not list(path.rglob("*.tmp-*"))


def test_sigkill_in_a_sequential_query_then_resume(start, go_on, spawn, wait_for):
    many = SEQUENTIAL | {"query__size": 25}
    whole, path = start("whole", **many), start("killed", **many)
    go_on(whole)
    process = spawn("resume", path)
    wait_for(process, lambda: (path / "events.jsonl").exists() and len(rounds(path, 0, "query")) > 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 3 < len(rounds(path, 0, "query")) < 25
    go_on(path)
    assert (path / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes()


def kill_before_sequential(path):
    """Leave a run as a kill between its first sequential stage and the event that says so."""
    kill_before(path, lambda event: (event["event"], event.get("stage")) == ("stage_done", "sequential"))


def test_what_was_asked_one_by_one_is_not_asked_again_where_only_its_event_is_missing(start, go_on):
    path = start(**SEQUENTIAL)
    go_on(path)
    whole = (path / "events.jsonl").read_bytes()
    kill_before_sequential(path)
    assert (0, "sequential") not in go_on(path).stages
    assert (path / "events.jsonl").read_bytes() == whole


@pytest.mark.parametrize("said", ["otherwise", "nothing"])
def test_a_record_of_other_answers_is_set_aside_and_made_again(start, go_on, said):
    """The same questions in another copy of the run, of which the last was answered otherwise, or skipped."""
    path = start(**SEQUENTIAL)
    go_on(path)
    last = rounds(path, 0, "label")[-1]["seq"]
    kill_before_sequential(path)
    record = path / "cycles/000/sequential"
    kept = record.rename(path / "kept")
    cut_back(path, last)

    class Other:
        def ask(self, question):
            [item] = question.items
            yield [Skip(item.sample, "another") if said == "nothing" else Answer(item.sample, 0, "another")]

    (path / "cycles/000/labels.jsonl").unlink()
    before = go_on(path, Other())
    shutil.rmtree(record)
    kill_before_sequential(path)
    kept.rename(record)
    recorder = go_on(path, Other())
    assert before.warnings == [w for w in recorder.warnings if "set aside" not in w]
    [warning] = [w for w in recorder.warnings if "set aside" in w]
    assert "sequential does not belong there (it was made from other answers): set aside as sequential.da" in warning
    assert (0, "sequential") in recorder.stages
    last_label = [[[asked(path)[3], 0]]] if said == "otherwise" else []
    assert [event["labels"] for event in rounds(path, 0, "label")][3:] == last_label


def test_select_shows_what_was_asked_one_by_one(start, go_on, tmp_path):
    path = start(**SEQUENTIAL)
    go_on(path)
    (tmp_path / "again").mkdir()
    assert rerun(path, "select", 0, tmp_path / "again").same
    (tmp_path / "score").mkdir()
    assert rerun(path, "score", 0, tmp_path / "score").same


def test_no_stage_of_the_next_cycle_runs_in_the_middle_of_a_sequential_query(start, go_on, tmp_path):
    path = start(**SEQUENTIAL)
    go_on(path)
    lines = (path / "events.jsonl").read_bytes().splitlines(keepends=True)
    (path / "events.jsonl").write_bytes(b"".join(lines[:10]))
    with pytest.raises(PipelineError, match="no labels for cycle 1 yet: it has reached cycle 0"):
        rerun(path, "train", 1, tmp_path / "out")


@pytest.mark.parametrize("strategy", ["margin-lin-sequential", *some_long("mlmoc-sequential", "dynamical-sequential")])
def test_the_next_question_is_chosen_without_those_that_got_no_answer(start, go_on, strategy):
    """Every sample is asked for once, and the rest is learned; a kill anywhere changes nothing."""
    habits = {f"annotator__{name}": 0.2 for name in ("skip", "missing")}
    path = start(**SEQUENTIAL | {"query__strategy": strategy, "query__size": 10, "query__subset": 40} | habits)
    assert len(go_on(path).rows) == 2
    asked = [sample for event in rounds(path, 0, "query") for sample in event["ids"]]
    assert len(set(asked)) == len(asked) == 10
    [closed] = [event for event in read_events(path) if event["event"] == "round_closed" and event["cycle"] == 0]
    assert closed["skipped"]
    assert closed["left"]
    assert closed["answered"] + len(closed["skipped"]) + len(closed["left"]) == 10
    before = read_events(path)
    for keep in (*range(2, 5), *range(8, len(before), 6)):
        kill_at(path, keep)
        go_on(path)
        assert read_events(path) == before


class Lowest:
    """A sequential query that was written before there were skips: the lowest ids that were not observed."""

    def __init__(self, ids):
        self.left = sorted(ids)

    def choose(self, n):
        return Chosen(np.array(self.left[:n]), np.zeros(n))

    def observe(self, sample, label):
        self.left.remove(sample)


def test_a_query_that_knows_nothing_of_skips_is_asked_for_more():
    class Strategy(QueryStrategy):
        name = "lowest"

        def query(self, state, n):
            raise AssertionError("asked one by one")

        def sequential_query(self, state):
            return Lowest(state.candidates.tolist())

    state = SimpleNamespace(candidates=np.array([3, 1, 2, 5, 4]), rng=np.random.default_rng(0))
    query = ValidatedSequentialQuery(Strategy(), state)
    assert query.choose(2)[0] == [1, 2]
    query.leave_out(1)
    query.observe(2, 0)
    assert query.choose(2)[0] == [3, 4]
    query.leave_out(4)
    assert query.choose(9)[0] == [3, 5]


def test_a_sequential_querys_time_is_that_of_choosing_and_observing(start, go_on, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pipeline.run.stages.sequential.time.perf_counter", lambda: now[0])

    def taking(owner, name, seconds):
        method = getattr(owner, name)

        def taken(*arguments, **named):
            now[0] += seconds
            return method(*arguments, **named)

        monkeypatch.setattr(owner, name, taken)

    taking(LookAhead, "choose", 1)
    taking(LookAhead, "observe", 10)
    taking(SimulatedAnnotator, "ask", 1000)
    path = start(**SEQUENTIAL | {"query__size": 3})
    go_on(path)
    assert json.loads((path / "cycles/000/sequential/manifest.json").read_text())["seconds"] == 33


def test_columns_alone_are_computed_where_all_of_S_does_not_fit(start, go_on, monkeypatch):
    fit, tried = LookAhead.fit.__func__, []

    def too_little(cls, *arguments, full=True, **named):
        tried.append(full)
        if full:
            raise MemoryBudgetError("too little")
        return fit(cls, *arguments, full=full, **named)

    monkeypatch.setattr(LookAhead, "fit", classmethod(too_little))
    go_on(start(query__strategy="margin-lin-sequential", cycles=2))
    assert tried == [True, False]


def test_the_mode_of_a_name_is_the_mode_of_the_run(start, go_on):
    by_name = start("name", query__strategy="mlmoc-flips-sequential", cycles=2)
    by_mode = start("mode", **SEQUENTIAL)
    for path in (by_name, by_mode):
        go_on(path)
    assert [e["ids"] for e in rounds(by_name, 0, "query")] == [e["ids"] for e in rounds(by_mode, 0, "query")]


def test_more_queries_than_training_takes_in_every_answer(start, go_on):
    path = start(query__strategy="margin-lin-greedy", query__retrain_every=10, cycles=2)
    assert [row.n_labelled for row in go_on(path).rows] == [12, 22]
    asked = [event["ids"] for event in rounds(path, 0, "query")]
    assert [len(ids) for ids in asked] == [4, 4, 2]
    assert len({sample for ids in asked for sample in ids}) == 10


def test_all_candidates_can_be_asked(start, go_on):
    path = start(**SEQUENTIAL | {"query__subset": 4})
    go_on(path)
    asked = [event["ids"][0] for event in rounds(path, 0, "query")]
    assert len(asked) == 4
    assert set(asked) == set(read_scores(path / "cycles/000/score").candidates)


def test_a_sample_that_is_queried_twice_is_a_damaged_log():
    query = {"event": "query", "cycle": 0, "ids": [3], "scores": [1.0]}
    with pytest.raises(PipelineError, match="sample 3 was asked for in round 0 and again in round 0"):
        Pool(10, [query, query])


def test_more_answers_than_candidates_are_refused():
    with pytest.raises(PipelineError, match="--retrain-every: expected at most the subset of 30 candidates, got 31"):
        load_config(options={"query.subset": 30, "query.retrain_every": 31})


@pytest.mark.parametrize(
    ("strategy", "answers", "U", "expected"),
    [
        ("mlmoc", 1, 10**6, "required"),
        ("margin-lin", 20, 5000, "none"),
        ("margin-lin-sequential", 20, 5000, "helpful"),
        ("margin-lin-greedy", 5, 5000, "none"),
    ],
)
def test_only_columns_are_computed_where_that_is_cheaper(strategy, answers, U, expected):
    query = load_config(options={"query.strategy": strategy}).query
    assert query.resolved.strategy.covariance(query.look_ahead, answers, U) == expected


def test_a_name_and_a_mode_are_resolved_in_one_place():
    assert resolve("eer-sequential")[1:] == (get_strategy("eer"), "sequential")
    assert resolve("eer", "greedy")[1:] == (get_strategy("eer"), "greedy")
    assert resolve("eer")[1:] == (get_strategy("eer"), "top")
    assert resolve("margin", on="linearized")[:2] == ("margin-lin", get_strategy("margin-lin"))
    with pytest.raises(PipelineError, match="got 'margin-greedy'"):
        resolve("margin-greedy")
