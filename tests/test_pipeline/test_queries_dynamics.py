"""dynamicAL as a strategy: against full per-example gradients in torch, by hand, and in a run."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap

from linearize import KernelOptions, LossGradients
from migrator import migrate
from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import LookAheadOptions, QueryState, get_strategy, installed_strategies, resolve, validated_query
from pipeline.queries.state import CHUNK
from pipeline.queries.validated_query import ValidatedSequentialQuery
from pipeline.run.pool import Labelled
from pipeline.run.rerun import rerun
from pipeline.run.rundir import read_events
from pipeline.run.stages.diagnostics import SETTLED, cautions
from pipeline.run.stages.score import read_scores
from pipeline.run.stages.sequential import query_sizes
from trainer.models import ModelSpec, build

pytestmark = pytest.mark.usefixtures("quick_compilation")
C, L, U = 3, 6, 9
NETWORKS = {
    "mlp": {"width": 12},
    "cnn": {},
    "wide_resnet": {"block_groups": 2, "max_width": 8, "stem_width": 4},
    "resnet18": {"width": 4},
}
GAMMAS = {"dynamical": 2.0, "dynamical-0": 0.0, "dynamical-1": 1.0, "dynamical-inf": np.inf}


def network(name):
    """A network with weights and statistics of batch norm that are not those of the beginning."""
    model = build(ModelSpec(name, (1, 8, 8), C, NETWORKS[name]), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def of_torch(model, loss, x, labels):
    """Every example's gradient ``[N, P]`` in float64: of cross-entropy, or of ½ Σ_c (f_c - y_c)²."""
    model = model.double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def of_one(parameters, one, y):
        f = functional_call(model, (parameters, buffers), one[None])[0]
        return torch.nn.functional.cross_entropy(f, y) if loss == "cross-entropy" else 0.5 * ((f - y) ** 2).sum()

    inputs = torch.from_numpy(x).double()
    with torch.no_grad():
        labels = model(inputs).argmax(1) if labels is None else torch.from_numpy(labels)
    targets = torch.eye(C, dtype=torch.float64)[labels]
    found = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters, inputs, targets)
    return torch.cat([g.reshape(len(x), -1) for g in found.values()], 1).numpy()


@cache
def problem(name, loss):
    """A network of a family: a state with its port, all gradients by torch, and how to get one of another label."""
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    ids, labels = np.random.default_rng(1).permutation(40), np.arange(L) % C
    model = network(name)
    port = migrate(model, (torch.zeros(2, 1, 8, 8),))
    options = KernelOptions(precision="float64")
    state = QueryState(
        candidates=ids[L : L + U],
        labelled=Labelled(ids[:L], labels),
        num_classes=C,
        loss=loss,
        rng=np.random.default_rng(0),
        inputs=lambda ids: images[ids],
        evaluate=None,
        embed=None,
        linearize=None,
        differentiate=lambda: LossGradients.of(port.apply_fn, port.variables, loss, options),
    )
    g_S, g_U = of_torch(model, loss, images[ids[:L]], labels), of_torch(model, loss, images[ids[L : L + U]], None)
    return state, g_S, g_U, lambda sample, label: of_torch(model, loss, images[[sample]], np.array([label]))[0]


SMALL = [("mlp", "l2"), ("cnn", "cross-entropy")]
LARGE = [("mlp", "cross-entropy"), ("cnn", "l2"), ("wide_resnet", "cross-entropy"), ("resnet18", "l2")]


