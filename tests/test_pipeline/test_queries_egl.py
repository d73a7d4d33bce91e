"""Expected gradient length, of the last layer and of all: by hand, and against gradients made one by one by torch."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from given_state import FIRST, given_state
from torch import nn
from torch.func import functional_call, grad, vmap

import cases
from common.losses import LOSSES, get_loss
from linearize import KernelOptions, LossGradients
from pipeline.errors import PipelineError
from pipeline.queries import egl, get_strategy, validated_query
from pipeline.queries.egl import expected_length

# p = (.7, .2, .1): ‖p - e_c‖² = 0.14, 1.14 and 1.34, so 0.7 · 0.3742 + 0.2 · 1.0677 + 0.1 · 1.1576 = 0.5912, times
# ‖h‖ = 1.  Squared it would be (1 - 0.54) ‖h‖² = 0.46.
P = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.34, 0.33, 0.33]])
H = np.array([[1.0, 0], [2, 1], [1, 1]])
LENGTHS = [0.5912159511, 1.8027130554, 1.1546135045]


def test_the_last_layer_by_hand():
    selection = validated_query(get_strategy("egl-last"), given_state(H, outputs=np.log(P)), 3)
    assert selection.indices.tolist() == [FIRST + 1, FIRST + 2, FIRST]
    np.testing.assert_allclose(selection.candidate_scores, LENGTHS, atol=1e-9)


def test_a_block_by_hand():
    # K = diag(4, 1), p = (.8, .2): r = ±(.2, -.2) and ±(.8, -.8): ‖·‖ = √(.04 · 5) and √(.64 · 5).
    K = np.diag([4.0, 1])[None]
    expected = 0.8 * np.sqrt(0.2) + 0.2 * np.sqrt(3.2)
    assert expected_length(np.log([[0.8, 0.2]]), K, "cross-entropy") == pytest.approx([expected])
    # l2: f = p, and the same residuals.
    assert expected_length(np.array([[0.8, 0.2]]), K, "l2") == pytest.approx([expected])


def test_the_squared_form_is_the_trace_with_the_outputs_information():
    p = np.array([0.5, 0.3, 0.2])
    K = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 1.5]])
    squared = sum(p[c] * (p - np.eye(3)[c]) @ K @ (p - np.eye(3)[c]) for c in range(3))
    assert squared == pytest.approx(np.trace(K @ (np.diag(p) - np.outer(p, p))))
    assert expected_length(np.log(p)[None], K[None], "cross-entropy")[0] < np.sqrt(squared)  # Jensen


def torch_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def in_jax(variables, x):
    p = variables["params"]
    hidden = jnp.tanh(x @ p["W1"].T + p["b1"][None])
    return hidden @ p["W2"].T + p["b2"][None]


def state_of(apply_fn, variables, pool, features, *, loss="cross-entropy", options=None, progress=None):
    """A state whose inputs are a pool, and whose network is one in JAX."""
    outputs = np.asarray(apply_fn(variables, pool), float)
    state = given_state(features, outputs=outputs, loss=loss, progress=progress)
    rows = {row.tobytes(): number for number, row in enumerate(pool)}
    return replace(
        state,
        inputs=lambda ids: pool[ids - FIRST],
        evaluate=lambda x: np.asarray(apply_fn(variables, x), float),
        embed=lambda x: (np.asarray(features)[[rows[row.tobytes()] for row in x]], None),
        differentiate=lambda: LossGradients.of(apply_fn, variables, loss, options),
    )


def gradients(model, loss, x, names):
    """‖∇ℓ(x, c)‖ for every sample and label ``[U, C]``, by per-sample gradients."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def value(chosen, x, y):
        return LOSSES[loss].value(functional_call(model, {**parameters, **chosen}, (x[None],)), y[None])

    chosen = {name: parameters[name] for name in names}
    lengths = []
    for c in range(3):
        y = torch.eye(3, dtype=torch.float64)[torch.full((len(x),), c)]
        found = vmap(grad(value), in_dims=(None, 0, 0))(chosen, torch.from_numpy(x), y)
        lengths.append(sum((g.flatten(1) ** 2).sum(1) for g in found.values()).sqrt().numpy())
    return np.array(lengths).T


def expected(model, loss, x, names):
    with torch.no_grad():
        f = model(torch.from_numpy(x)).numpy()
    score = (get_loss(loss).probabilities.of(f) * gradients(model, loss, x, names)).sum(1)
    return score * (1.5 if loss == "l2" else 1)  # its gradient by the outputs is 2/C (f - y)


@pytest.mark.parametrize("loss", LOSSES)
def test_all_layers_by_gradients_of_every_label_in_portions(loss, monkeypatch):
    model, rng = torch_network(), np.random.default_rng(0)
    pool = rng.normal(size=(12, 5))
    W1, b1, W2, b2 = (parameter.detach().numpy() for parameter in model.parameters())
    variables = {"params": {"W1": W1, "b1": b1, "W2": W2, "b2": b2}}
    names = [name for name, _ in model.named_parameters()]

    monkeypatch.setattr(egl, "PORTION", 5)
    told = []
    features = np.tanh(pool @ W1.T + b1)
    state = state_of(in_jax, variables, pool, features, loss=loss, progress=lambda *done: told.append(done))
    scores = get_strategy("egl").query(state, 5).candidate_scores
    np.testing.assert_allclose(scores, expected(model, loss, pool, names), rtol=1e-4)
    assert told == sorted(told)
    assert told[-1] == (12, 12)
    last = get_strategy("egl-last").query(state, 5).candidate_scores
    np.testing.assert_allclose(last, expected(model, loss, pool, ["2.weight"]), rtol=1e-4)


def test_the_runs_layers_are_the_gradients():
    model, rng = torch_network(), np.random.default_rng(0)
    pool = rng.normal(size=(12, 5))
    weights = (parameter.detach().numpy() for parameter in model.parameters())
    variables = {"params": dict(zip(("W1", "b1", "W2", "b2"), weights, strict=True))}
    options = KernelOptions(layers="last")
    state = state_of(in_jax, variables, pool, pool, loss="l2", options=options)
    scores = get_strategy("egl").query(state, 5).candidate_scores
    np.testing.assert_allclose(scores, expected(model, "l2", pool, ["2.weight", "2.bias"]), rtol=1e-4)


def test_it_needs_no_kernel():
    assert not get_strategy("egl").needs_kernel


@pytest.mark.parametrize("name", ["egl", "egl-last"])
def test_copies_have_the_same_score_and_the_order_of_candidates_does_not_matter(name):
    apply_fn, variables = cases.tiny_conv_net(classes=3, dtype=np.float32)
    x = cases.images(0, 18, np.float32)
    x[7] = x[6]
    scores = []
    for pool in (x[6:], x[:5:-1]):
        state = state_of(apply_fn, variables, pool, pool.reshape(12, -1))
        scores.append(get_strategy(name).query(state, 3).candidate_scores)
        with pytest.raises(PipelineError, match="expected 1 to 12"):
            get_strategy(name).query(state, 13)
    assert scores[0][0] == pytest.approx(scores[0][1], rel=1e-5)
    np.testing.assert_allclose(scores[1][::-1], scores[0], rtol=1e-5)
