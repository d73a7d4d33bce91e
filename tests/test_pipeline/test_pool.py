import numpy as np
import pytest

from pipeline import seeds
from pipeline.errors import PipelineError
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.rundir import RunDirectory, read_events


def query(cycle, *ids):
    return {"event": "query", "cycle": cycle, "ids": list(ids), "scores": [0.0] * len(ids)}


def label(cycle, *pairs):
    return {"event": "label", "cycle": cycle, "labels": [list(pair) for pair in pairs]}


EVENTS = [
    query(INITIAL, 7, 3),
    label(INITIAL, (7, 1), (3, 0)),
    query(0, 5, 9, 2),
    label(0, (9, 1)),
    {"event": "skip", "cycle": 0, "ids": [2]},
]


def test_each_cycle_sees_the_labels_of_earlier_rounds_only():
    pool = Pool(12, EVENTS)
    assert pool.labelled(0).ids.tolist() == [7, 3]
    assert pool.labelled(0).labels.tolist() == [1, 0]
    assert pool.labelled(1).ids.tolist() == [7, 3, 9]
    assert len(Pool(12, []).labelled(0)) == 0


def test_what_was_asked_and_is_open():
    assert Pool(12, EVENTS).unanswered(0) == [5]


def test_candidates_are_neither_labelled_nor_skipped_and_the_same_for_every_strategy():
    pool = Pool(12, EVENTS)
    drawn = pool.candidates(1, 100, seeds.generator(0, 1, "subset"))
    assert sorted(drawn) == sorted(set(range(12)) - {7, 3, 5, 9, 2})
    assert len(pool.candidates(1, 4, seeds.generator(0, 1, "subset"))) == 4
    other = Pool(12, EVENTS[:3]).candidates(1, 100, seeds.generator(0, 1, "subset"))  # another strategy's labels
    common = set(drawn) & set(other)
    assert [i for i in drawn if i in common] == [i for i in other if i in common]


def test_contradictions_are_refused():
    with pytest.raises(PipelineError, match="sample 9 of round 0 has two labels, 1 and 2"):
        Pool(12, [*EVENTS, label(0, (9, 2))])
    with pytest.raises(PipelineError, match="sample 11 got a label in round 0 without being asked for"):
        Pool(12, [*EVENTS, label(0, (11, 2))])
    assert Pool(12, [*EVENTS, label(0, (9, 1))]).answers(0) == {9: 1}  # the same answer again is ignored


def test_streams_are_independent_and_reproducible():
    draws = {
        (cycle, name): seeds.generator(3, cycle, name).random()
        for cycle in range(3)
        for name in ("initial", "subset", "init", "train", "query")
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, "query"] == seeds.generator(3, 1, "query").random()
    assert seeds.integer(0, 0, "init") != seeds.integer(1, 0, "init")
    assert 0 <= seeds.integer(0, 0, "init") < 2**63
    assert np.unique([seeds.integer(s, 0, "train") for s in range(50)]).size == 50


def test_a_run_takes_every_event_in_once_however_many_answers_there_are(start, go_on, monkeypatch):
    """And what it then holds is what the log says."""
    applied, apply = [], Pool.apply

    def counting(self, event):
        applied.append(event["event"])
        apply(self, event)

    path = start(query__strategy="margin-lin-sequential", query__size=25, query__subset=60, cycles=2)
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "apply", counting)
        go_on(path)
    events = read_events(path)
    assert len(applied) <= len(events)
    pools = []
    with RunDirectory(path, print) as run:
        pools.append(run.pool(1437))
        for event in (query(2, 1400), label(2, (1400, 3))):
            run.append(event.pop("event"), **event)
    pools.append(Pool(1437, read_events(path)))
    for name in ("queries", "scores", "skipped", "disputed", "_decided", "_votes", "_asked", "_open", "_closed"):
        assert getattr(pools[0], name) == getattr(pools[1], name), name


def skip(cycle, sample, annotator):
    return {"event": "skip", "cycle": cycle, "ids": [sample], "annotator": annotator}