@pytest.mark.parametrize(("name", "loss"), SMALL + LARGE)
def test_scores_equal_those_of_full_gradients_in_torch(name, loss):
    state, g_S, g_U, _ = problem(name, loss)
    G = g_S.sum(0)
    for strategy, gamma in GAMMAS.items():
        expected = g_U @ G if np.isinf(gamma) else (g_U**2).sum(1) + gamma * (g_U @ G)
        selection = validated_query(get_strategy(strategy), state, 4)
        np.testing.assert_allclose(selection.candidate_scores, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
        np.testing.assert_array_equal(selection.indices, state.candidates[np.argsort(-expected)[:4]])
        assert selection.figures["gradient_norm"] == pytest.approx(np.linalg.norm(G), rel=1e-6)
        share = 2 * np.abs(g_U @ G).sum() / (g_U**2).sum()
        assert selection.figures.get("dynamics_share") == (pytest.approx(share, rel=1e-6) if gamma else None)


@pytest.mark.parametrize(("name", "loss"), SMALL)
def test_greedy_takes_the_best_next_one_of_full_gradients_in_torch(name, loss):
    state, g_S, g_U, _ = problem(name, loss)
    state = replace(state, options=LookAheadOptions("greedy"))
    total, order = g_S.sum(0), list[int]()
    for _ in range(4):
        gains = (g_U**2).sum(1) + 2 * g_U @ total
        gains[order] = -np.inf
        order.append(int(gains.argmax()))
        total = total + g_U[order[-1]]
    selection = validated_query(get_strategy("dynamical"), state, 4)
    np.testing.assert_array_equal(selection.indices, state.candidates[order])


@pytest.mark.parametrize(("name", "loss"), SMALL)
def test_sequential_takes_the_true_answers_in(name, loss):
    state, g_S, g_U, g_of = problem(name, loss)
    state = replace(state, options=LookAheadOptions("sequential"))
    query, left, G = ValidatedSequentialQuery(get_strategy("dynamical"), state), list(range(U)), g_S.sum(0)
    for step in range(4):
        gains = (g_U[left] ** 2).sum(1) + 2 * g_U[left] @ G
        ranked = np.array(left)[np.argsort(-gains)]
        forked = query.fork().choose(1)
        [sample], [score] = query.choose(1)
        assert forked == ([sample], [score])
        assert sample == state.candidates[ranked[0]]
        assert score == pytest.approx(gains.max(), rel=1e-6)
        assert query.following == state.candidates[ranked[1:5]].tolist()
        left.remove(ranked[0])
        if step == 2:  # nobody knows what it shows
            query.leave_out(sample)
        else:
            query.observe(sample, step % C)
            G = G + g_of(sample, step % C)
    assert not state.dynamics.added.any()


@pytest.mark.parametrize(("name", "loss"), SMALL)
def test_greedy_queries_of_a_cycle_take_the_true_answers_in_between(name, loss):
    state, g_S, g_U, g_of = problem(name, loss)
    state = replace(state, options=LookAheadOptions("greedy"))
    query, left, G = ValidatedSequentialQuery(get_strategy("dynamical"), state), list(range(U)), g_S.sum(0)
    for answer in (0, 1):
        imagined, order = G, list[int]()
        for _ in range(2):
            rest = [u for u in left if u not in order]
            gains = (g_U[rest] ** 2).sum(1) + 2 * g_U[rest] @ imagined
            order.append(rest[int(gains.argmax())])
            imagined = imagined + g_U[order[-1]]
        assert query.choose(2)[0] == state.candidates[order].tolist()
        for u in order:
            query.observe(int(state.candidates[u]), answer)
            left.remove(u)
            G = G + g_of(int(state.candidates[u]), answer)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"query.strategy": "dynamical"}, (4,)),
        ({"query.strategy": "dynamical-greedy", "query.retrain_every": 9}, (4, 4, 1)),
        ({"query.strategy": "dynamical-sequential"}, (1, 1, 1, 1)),
        ({"query.strategy": "dynamical-0", "query.mode": "sequential"}, (4,)),  # says so of no other strategy either
    ],
    ids=str,
)
def test_how_many_are_asked_at_once(options, expected):
    query = load_config(options={"query.size": 4, **options}).query
    assert query_sizes(query.resolved.strategy, query) == expected


