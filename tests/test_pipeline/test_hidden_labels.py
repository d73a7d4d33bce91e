"""Labels that nobody has given: where an experiment reads them they are counted, and refused where people answer."""

import numpy as np
import pytest
from given_state import FIRST, given_state

from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import get_strategy
from pipeline.run.context import open_context
from pipeline.run.hidden import balanced_samples, hidden_labels, hidden_uses, query_by_class
from pipeline.run.rundir import read_events
from pipeline.run.stages.train import FIRST_TRIAL, read_summary

BALANCED = {"query__initial": "balanced", "query__by_class": True, "query__initial_models": 3}


def test_a_balanced_draw_by_hand():
    class Order:
        def permutation(self, n):
            return np.array([3, 0, 5, 1, 4, 2])

    # In this order the labels are 1, 0, 1, 0, 0, 1: one of each after two, two of each after four.
    labels = np.array([0, 0, 1, 1, 0, 1])
    ids, read = balanced_samples(labels, 2, 2, Order())
    assert (ids.tolist(), read) == ([3, 0], 0)
    ids, read = balanced_samples(np.array([1, 0, 1, 1, 0, 1]), 2, 2, Order())  # 1, 1, 1, 0: two are passed over
    assert (ids.tolist(), read) == ([3, 1], 2)


def test_equally_many_of_each_class_by_hand():
    # Entropies rise along the candidates; of class 0 are the first, third and fifth.
    p = np.array([[1 - e, e] for e in (0.1, 0.2, 0.25, 0.3, 0.35, 0.4)])
    state = given_state(np.ones((6, 1)), np.ones((1, 1)), outputs=np.log(p))
    selection = query_by_class(get_strategy("entropy"), state, np.array([0, 1, 0, 1, 0, 1]), 4)
    assert selection.indices.tolist() == [FIRST + n for n in (4, 5, 2, 3)]
    with pytest.raises(RunFailedError, match="query.by_class: expected 2 candidates of each class, but one has 1"):
        query_by_class(get_strategy("entropy"), state, np.array([0, 1, 0, 0, 0, 0]), 4)


@pytest.mark.parametrize("strategy", ["entropy", "crc-whole"])
def test_a_run_is_balanced_and_counts_what_it_read(start, go_on, strategy):
    sizes = {"query__n_init": 20, "query__size": 10, "query__subset": 300, "cycles": 2, "train__epochs": 2}
    path = start(strategy, query__strategy=strategy, model__name="mlp", **sizes, **BALANCED)
    recorder = go_on(path)
    assert sum("hidden labels" in line for line in recorder.warnings) == 3
    events = read_events(path)
    asked = [e for e in events if e["event"] == "query"]
    y = open_context(load_config()).data.labels("train")
    for event, each in zip(asked, (2, 1), strict=True):
        assert np.bincount(y[event["ids"]], minlength=10).tolist() == [each] * 10
    tried = read_summary(path / "cycles/000/train")["initial_models"]
    assert sorted(tried["accuracies"])[1] == tried["accuracies"][tried["chosen"]]
    assert len(set(tried["accuracies"])) == 3
    assert tried["hidden_labels"] == len(y) - 20
    assert asked[1]["hidden_labels"] == 300 + tried["hidden_labels"]
    assert hidden_labels(events) == asked[0]["hidden_labels"] + asked[1]["hidden_labels"]
    assert "initial_models" not in read_summary(path / "cycles/001/train")


def test_streams_of_trials_are_none_of_cycles():
    assert FIRST_TRIAL > 10**5


def test_a_run_without_them_reads_none():
    assert not list(hidden_uses(load_config()))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["query.initial=balanced"], "query.initial: expected auto, random, typiclust or k-means, for it reads labels"),
        (["query.by_class=true"], "query.by_class: expected it to be left out"),
        (["query.initial_models=3"], "query.initial_models: expected it to be left out"),
    ],
)
@pytest.mark.parametrize("annotator", ["files", "page"])
def test_people_have_no_hidden_labels(sets, message, annotator):
    with pytest.raises(PipelineError, match=message):
        load_config(sets=[*sets, f"annotator.name={annotator}"])


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["query.initial=balanced", "query.n_init=15"], "query.n_init: expected a multiple of the 10 classes.*got 15"),
        (
            ["query.by_class=true", "query.size=15", "query.strategy=random"],
            "query.size: expected a multiple",
        ),
        (["query.by_class=true"], "query.by_class: expected a strategy that chooses a whole query at once"),
        (["query.by_class=true", "query.strategy=albl"], "query.by_class: expected .* remembers nothing, got 'albl'"),
        (
            ["query.initial=balanced", "query.n_init=1250", "cycles=1"],
            "125 samples of each class are wanted, but the smallest",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_before_anything_is_trained(sets, message):
    with pytest.raises(PipelineError, match=message):
        open_context(load_config(sets=sets))
