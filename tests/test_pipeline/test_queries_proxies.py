"""The papers' proxies as strategies: against slow references on a network whose training can be followed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import cases
from linearize import KernelOptions, LookAhead, Measure
from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import LookAheadOptions, QueryState, Selection, get_strategy, validated_query
from pipeline.retraining import Retrainer
from pipeline.run.context import open_context
from pipeline.run.pool import Labelled
from pipeline.run.rerun import rerun
from pipeline.run.rundir import cycle_path
from trainer.loop import fit
from trainer.options import TrainOptions
from trainer.predict import predict

U, L, C = 14, 6, 3
OPTIONS = TrainOptions(epochs=200, max_lr=0.05)


class Watch:
    """A stage's progress that remembers."""

    def __init__(self):
        self.done, self.plans = [], []

    def __call__(self, done, total):
        self.done.append((done, total))

    def plan(self, text):
        self.plans.append(text)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, C))


def state(loss="l2", **fields):
    images, model = cases.images(0, 60, np.float32), network()
    ids = np.random.default_rng(0).permutation(60)
    options = replace(OPTIONS, loss=loss)
    return QueryState(
        candidates=ids[L : L + U],
        labelled=Labelled(ids[:L], np.arange(L) % C),
        num_classes=C,
        loss=loss,
        inputs=lambda ids: images[ids],
        evaluate=lambda x: predict(model, x),
        embed=None,
        linearize=None,
        retrain=lambda X, labels, pool: Retrainer(model, X, labels, pool, C, options, "cpu"),
        **{"rng": np.random.default_rng(1), "progress": Watch(), **fields},
    )


def change(given, after):
    before = predict(network(), given.inputs(given.candidates))
    return sum(np.linalg.norm(a - b) for a, b in zip(after.astype(float), before.astype(float), strict=True))


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_naive_is_fifteen_real_epochs_for_each_that_was_tried(loss):
    given = state(loss, options=LookAheadOptions(naive_candidates=5))
    selection = validated_query(get_strategy("naive"), given, 3)
    scores = selection.candidate_scores
    tried = np.flatnonzero(scores != -1)
    assert len(tried) == 5
    assert set(selection.indices) < set(given.candidates[tried])
    rng = np.random.default_rng(1)
    assert set(tried) == set(rng.choice(U, 5, replace=False))
    seed = int(rng.integers(2**63))
    pool, x = given.inputs(given.candidates), given.inputs(given.labelled.ids)
    for position in tried:
        model = network()
        label = predict(model, pool)[position].argmax()
        inputs, labels = np.vstack([x, pool[position : position + 1]]), np.append(given.labelled.labels, label)
        fit(model, inputs, labels, C, TrainOptions(epochs=15, tolerance=0, max_lr=0.05, loss=loss), seed=seed)
        assert scores[position] == pytest.approx(change(given, predict(model, pool)), rel=1e-6)


def test_what_naive_would_have_taken_is_extrapolated_and_called_so():
    given = state(options=LookAheadOptions(naive_candidates=5))
    selection = validated_query(get_strategy("naive"), given, 3)
    figures, tried = selection.figures, selection.candidate_scores[selection.candidate_scores >= 0]
    assert figures["score_mean"] == pytest.approx(tried.mean())  # those not tried have no change
    assert figures["score_spread"] == pytest.approx(tried.std() / tried.mean())
    assert figures["naive_candidates"] == 5
    assert figures["naive_seconds_per_candidate"] > 0
    assert figures["naive_seconds_extrapolated"] == pytest.approx(U * figures["naive_seconds_per_candidate"])
    [plan] = given.progress.plans
    assert plan.startswith("naive: retraining with 5 of 14 candidates, ")
    assert plan.endswith("s (extrapolated)")
    assert given.progress.done == [*((i, 5) for i in range(5) for _ in range(16)), (5, 5)]  # and after every epoch