@pytest.mark.parametrize("name", ["dynamical-0-greedy", "dynamical-inf-sequential"])
def test_other_gammas_have_no_modes(name):
    with pytest.raises(PipelineError, match="expected one of .*dynamical"):
        resolve(name)


def test_all_are_listed():
    strategies = installed_strategies()[0]
    for name, gamma in GAMMAS.items():
        assert strategies[name].gamma == gamma
        assert strategies[name].needs_port
        assert not strategies[name].needs_kernel


RUN = {"query__strategy": "dynamical", "train__loss": "cross-entropy", "start": "warm", "cycles": 2}


def test_a_run_scores_the_whole_pool_and_computes_no_kernel(start, go_on, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a kernel was computed")

    monkeypatch.setattr("pipeline.run.stages.trained.LookAhead.fit", refuse)
    monkeypatch.setattr("pipeline.run.context.check_budget", refuse)
    monkeypatch.setattr("linearize.gradients.MOST_EXAMPLES", 64)
    path = start(**RUN, query__subset=1_000_000)
    recorder = go_on(path)
    assert [row.n_labelled for row in recorder.rows] == [12, 16]
    scores = read_scores(path / "cycles/000/score")
    pool = len(scores.candidates)
    assert pool == len(np.unique(scores.candidates)) > 1000
    asked = [event["ids"] for event in read_events(path) if event["event"] == "query" and event["cycle"] == 0]
    assert asked == [scores.candidates[np.argsort(-scores.scores, kind="stable")[:4]].tolist()]
    figures = json.loads((path / "cycles/000/score/diagnostics.json").read_text())
    assert figures["candidates"] == pool
    assert figures["gradient_norm"] > 0
    assert figures["dynamics_share"] > 0
    assert "condition_number" not in figures


@pytest.mark.parametrize("mode", ["greedy", "sequential"])
def test_a_run_asks_in_a_mode_and_its_scores_can_be_computed_again(start, go_on, tmp_path, mode):
    path = start(**RUN | {"query__strategy": f"dynamical-{mode}", "cycles": 2})
    go_on(path)
    queries = [e for e in read_events(path) if e["event"] == "query" and e["cycle"] == 0]
    asked = [sample for event in queries for sample in event["ids"]]
    assert len(asked) == len(set(asked)) == 4
    assert len(queries) == (1 if mode == "greedy" else 4)
    (tmp_path / "again").mkdir()
    assert rerun(path, "score", 0, tmp_path / "again").same


def test_outputs_of_a_large_pool_are_computed_in_portions():
    seen = []

    def evaluate(ids):
        seen.append(len(ids))
        return np.stack([ids, -ids], axis=1)

    ids = np.arange(2 * CHUNK + 5)
    state = QueryState(ids, Labelled(ids[:0], ids[:0]), 2, "l2", None, lambda ids: ids, evaluate, None, None)
    np.testing.assert_array_equal(state.outputs, np.stack([ids, -ids], axis=1))
    assert seen == [CHUNK, CHUNK, 5]


def test_a_converged_network_is_warned_of():
    sound = {"candidates": 9, "score_mean": 1.0, "score_spread": 0.3, "gradient_norm": 0.5, "dynamics_share": 0.4}
    assert list(cautions(sound)) == []
    [line] = cautions(sound | {"dynamics_share": SETTLED / 2})
    assert "converged" in line
    assert "dynamical-0" in line
    assert "\n" not in line
    assert list(cautions({name: sound[name] for name in sound if name != "dynamics_share"})) == []  # of gradient length


def test_without_a_port_it_says_what_to_do():
    state = QueryState(np.arange(3), Labelled(np.arange(3, 5), np.zeros(2, int)), 2, "l2", None, *[None] * 4)
    with pytest.raises(RunFailedError, match="there is no port of the network to differentiate"):
        validated_query(get_strategy("dynamical"), state, 1)
