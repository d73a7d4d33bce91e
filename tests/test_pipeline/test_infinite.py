"""Twins of the project's networks; look-ahead on a given kernel by hand and by eq. 11; refusals before a run begins."""

import dataclasses
import json

import numpy as np
import pytest
from peers import needs_neural_tangents
from torch import nn

import cases
from common.losses import CROSS_ENTROPY
from linearize import Kernel, KernelOptions, Measure
from linearize.infinite import infinite_ntk
from linearize.infinite_twin import Conv, Dense, Flatten, GlobalAverage, Relu, Residual
from pipeline import infinite
from pipeline.errors import PipelineError
from pipeline.infinite import InfiniteKernel, check_affordable, kernel_maker, twin_of
from pipeline.queries import LookAheadOptions, QueryState, get_strategy, validated_query
from pipeline.run.context import open_context
from pipeline.run.pool import Labelled
from reference import naive_softmax
from trainer.models import MODELS, ModelSpec, build

SPECS = [
    ModelSpec("mlp", (1, 8, 8), 10, {"depth": 3}),
    ModelSpec("cnn", (1, 8, 8), 10),
    ModelSpec("cnn", (1, 28, 28), 10, {"batch_norm": True}),
    ModelSpec("resnet18", (3, 9, 9), 5, {"width": 4}),
    ModelSpec("wide_resnet", (1, 8, 8), 10),
    ModelSpec("wide_resnet", (1, 8, 8), 10, {"block_groups": 3, "stem_stride": 1, "stem_width": 8}),
    ModelSpec("wide_resnet", (1, 8, 8), 10, {"block_groups": 2, "max_width": 32, "stem_width": 16}),
    ModelSpec("wide_resnet", (1, 8, 8), 10, {"leaky_slope": 0.1, "dropout": 0.5}),
    ModelSpec("cnn_gap", (3, 7, 8), 10),
    ModelSpec("convnet", (1, 8, 8), 10, {"depth": 3, "width": 4}),
]
POOLED = {"tutorial_cnn", "vgg11"}
"""Families with max pooling."""
TWINLESS = {"linear", *POOLED}


