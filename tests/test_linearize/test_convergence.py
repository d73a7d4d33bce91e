"""Convergence rate control: the scores by hand, and its kernels against gradients of every output by torch."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.linalg import eigvalsh
from torch import nn

from linearize import Examples, KernelOptions, LossGradients, NonFiniteError
from linearize.convergence import kernel_conditioning, last_layer_conditioning

# Three classes, no bias: K̃ = 3 h·h'.  One labelled point (2, 0), which alone has 12.
#   a copy           [[12, 12], [12, 12]]          0 and 24
#   orthogonal       diag(12, 3)                   3 and 12
#   near, (2, .2)    [[12, 12], [12, 12.12]]       12.06 ± √(.06² + 144) = 0.0598500009 and 24.0601499991
ONE, THREE = np.array([[2.0, 0]]), np.array([[2.0, 0], [0, 1], [2, 0.2]])


def alone(count):
    return np.arange(count)[:, None]


def test_one_point_by_hand_and_the_published_rule_that_does_not_see_the_copy():
    found = last_layer_conditioning(ONE, THREE, alone(3), 3, bias=False)
    np.testing.assert_allclose(found.scores(), [0, 3, 0.0598500009], atol=1e-9)
    np.testing.assert_allclose(found.scores("positive"), [24, 3, 0.0598500009], atol=1e-9)
    assert (found.index, found.bound, found.labelled) == (2, 2, pytest.approx(12))


def test_two_points_and_groups_of_two_by_hand():
    # K̃/3 of (2,0,0), (0,2,0), (0,0,1), (1,1,1): 0 and the roots of F Fᵀ's cubic; of exact copies 0, 0, 8, 8.
    labelled = np.array([[2.0, 0, 0], [0, 2, 0]])
    pool = np.array([[0, 0, 1], [1, 1, 1], [2, 0.1, 0], [0, 2, 0.1], [2, 0, 0], [0, 2, 0]])
    found = last_layer_conditioning(labelled, pool, np.arange(6).reshape(3, 2), 3, bias=False)
    assert found.index == 3
    np.testing.assert_allclose(found.scores(), [4.6515307717, 0.0149999941, 0], atol=1e-9)
    np.testing.assert_allclose(found.scores("positive"), [4.6515307717, 0.0149999941, 24], atol=1e-9)
    np.testing.assert_allclose(found.bordered.eigenvalue(4), 0, atol=1e-12)
    np.testing.assert_allclose(found.bordered.eigenvalue(1), [19.3484692283, 24.6227342150, 24], atol=1e-9)


def test_distinct_points_need_not_be_independent_by_hand():
    # (1,2,3), (2,4,6), (3,6,9): 14 · (1 + 4 + 9) = 196 and 0, 0, although no two are alike.
    found = last_layer_conditioning(
        np.array([[1.0, 2, 3]]), np.array([[2.0, 4, 6], [3, 6, 9]]), np.array([[0, 1]]), 1, bias=False
    )
    np.testing.assert_allclose([found.bordered.eigenvalue(r)[0] for r in (1, 2, 3)], [196, 0, 0], atol=1e-12)
    assert found.scores()[0] == 0


def test_a_bias_is_one_more_feature_by_hand():
    # (1) and (-1) with a bias: [[2, 0], [0, 2]]; (1) and (3): [[2, 4], [4, 10]], 6 - √32; C = 2.
    found = last_layer_conditioning(np.array([[1.0]]), np.array([[-1.0], [3.0]]), alone(2), 2)
    assert (found.index, found.bound) == (2, 2)
    np.testing.assert_allclose(found.scores(), [4, 2 * (6 - np.sqrt(32))], atol=1e-12)


def test_beyond_the_rank_the_score_is_the_last_eigenvalue_that_can_be_above_zero():
    rng = np.random.default_rng(0)
    labelled, pool = rng.normal(size=(9, 3)), rng.normal(size=(8, 3))
    found = last_layer_conditioning(labelled, pool, np.arange(8).reshape(4, 2), 2, bias=False)
    assert found.index == 3
    for group, score in zip(np.arange(8).reshape(4, 2), found.scores(), strict=True):
        F = np.vstack([labelled, pool[group]])
        assert score == pytest.approx(2 * eigvalsh(F.T @ F)[0], rel=1e-12)
    assert (found.scores() >= found.labelled - 1e-12).all()  # here a group adds to what the labelled know


def test_until_then_no_group_scores_more_than_the_labelled_set():
    rng = np.random.default_rng(1)
    found = last_layer_conditioning(
        rng.normal(size=(6, 40)), rng.normal(size=(30, 40)), np.arange(30).reshape(10, 3), 5
    )
    assert (found.scores() > 0).all()
    assert (found.scores() <= found.labelled).all()
    assert found.floor < found.scores().min()


def test_units_that_have_died_do_not_count():
    rng = np.random.default_rng(2)
    labelled, pool = rng.normal(size=(5, 6)), rng.normal(size=(4, 6))
    labelled[:, 2:] = pool[:, 2:] = 0  # rank 2, and the bias
    found = last_layer_conditioning(labelled, pool, alone(4), 2)
    assert (found.bound, found.index) == (3, 3)
    assert (found.scores() > 0).all()


def test_features_must_be_finite():
    with pytest.raises(NonFiniteError, match="features"):
        last_layer_conditioning(np.array([[np.nan]]), np.ones((1, 1)), alone(1), 2)


def network(x64=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    W1, b1, W2, b2 = (parameter.detach().numpy() for parameter in model.parameters())
    return model, {"params": {"W1": W1, "b1": b1, "W2": W2, "b2": b2}}


def in_jax(variables, x):
    p = variables["params"]
    return jnp.tanh(x @ p["W1"].T + p["b1"][None]) @ p["W2"].T + p["b2"][None]


def trace_kernel(model, x, parameters):
    """Σ_c ∇f_c(x)·∇f_c(x'), one backward pass an output."""
    rows = []
    for one in torch.from_numpy(x):
        outputs = model(one[None])[0]
        rows.append(
            [torch.cat([g.flatten() for g in torch.autograd.grad(f, parameters, retain_graph=True)]) for f in outputs]
        )
    J = torch.stack([torch.stack(row) for row in rows]).numpy()
    return np.einsum("icp,jcp->ij", J, J)


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("portion", [4, 256])
def test_the_kernel_is_that_of_every_outputs_gradients(layers, portion, monkeypatch):
    monkeypatch.setattr("linearize.convergence.PORTION", portion)
    model, variables = network()
    rng = np.random.default_rng(0)
    x, pool = rng.normal(size=(4, 5)), rng.normal(size=(10, 5))
    groups, told = rng.permutation(10).reshape(5, 2), []
    gradients = LossGradients.of(in_jax, variables, "l2", KernelOptions(layers=layers, precision="float64"))
    found = kernel_conditioning(gradients, Examples.of(x), lambda at: pool[at], groups, lambda *far: told.append(far))
    parameters = list(model.parameters())[2 if layers == "last" else 0 :]
    expected = [eigvalsh(trace_kernel(model, np.vstack([x, pool[group]]), parameters))[0] for group in groups]
    np.testing.assert_allclose(found.scores(), expected, rtol=1e-8)
    assert found.bound == (8 if layers == "last" else 8 + 3 * 42)
    assert told[-1] == (10, 10)
    if layers == "last":
        hidden = [np.tanh(np.asarray(v) @ variables["params"]["W1"].T + variables["params"]["b1"]) for v in (x, pool)]
        np.testing.assert_allclose(last_layer_conditioning(*hidden, groups, 3).scores(), expected, rtol=1e-8)


def test_of_a_network_of_one_layer_all_is_the_last_and_rounding_is_known_by_the_precision():
    def linear(variables, x):
        return x @ variables["params"]["W"].T + variables["params"]["b"][None]

    variables = {"params": {"W": np.ones((3, 2), np.float32), "b": np.zeros(3, np.float32)}}
    x, pool = np.eye(2, dtype=np.float32), np.array([[1, 2], [3, -1]], np.float32)
    floors = {}
    for precision in ("float32", "float64"):
        gradients = LossGradients.of(linear, variables, "l2", KernelOptions(precision=precision))
        found = kernel_conditioning(gradients, Examples.of(x), lambda at: pool[at], alone(2))
        assert (found.bound, found.index) == (3, 3)
        np.testing.assert_allclose(found.scores(), last_layer_conditioning(x, pool, alone(2), 3).scores(), rtol=1e-6)
        floors[precision] = found.floor
    assert floors["float64"] < 1e-6 * floors["float32"] < 1e-6 * found.scores().min()