def vote(cycle, sample, class_, annotator):
    return label(cycle, (sample, class_)) | {"annotator": annotator}


@pytest.mark.parametrize("later", [0, 1], ids=["in the same round", "a round later"])
@pytest.mark.parametrize("first", ["skip", "label"])
def test_a_label_counts_whoever_skips_the_sample(first, later):
    said = [skip(0, 5, "anna"), vote(later, 5, 2, "ben")]
    if first == "label":
        said = [vote(0, 5, 2, "ben"), skip(later, 5, "anna")]
    pool = Pool(12, [*EVENTS[:2], query(0, 5), *said[:1], query(1, 6), *said[1:]])
    assert pool.known()[5] == 2
    assert pool.labelled(2).ids.tolist() == [7, 3, 5]
    assert pool.skipped[0 if first == "skip" else later] == {5}  # it stands in the record
    assert not pool.unanswered(0)
    assert 5 not in pool.candidates(2, 12, np.random.default_rng(0))


def test_what_one_skips_and_two_call_by_different_names_is_asked_for_again():
    said = [skip(0, 5, "anna"), vote(0, 5, 2, "ben"), vote(0, 5, 3, "cem")]
    pool = Pool(12, [*EVENTS[:2], query(0, 5), *said])
    assert 5 not in pool.known()
    assert pool.unanswered(0) == [5]
    pool.apply(vote(0, 5, 3, "dora"))
    assert pool.known()[5] == 3


def undo(cycle, sample, annotator):
    return {"event": "undo", "cycle": cycle, "ids": [sample], "annotator": annotator}


def closed(cycle):
    return {"event": "round_closed", "cycle": cycle}


def test_a_class_belongs_to_the_networks_after_the_round_in_which_it_was_added():
    pool = Pool(12, [*EVENTS[:2], {"event": "class_added", "cycle": 0, "name": "grey"}])
    assert [pool.classes_before(cycle) for cycle in range(3)] == [(), ("grey",), ("grey",)]


def test_an_undone_skip_opens_the_sample_where_nobody_says_anything_of_it_any_more():
    pool = Pool(12, [*EVENTS[:2], query(0, 5), skip(0, 5, "anna"), skip(0, 5, "ben"), undo(0, 5, "anna")])
    assert (pool.left_out(5), pool.unanswered(0), pool.skipped[0]) == (True, [], {5})
    assert [pool.skipped_by(5, who) for who in ("anna", "ben")] == [False, True]
    pool.apply(undo(0, 5, "ben"))
    assert (pool.left_out(5), pool.unanswered(0), pool.skipped[0]) == (False, [5], set())


def test_an_undone_skip_of_what_has_a_label_opens_nothing():
    pool = Pool(12, [*EVENTS[:2], query(0, 5), skip(0, 5, "anna"), vote(0, 5, 2, "ben")])
    assert not pool.left_out(5)
    pool.apply(undo(0, 5, "anna"))
    assert (pool.unanswered(0), pool.known()[5]) == ([], 2)


def test_an_undone_label_of_what_somebody_skipped_opens_nothing():
    pool = Pool(12, [*EVENTS[:2], query(0, 5), skip(0, 5, "anna"), vote(0, 5, 2, "ben"), undo(0, 5, "ben")])
    assert (pool.left_out(5), pool.unanswered(0)) == (True, [])
    assert (pool.touched(0), pool.answers(0)) == (True, {})  # a network that learned the label is to forget it


def test_what_was_skipped_in_a_closed_round_stays_in_its_record():
    pool = Pool(12, [*EVENTS[:2], query(0, 5), skip(0, 5, "anna"), closed(0), undo(1, 5, "anna")])
    assert (pool.skipped[0], pool.open(1)) == ({5}, [5])


def test_a_training_closes_the_rounds_before_it_in_logs_of_older_versions():
    pool = Pool(12, [*EVENTS[:2], {"event": "stage_done", "cycle": 1, "stage": "score"}])
    assert pool.round == INITIAL
    pool.apply({"event": "stage_done", "cycle": 1, "stage": "train"})
    assert pool.round == 1
