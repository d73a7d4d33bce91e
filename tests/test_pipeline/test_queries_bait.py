"""BAIT: by hand, and against its objective with explicit matrices."""

import numpy as np
import pytest
from given_state import FIRST, given_state

from pipeline.errors import PipelineError
from pipeline.queries import bait, get_strategy, validated_query
from pipeline.queries.bait import fisher_information, forward_backward

# With p = (½, ½), diag p - p pᵀ has the eigenvalue ½ along (1, -1)/√2 alone, so I(x) is ½ h hᵀ there.  h = (2, 0), its
# copy and (0, √2): ½ h hᵀ = diag(2, 0), diag(2, 0), diag(0, 1) and F = diag(4/3, 1/3).  From M = 1 the trace is 5/3:
#   with the first 4/9 + 1/3 = 7/9, with the third 4/3 + 1/6 = 3/2;
#   then with the copy 4/15 + 1/3 = 0.6, with the third 4/9 + 1/6 = 0.611: BAIT does not forbid copies.
# One is asked for: two are added, and the trace is the same without either; the last goes.
# Two are asked for: three are added, M = diag(5, 2).  Without a copy it is 0.611, without the third 0.6: both
# copies stay.
HALVES = np.full((3, 2), 0.5)
FEATURES = np.array([[2.0, 0], [2, 0], [0, np.sqrt(2)]])


@pytest.mark.parametrize(("n", "chosen"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2])])
def test_forward_and_backward_by_hand(n, chosen):
    assert forward_backward(fisher_information(HALVES, FEATURES, pool=3), 3, n).tolist() == chosen


def explicit(p, h):
    """I(x) from the definition: the gradients of the loss under every label, and their outer products."""
    C = p.shape[1]
    total = []
    for p_x, h_x in zip(p, h, strict=True):
        gradients = [np.outer(p_x - np.eye(C)[c], h_x).ravel() for c in range(C)]
        total.append(sum(p_x[c] * np.outer(g, g) for c, g in enumerate(gradients)))
    return np.array(total)


def slow(p, h, U, n):
    """The definition: every trace from an inverse of its own."""
    I = explicit(p, h)  # noqa: E741 - the formula's letter
    F, M = I[:U].mean(0), np.eye(I.shape[1]) + (I[U:].mean(0) if len(I) > U else 0)

    def trace(M):
        return np.trace(np.linalg.inv(M) @ F)

    order = []
    while len(order) < min(2 * n, U):
        order.append(min((i for i in range(U) if i not in order), key=lambda i: trace(M + I[i])))
        M = M + I[order[-1]]
    while len(order) > n:
        gone = min(order, key=lambda i: trace(M - I[i]))
        order.remove(gone)
        M = M - I[gone]
    return order


CASES = [(12, 4, 3, 2, 3), (15, 0, 2, 3, 4), (10, 3, 4, 1, 10), (9, 5, 3, 4, 5), (1, 2, 3, 2, 1), (25, 6, 5, 3, 8)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("U", "L", "C", "d", "n"), CASES)
def test_the_objective_by_explicit_matrices(seed, U, L, C, d, n):
    rng = np.random.default_rng(seed)
    p, h = rng.dirichlet(np.ones(C), U + L), 3 * rng.normal(size=(U + L, d))
    fisher = fisher_information(p, h, pool=U)
    np.testing.assert_allclose(fisher.mean(slice(None)), explicit(p, h).mean(0), atol=1e-12)
    assert forward_backward(fisher, U, n).tolist() == slow(p, h, U, n)


def test_changes_of_the_trace_by_explicit_matrices():
    rng = np.random.default_rng(0)
    p, h = rng.dirichlet(np.ones(3), 14), rng.normal(size=(14, 4))
    I, state = explicit(p, h), bait._Trace(fisher_information(p, h, pool=10), 10)  # noqa: E741
    F, M = I[:10].mean(0), np.eye(12) + I[10:].mean(0)
    for row, sign in ((3, 1), (7, 1), (3, 1), (7, -1), (0, 1)):
        state.update(row, sign)
        M = M + sign * I[row]
        now = np.trace(np.linalg.inv(M) @ F)
        assert np.trace(state.inverse @ F) == pytest.approx(now, rel=1e-10)
        added = [now - np.trace(np.linalg.inv(M + I[i]) @ F) for i in range(10)]
        np.testing.assert_allclose(state.changes(np.arange(10), +1), added, rtol=1e-9)
        taken = np.trace(np.linalg.inv(M - I[3]) @ F) - now
        np.testing.assert_allclose(state.changes(np.array([3]), -1), taken, rtol=1e-9)


def test_many_classes_and_wide_features_take_the_largest_part_of_the_information(monkeypatch):
    monkeypatch.setattr(bait, "MOST_CLASSES", 3)
    monkeypatch.setattr(bait, "MOST_WEIGHTS", 6)
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.1, 5, 5, 0.1, 5], 20)
    h = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 9))  # nine features of two directions
    fisher = fisher_information(p, h, pool=15)
    kept = [1, 2, 4]  # of the largest p (1 - p)
    A = np.array([np.diag(row) - np.outer(row, row) for row in p])[:, kept][:, :, kept]
    np.testing.assert_allclose(fisher.A, A, atol=1e-12)
    assert fisher.h.shape == (20, 2)
    np.testing.assert_allclose(fisher.h @ fisher.h.T, h @ h.T, atol=1e-10)  # nothing of them is lost here
    order = forward_backward(fisher, 15, 4)
    monkeypatch.setattr(bait, "MOST_WEIGHTS", 100)
    assert forward_backward(fisher_information(p, h, pool=15), 15, 4).tolist() == order.tolist()


def test_which_candidates_are_asked_for_does_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    p, h = rng.dirichlet(np.ones(3), 20), rng.normal(size=(20, 4))
    shuffled = rng.permutation(20)
    order = forward_backward(fisher_information(p, h, pool=20), 20, 5)
    again = forward_backward(fisher_information(p[shuffled], h[shuffled], pool=20), 20, 5)
    assert shuffled[again].tolist() == order.tolist()


def test_samples_that_are_sure_come_in_their_order():
    fisher = fisher_information(np.eye(3)[[0, 1, 2, 0]], np.ones((4, 2)), pool=4)
    assert forward_backward(fisher, 4, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_the_strategy_takes_the_labelled_into_account(loss):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 26)
    outputs, h = (p if loss == "l2" else np.log(p)), 2 * rng.normal(size=(26, 4))
    state = given_state(h[:20], h[20:], outputs=outputs[:20], labelled_outputs=outputs[20:], loss=loss)
    asked = validated_query(get_strategy("bait"), state, 5).indices - FIRST
    assert asked.tolist() == slow(p, h, 20, 5)
    with pytest.raises(PipelineError, match="expected 1 to 20"):
        get_strategy("bait").query(state, 21)