@pytest.mark.parametrize(("wanted", "n", "tried"), [(None, 3, U), (5, 9, 9), (1, 1, 1)])
def test_naive_tries_as_many_as_are_asked_for_at_least(wanted, n, tried):
    given = state(options=LookAheadOptions(naive_candidates=wanted))
    selection = validated_query(get_strategy("naive"), given, n)
    assert (selection.candidate_scores >= 0).sum() == tried
    assert (selection.scores >= 0).all()


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_one_step_is_a_step_of_gradient_descent_on_each_candidate(loss):
    given = state(loss)
    scores = validated_query(get_strategy("one-step"), given, 4).candidate_scores
    pool = given.inputs(given.candidates)
    for position in range(U):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=OPTIONS.max_lr)
        outputs = model(torch.from_numpy(pool[position : position + 1]))
        label = outputs.argmax(1)
        value = ((outputs - torch.eye(C)[label]) ** 2).mean() if loss == "l2" else -outputs.log_softmax(1)[0, label]
        value.sum().backward()
        optimizer.step()
        assert scores[position] == pytest.approx(change(given, predict(model, pool)), rel=1e-5)
    assert given.progress.done == [(i, U) for i in range(U + 1)]


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_no_block_ranks_as_mlmoc(ridge):
    apply_fn, variables = cases.tiny_conv_net(classes=C, dtype=np.float32)
    images, ids = cases.images(0, 60, np.float32), np.random.default_rng(0).permutation(60)
    images[ids[L]] = images[ids[0]]  # a candidate that is labelled already

    def linearize(X, labels, pool):
        return LookAhead.fit(apply_fn, variables, X, np.eye(C)[labels], pool, KernelOptions(ridge=ridge))

    given = replace(state(), inputs=lambda i: images[i], linearize=linearize)
    given = replace(given, evaluate=lambda x: np.asarray(apply_fn(variables, x)))
    found = validated_query(get_strategy("ntk-no-block"), given, 4)
    expected = given.look_ahead.scores("mlmoc", Measure("network"))
    np.testing.assert_allclose(found.candidate_scores, expected, rtol=1e-6)
    assert np.flatnonzero(expected == 0).tolist() == [0]
    assert found.figures == {
        "common_share": given.look_ahead.score_diagnostics("mlmoc", Measure("network")).common_share
    }
    assert found.figures["common_share"] > 0
    assert given.progress.done[-1] == (U, U)


def test_a_kernel_that_no_block_cannot_have_is_refused_before_the_run():
    tiny = {"query.n_init": 4, "query.size": 1, "cycles": 2, "kernel.memory_budget": "1MiB", "device": "cpu"}
    with pytest.raises(PipelineError, match="kernel.memory_budget: .* does not fit into a memory budget of 1 MiB"):
        open_context(load_config(options={**tiny, "query.strategy": "ntk-no-block"}))


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([1.0], "expected a dict of numbers by name"),
        ({3: 1.0}, "expected a dict of numbers by name"),
        ({"a": float("nan")}, "expected finite numbers, got nan for 'a'"),
        ({"a": "much"}, "expected finite numbers, got 'much' for 'a'"),
    ],
)
def test_figures_that_are_no_numbers_are_the_strategys_fault(figures, message):
    class Talkative:
        name = description = source = "talkative"
        needs_port = False

        def query(self, given, n):
            return Selection(given.candidates[:1], np.ones(1), np.r_[1.0, np.zeros(U - 1)], figures)

    with pytest.raises(RunFailedError, match=f"strategy 'talkative': figures: {message}"):
        validated_query(Talkative(), state(), 1)


@pytest.mark.parametrize("name", ["naive", "one-step", "ntk-no-block"])
def test_a_run_is_made_and_done_again(name, start, go_on, tmp_path):
    options = {"query__naive_candidates": 6} if name == "naive" else {}
    run = start(query__strategy=name, cycles=2, **options)
    recorder = go_on(run)
    assert len(recorder.rows) == 2
    assert ((0, "migrate") in recorder.stages) == (name == "ntk-no-block")
    diagnostics = json.loads((cycle_path(run, 0) / "score/diagnostics.json").read_text())
    assert ("naive_seconds_extrapolated" in diagnostics) == (name == "naive")
    if name == "naive":
        assert diagnostics["naive_candidates"] == 6
    (tmp_path / "again").mkdir()
    assert rerun(run, "score", 0, tmp_path / "again").same