def layers_of(twin_layers):
    for layer in twin_layers:
        if isinstance(layer, Residual):
            yield from layers_of(layer.branch)
            yield from layers_of(layer.shortcut)
        else:
            yield layer


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{len(spec.options)}-{spec.input_shape[1]}")
def test_a_twin_has_the_layers_of_its_network_with_their_kernels_and_strides(spec):
    model, twin = build(spec, 0), twin_of(spec)
    mine = [(layer.kernel, layer.stride) for layer in layers_of(twin.layers) if isinstance(layer, Conv)]
    theirs = [(m.kernel_size[0], m.stride[0]) for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sorted(mine) == sorted(theirs)
    dense = [layer for layer in twin.layers if isinstance(layer, Dense)]
    assert len(dense) == sum(isinstance(m, nn.Linear) for m in model.modules())
    assert [layer.gain == 1 for layer in dense] == [False] * (len(dense) - 1) + [True]
    assert (Flatten() in twin.layers) == any(isinstance(m, nn.Flatten) for m in model.modules())
    assert (GlobalAverage() in twin.layers) != (Flatten() in twin.layers)
    assert ("without batch norm" in twin.unlike) == any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    slopes = {m.negative_slope if isinstance(m, nn.LeakyReLU) else 0.0 for m in model.modules() if is_relu(m)}
    assert {layer.slope for layer in layers_of(twin.layers) if isinstance(layer, Relu)} == slopes
    assert not any(isinstance(m, nn.MaxPool2d) for m in model.modules())


def is_relu(module):
    return isinstance(module, nn.ReLU | nn.LeakyReLU)


def test_relus_stand_where_the_network_has_them():
    block = Residual((Conv(), Relu(), Conv()), (Conv(1),))
    plain = Residual((Relu(), Conv(), Relu(), Conv()))
    wide = twin_of(ModelSpec("wide_resnet", (1, 8, 8), 10)).layers
    assert wide == (Conv(3, 2), Relu(), block, plain, Relu(), GlobalAverage(), Dense(1.0))
    halving = Residual((Conv(3, 2), Relu(), Conv()), (Conv(1, 2),))
    deep = twin_of(ModelSpec("resnet18", (1, 8, 8), 10))
    assert deep.layers == (Conv(), plain, plain, *(Relu(), halving, plain) * 3, Relu(), GlobalAverage(), Dense(1.0))
    assert deep.unlike == "without batch norm, pre-activated"


@needs_neural_tangents
@pytest.mark.parametrize("name", sorted(set(MODELS) - TWINLESS))
def test_the_kernel_of_every_family_with_a_twin_is_known(name):
    shape = (1, 3, 4)
    x = np.random.default_rng(0).normal(size=(3, *shape))
    theta = infinite_ntk(twin_of(ModelSpec(name, shape, 10)), x)
    assert np.linalg.eigvalsh(theta)[0] > 0


def test_every_family_without_max_pooling_has_a_twin_and_a_network_of_ones_own_has_none():
    assert {spec.name for spec in SPECS} == set(MODELS) - TWINLESS
    with pytest.raises(PipelineError, match="known of mlp, cnn, .*, and my_net:build has no twin: choose one of them"):
        twin_of(ModelSpec("my_net:build", (1, 8, 8), 10))


@pytest.mark.parametrize("name", [*sorted(POOLED), "resnet18"])
def test_max_pooling_has_no_twin_and_is_refused_before_a_run(name, tiny):
    from pipeline.config import load_config

    options = {"imagenet_stem": True, "width": 2} if name == "resnet18" else {}
    model = build(ModelSpec(name, (1, 8, 8), 10, options), 0)
    assert any(isinstance(m, nn.MaxPool2d) for m in model.modules())
    given = {**tiny, "query.strategy": "infinite", "model.name": name, "model.options": options}
    with pytest.raises(PipelineError, match=f"known of mlp, .*, and {name}.* has no twin: choose one of them"):
        open_context(load_config(options=given))


class Problem:
    """A given kernel over labelled ∪ candidates, and given outputs."""

    def __init__(self, L=6, U=9, C=3, seed=2):
        self.L, self.U, self.C = L, U, C
        self.theta, self.f, self.Y = cases.random_regression(seed, L, U, C)

    def state(self, ridge=0.0, loss="l2", **options):
        L, theta = self.L, self.theta
        return QueryState(
            candidates=np.arange(L, L + self.U),
            labelled=Labelled(np.arange(L), self.Y.argmax(1)),
            num_classes=self.C,
            loss=loss,
            rng=np.random.default_rng(0),
            inputs=lambda ids: ids,
            evaluate=lambda ids: self.f[ids],
            embed=None,
            linearize=None,
            options=LookAheadOptions(**options),
            infinite=lambda X, pool: InfiniteKernel(
                Kernel(theta[np.ix_(X, X)], theta[np.ix_(X, pool)], theta[np.ix_(pool, pool)]), ridge, 1.5, 7
            ),
        )

    def trained(self, f, known, targets, lam):
        """Eq. 11 on the candidates, solved from scratch."""
        K = self.theta[np.ix_(known, known)] + lam * np.eye(len(known))
        return f[self.L :] + self.theta[self.L :, known] @ np.linalg.solve(K, targets - f[known])

    def change(self, f, before, likely, lam):
        """Σ_x ‖f⁺(x) - before(x)‖ for every candidate with its likeliest label."""
        known, totals = list(range(self.L)), []
        for at, label in enumerate(likely):
            targets = np.vstack([self.Y, np.eye(self.C)[label]])
            after = self.trained(f, [*known, self.L + at], targets, lam)
            totals.append(np.linalg.norm(after - before, axis=1).sum())
        return totals


@pytest.mark.parametrize("reference", [None, "network", "linearized"])
def test_infinite_is_eq_11_and_13_with_the_given_kernel_and_the_networks_outputs(reference):
    problem = Problem()
    selection = validated_query(get_strategy("infinite"), problem.state(measure=Measure(reference)), 4)
    f, lam = problem.f, 0.0
    trained = problem.trained(f, list(range(problem.L)), problem.Y, lam)
    before = trained if reference == "linearized" else f[problem.L :]
    expected = problem.change(f, before, f[problem.L :].argmax(1), lam)
    np.testing.assert_allclose(selection.candidate_scores, expected, rtol=1e-8)
    common = np.linalg.norm(trained - f[problem.L :], axis=1).sum()  # what every candidate's score contains
    own = np.mean(problem.change(f, trained, f[problem.L :].argmax(1), lam))
    share = 0 if reference == "linearized" else common / (common + own)
    assert selection.figures["common_share"] == pytest.approx(share)
    assert selection.figures["infinite_width"] == 1
    R = problem.Y - f[: problem.L]
    assert selection.figures["residual_norm"] == pytest.approx(np.linalg.norm(R))
    K = problem.theta[: problem.L, : problem.L]
    assert selection.figures["condition_number"] == pytest.approx(np.linalg.cond(K), rel=1e-6)
    assert selection.figures["kernel_seconds"] == 1.5
    assert selection.figures["kernel_bytes"] == 7


def test_with_cross_entropy_labels_pull_by_what_probabilities_lack_of_them():
    problem = Problem()
    selection = validated_query(get_strategy("infinite"), problem.state(loss="cross-entropy"), 4)
    f, L, known = problem.f, problem.L, list(range(problem.L))
    p = naive_softmax(f)
    step = CROSS_ENTROPY.calibrated(f[:L], problem.Y).scale
    wanted = f[:L] + step * (problem.Y - p[:L])
    trained, expected = problem.trained(f, known, wanted, 0.0), []
    for at, label in enumerate(f[L:].argmax(1)):
        y = trained[at] + step * (np.eye(problem.C)[label] - naive_softmax(trained[[at]])[0])
        after = problem.trained(f, [*known, L + at], np.vstack([wanted, y]), 0.0)
        expected.append(np.linalg.norm(after - f[L:], axis=1).sum())
    np.testing.assert_allclose(selection.candidate_scores, expected, rtol=1e-8)
    assert selection.figures["residual_norm"] == pytest.approx(np.linalg.norm(problem.Y - p[:L]))


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
@pytest.mark.parametrize("reference", [None, "network", "linearized"])
def test_gp_is_a_dense_process_that_never_sees_the_network(reference, loss):
    problem = Problem()
    state = problem.state(ridge=1e-2, loss=loss, measure=Measure(reference))
    selection = validated_query(get_strategy("gp"), dataclasses.replace(state, evaluate=None), 4)
    f = np.zeros_like(problem.f)
    lam = 1e-2 * np.diag(problem.theta)[: problem.L].mean()
    mean = problem.trained(f, list(range(problem.L)), problem.Y, lam)
    np.testing.assert_allclose(selection.candidate_scores, problem.change(f, mean, mean.argmax(1), lam), rtol=1e-8)
    assert selection.figures["common_share"] == 0  # a process has no training to finish
    assert selection.figures["ridge"] == pytest.approx(lam)
    assert "residual_norm" not in selection.figures


def test_distance_is_measured_where_the_run_says():
    problem = Problem()
    outputs, simplex = (
        validated_query(get_strategy("gp"), problem.state(measure=Measure(distance=distance)), 4).candidate_scores
        for distance in ("outputs", "simplex")
    )
    assert not np.allclose(outputs, simplex)


def test_missing_twins_are_refused_before_a_run(tiny, start, monkeypatch):
    def missing(*_, **__):
        raise infinite.LinearizeError("neural-tangents is not installed: pip install --no-deps neural-tangents")

    from pipeline.config import load_config

    monkeypatch.setattr(infinite, "plan_infinite", missing)
    for strategy in ("infinite", "gp"):
        with pytest.raises(PipelineError, match="not installed: pip install --no-deps"):
            open_context(load_config(options={**tiny, "query.strategy": strategy}))
    open_context(load_config(options={**tiny, "query.strategy": "gp", "cycles": 1}))  # which asks for no query


def test_a_run_keeps_what_the_kernel_took(start, go_on, monkeypatch):
    """The whole loop with another kernel in the place of neural-tangents'."""

    def kernel(twin, X, pool, *, memory_budget, progress, on_plan):
        x = np.concatenate([X, pool]).reshape(len(X) + len(pool), -1).astype(float)
        on_plan(infinite.InfinitePlan((len(x), len(x)), True, (4, 4), 100, 1234, 1e9, False))
        progress(1, 1)
        theta, L = np.exp(-((x[:, None] - x) ** 2).sum(2) / 64), len(X)
        return Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:])

    monkeypatch.setattr(infinite, "infinite_kernel", kernel)
    monkeypatch.setattr(infinite, "plan_infinite", lambda *_, **__: None)
    run = start(query__strategy="gp", cycles=2)
    assert len(go_on(run).rows) == 2
    figures = json.loads((run / "cycles" / "000" / "score" / "diagnostics.json").read_text())
    assert figures["kernel_bytes"] == 1234
    assert figures["kernel_seconds"] >= 0
    assert figures["condition_number"] > 1
    assert figures["ridge"] > 0


@pytest.mark.usefixtures("without_neural_tangents")
def test_without_neural_tangents_it_is_named():
    with pytest.raises(PipelineError, match="pip install --no-deps neural-tangents"):
        check_affordable(ModelSpec("cnn", (1, 8, 8), 10), KernelOptions(), 20, 30)


@needs_neural_tangents
def test_with_neural_tangents_the_kernel_is_made_and_too_large_ones_are_refused():
    spec, said = ModelSpec("wide_resnet", (1, 4, 4), 10), []

    class Progress:
        def __call__(self, done, total):
            said.append((done, total))

        def plan(self, text):
            said.append(text)

    x = np.random.default_rng(0).normal(size=(7, 1, 4, 4)).astype(np.float32)
    kernel = kernel_maker(spec, KernelOptions(ridge=0.5), Progress())(x[:3], x[3:])
    assert kernel.blocks.XU.shape == (3, 4)
    assert kernel.ridge == 0.5
    assert said[0].endswith("; twin of wide_resnet, without batch norm")
    assert said[-1] == (1, 1)
    with pytest.raises(PipelineError, match="the memory budget is 1 MiB: raise it"):
        check_affordable(spec, KernelOptions(memory_budget="1MiB"), 200, 300)
