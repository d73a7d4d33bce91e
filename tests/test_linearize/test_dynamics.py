"""Sums, norms and inner products of loss gradients, and what dynamicAL makes of them, against dense Jacobians."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import layers
import numpy as np
import pytest
from against_jacobian import few
from hypothesis import given
from hypothesis import strategies as st

import reference
from linearize import Dynamics, Examples, KernelOptions, LinearizeError, LossGradients, NonFiniteError
from linearize.dynamics import approximation_ratio, change
from linearize.engine import compute
from linearize.gradients import _portion, squared_norm
from linearize.heads import Full
from linearize.kernel import tape_of

pytestmark = pytest.mark.usefixtures("quick_compilation")
C, L, U = 3, 5, 11
NAMES = ["conv2d_plain", "unused", "used_twice", "bias_at_two_sites", "dense_of_everything"]
LOSSES = ["l2", "cross-entropy"]


def linear(variables, x):
    """f = W x."""
    return x @ variables["params"]["W"].T


# Worked by hand, and by NumPy alone: f = Wx with three classes, two labelled samples and three candidates.
W = np.array([[1.0, 0], [0, 1], [-1, 1]])
S, LABELS = np.array([[1.0, 2], [2, -1]]), np.array([1, 0])
POOL = np.array([[1.0, 1], [0, 3], [-2, 0]])
G = [[0.1049398027, 0.4773839927], [-0.3296362822, -0.8948896470], [0.2246964795, 0.4175056543]]
SCORES = {
    0.0: ([1.0724124293, 4.5079643324, 0.1270099198], [1, 0, 2]),
    1.0: ([0.3186486676, 6.5287353736, 0.2608705181], [1, 0, 2]),
    2.0: ([-0.4351150942, 8.5495064149, 0.3947311165], [1, 2, 0]),
    np.inf: ([-0.7537637617, 2.0207710412, 0.1338605983], [1, 2, 0]),
}


def by_hand(labelled=S, labels=LABELS, pool=POOL):
    gradients = LossGradients.of(linear, {"params": {"W": W}}, "cross-entropy", KernelOptions(precision="float64"))
    return gradients, Dynamics.fit(gradients, Examples.of(labelled), labels, Examples.of(pool))


def test_the_linear_model_by_hand():
    gradients, dynamics = by_hand()
    total = gradients.total(Examples.of(S), LABELS)
    np.testing.assert_allclose(total["W"], G, atol=1e-10)
    assert dynamics.norm**2 == pytest.approx(1.3731948768, abs=1e-10)
    assert dynamics.candidates.labels.tolist() == [0, 1, 2]  # two ties: the first of equals
    for gamma, (scores, order) in SCORES.items():
        np.testing.assert_allclose(dynamics.scores(gamma), scores, atol=1e-9)
        assert np.argsort(-dynamics.scores(gamma)).tolist() == order


def test_training_dynamics_by_the_kernel_by_hand():
    """Eq. 8: G(S) = Σ_ij d_iᵀ K_ij d_j, here with K_ij(x, x') = [i = j] x·x'; a score of γ = 2 is its change."""

    def dynamics_of(x, y):
        d = reference.naive_softmax(x @ W.T) - np.eye(C)[y]
        return sum(d[:, i] @ (x @ x.T) @ d[:, i] for i in range(C))

    _, dynamics = by_hand()
    assert dynamics_of(S, LABELS) == pytest.approx(dynamics.norm**2, rel=1e-12)
    for u, label in enumerate(dynamics.candidates.labels):
        grown = dynamics_of(np.vstack([S, POOL[[u]]]), np.append(LABELS, label))
        assert grown - dynamics_of(S, LABELS) == pytest.approx(dynamics.scores()[u], abs=1e-12)


@pytest.mark.parametrize(
    ("Q", "together", "ratio"), [([0, 1], 7.1872409800, 1.1289994788), ([0, 1, 2], None, 1.1340571863)]
)
def test_approximation_ratio_by_hand(Q, together, ratio):
    gradients, dynamics = by_hand()
    batch = dynamics.candidates.products[Q], gradients.gram(POOL[Q])
    if together:
        assert change(*batch) == pytest.approx(together, abs=1e-9)
        assert dynamics.scores()[Q].sum() == pytest.approx(8.1143913207, abs=1e-9)
    assert approximation_ratio(*batch) == pytest.approx(ratio, abs=1e-9)


def test_a_query_of_one_has_the_ratio_one_and_a_batch_that_changes_nothing_none():
    assert approximation_ratio(np.array([0.3]), np.array([[2.0]])) == 1
    assert np.isnan(approximation_ratio(np.array([-1.0]), np.array([[2.0]])))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_change_of_a_batch_is_what_a_labelled_set_with_it_has_more(loss):
    dynamics, g_S, g_U = setting(loss)
    Q, before = [7, 1, 4], (g_S.sum(0) ** 2).sum()
    pairs = dynamics.gradients.gram(problem()[2][L:])[np.ix_(Q, Q)]
    grown = ((g_S.sum(0) + g_U[Q].sum(0)) ** 2).sum() - before
    assert change(dynamics.candidates.products[Q], pairs) == pytest.approx(grown, rel=1e-8)


@pytest.mark.usefixtures("x64")
def test_a_ghost_norm_adds_positions_before_squaring_by_hand():
    """‖Σ_t δ_t a_tᵀ‖² = Σ_tt' (a_t·a_t')(δ_t·δ_t') = 39; products at equal positions alone would make 35."""
    a = np.array([[1.0, 2], [0, 1], [3, -1]])
    delta = np.array([[1.0, -1, 0], [2, 0, 1], [0, 1, 1]])

    def apply_fn(variables, x):
        return (x @ variables["params"]["w"] * delta[None]).sum((1, 2))[:, None]

    variables = {"params": {"w": np.ones((2, 3))}}
    tape = tape_of(apply_fn, variables, a[None], KernelOptions(Full(), precision="float64"))
    for forced in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compute, "by_factors", lambda unit, forced=forced: forced)
            norms = compute.squared_norms(tape, [jnp.ones((2, 3))], [], jnp.asarray(a[None]), jnp.ones((1, 1)))
        assert norms.tolist() == [[39.0]]


@cache
def problem(names=tuple(NAMES)):
    """A network, labelled and pool inputs, their outputs and Jacobians."""
    with jax.enable_x64(True):
        apply_fn, variables = layers.network(list(names), classes=C)
        x = layers.inputs(0, L + U)
        f = np.concatenate([np.asarray(apply_fn(variables, one[None])) for one in x])  # some layers see the batch
        return apply_fn, variables, x, f, reference.jacobian(apply_fn, variables, x)


def naive(loss, f, labels, J):
    """g of every example ``[N, P]``."""
    readout = f if loss == "l2" else reference.naive_softmax(f)
    return np.einsum("nc,ncp->np", readout - np.eye(C)[labels], J)


def setting(loss, names=tuple(NAMES), **options):
    """Dynamics of a random network, and dense gradients of labelled set and candidates."""
    apply_fn, variables, x, f, J = problem(names)
    labels = np.arange(L) % C
    gradients = LossGradients.of(apply_fn, variables, loss, KernelOptions(**{"precision": "float64", **options}))
    dynamics = Dynamics.fit(gradients, Examples.of(x[:L]), labels, Examples.of(x[L:]))
    return dynamics, naive(loss, f[:L], labels, J[:L]), naive(loss, f[L:], f[L:].argmax(1), J[L:])


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch):
    """Portions of four: the last one is filled up."""
    monkeypatch.setattr("linearize.gradients.MOST_EXAMPLES", 4)


@pytest.mark.parametrize("loss", LOSSES)
def test_sums_norms_and_products_equal_those_of_dense_gradients(loss):
    dynamics, g_S, g_U = setting(loss)
    G = g_S.sum(0)
    np.testing.assert_allclose(dynamics.norm, np.linalg.norm(G), rtol=1e-10)
    np.testing.assert_allclose(dynamics.candidates.squared_norms, (g_U**2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(dynamics.candidates.products, g_U @ G, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(dynamics.candidates.labels, problem()[3][L:].argmax(1))
    x, J = problem()[2], problem()[4]
    tree = dynamics.gradients.total(Examples.of(x[:L]), np.arange(L) % C)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    np.testing.assert_allclose(flat, G, rtol=1e-9, atol=1e-11)
    assert squared_norm(tree) == pytest.approx(G @ G, rel=1e-10)
    given = np.arange(U) % C  # any labels, not the network's own
    expected = naive(loss, problem()[3][L:], given, J[L:])
    found = dynamics.gradients.measure(Examples.of(x[L:]), tree, given)
    np.testing.assert_allclose(found.squared_norms, (expected**2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(found.products, expected @ G, rtol=1e-9, atol=1e-11)


@few(4)
@given(st.lists(st.sampled_from(sorted(layers.LAYERS)), min_size=1, max_size=2))
def test_norms_of_any_layers_equal_those_of_dense_gradients(names):
    dynamics, g_S, g_U = setting("cross-entropy", tuple(names))
    np.testing.assert_allclose(dynamics.candidates.squared_norms, (g_U**2).sum(1), rtol=1e-8)
    np.testing.assert_allclose(dynamics.candidates.products, g_U @ g_S.sum(0), rtol=1e-7, atol=1e-9)


def test_either_way_to_a_norm_is_the_same(monkeypatch):
    ways = []
    for forced in (True, False):
        monkeypatch.setattr(compute, "by_factors", lambda unit, forced=forced: forced and unit.factors is not None)
        apply_fn, variables = layers.network(["conv2d_plain"], classes=C)  # another one: nothing is compiled for it yet
        gradients = LossGradients.of(apply_fn, variables, "cross-entropy", KernelOptions(precision="float64"))
        ways.append(gradients.measure(Examples.of(layers.inputs(0, 4)), variables["params"]).squared_norms)
    np.testing.assert_allclose(*ways, rtol=1e-10)


def test_the_last_layer_alone():
    dynamics, g_S, g_U = setting("cross-entropy", layers="last")
    head = problem()[1]["params"]["head"]
    size = sum(np.size(leaf) for leaf in head.values())  # the last of the tree's leaves, as its name sorts
    np.testing.assert_allclose(dynamics.candidates.squared_norms, (g_U[:, -size:] ** 2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(dynamics.norm, np.linalg.norm(g_S[:, -size:].sum(0)), rtol=1e-10)


def test_in_single_precision():
    apply_fn, variables = layers.network(NAMES, classes=C, dtype=np.float32)
    x = problem()[2].astype(np.float32)
    gradients = LossGradients.of(apply_fn, variables, "cross-entropy")
    found = Dynamics.fit(gradients, Examples.of(x[:L]), np.arange(L) % C, Examples.of(x[L:])).scores()
    expected = setting("cross-entropy")[0].scores()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("loss", LOSSES)
def test_the_score_is_what_a_labelled_set_with_it_has_more(loss):
    dynamics, g_S, g_U = setting(loss)
    before = (g_S.sum(0) ** 2).sum()
    grown = [((g_S.sum(0) + g) ** 2).sum() - before for g in g_U]
    np.testing.assert_allclose(dynamics.scores(), grown, rtol=1e-9, atol=1e-10)


def test_the_order_of_large_gamma_is_that_of_infinity():
    dynamics = setting("cross-entropy")[0]
    assert np.argsort(-dynamics.scores(1e9)).tolist() == np.argsort(-dynamics.scores(np.inf)).tolist()


def test_where_nothing_is_left_to_learn_gamma_does_not_matter():
    """l2 with f(S) = Y exactly: G = 0."""
    variables = {"params": {"W": np.eye(2)}}
    gradients = LossGradients.of(linear, variables, "l2", KernelOptions(precision="float64"))
    pool = np.random.default_rng(0).normal(size=(6, 2))
    dynamics = Dynamics.fit(gradients, Examples.of(np.eye(2)), np.array([0, 1]), Examples.of(pool))
    assert dynamics.norm == dynamics.share() == 0
    for gamma in (1.0, 2.0):
        np.testing.assert_array_equal(dynamics.scores(gamma), dynamics.scores(0.0))


def test_a_pool_that_is_learned_has_no_share():
    gradients = LossGradients.of(linear, {"params": {"W": np.eye(2)}}, "l2", KernelOptions(precision="float64"))
    assert Dynamics.fit(gradients, Examples.of(np.eye(2)), np.array([1, 0]), Examples.of(np.eye(2))).share() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_greedy_is_the_best_next_one_by_brute_force(loss):
    dynamics, g_S, g_U = setting(loss)
    chosen, changes = dynamics.greedy(U)
    total, left = g_S.sum(0), list(range(U))
    for u, found in zip(chosen, changes, strict=True):
        gains = [((total + g_U[v]) ** 2).sum() - (total**2).sum() for v in left]
        assert left[int(np.argmax(gains))] == u
        assert found == pytest.approx(max(gains), rel=1e-8, abs=1e-9)
        total = total + g_U[u]
        left.remove(u)
    assert not dynamics.added.any()  # what it was asked of stays what it is


@pytest.mark.parametrize("label", range(C))
def test_an_answer_is_what_a_labelled_set_with_it_gives(label):
    dynamics = setting("cross-entropy")[0]
    x = problem()[2]
    labels = np.append(np.arange(L) % C, label)
    afresh = Dynamics.fit(dynamics.gradients, Examples.of(x[[*range(L), L + 4]]), labels, dynamics.pool)
    after = dynamics.add(4, label)
    np.testing.assert_allclose(after.scores(), afresh.scores(), rtol=1e-9, atol=1e-10)
    assert after.added.tolist() == [u == 4 for u in range(U)]


def test_copies_score_alike_and_the_first_is_chosen():
    pool = np.vstack([POOL, POOL])
    _, dynamics = by_hand(pool=pool)
    np.testing.assert_array_equal(dynamics.scores()[:3], dynamics.scores()[3:])
    chosen, _ = dynamics.greedy(6)
    assert chosen[0] == 1
    assert sorted(chosen) == list(range(6))


def test_the_order_of_the_pool_does_not_matter():
    order = np.array([2, 0, 1])
    np.testing.assert_array_equal(by_hand(pool=POOL[order])[1].scores(), by_hand()[1].scores()[order])


def test_inputs_are_fetched_in_portions_and_give_the_same_bits():
    dynamics, *_ = setting("cross-entropy")
    x, fetched, told = problem()[2], [], []

    def fetch(rows):
        fetched.append(rows.tolist())
        return x[L:][rows]

    labelled = Examples.of(x[:L])
    streamed = Dynamics.fit(
        dynamics.gradients, labelled, np.arange(L) % C, Examples(U, fetch), lambda *seen: told.append(seen)
    )
    np.testing.assert_array_equal(streamed.scores(), dynamics.scores())
    assert fetched == [[0], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]  # the first to see what an input is
    assert told == [(4, U), (8, U), (11, U)]


def test_other_portions_give_the_same_up_to_rounding(monkeypatch):
    expected = setting("cross-entropy")[0].scores()
    for most in (1, 2, 16):
        monkeypatch.setattr("linearize.gradients.MOST_EXAMPLES", most)
        np.testing.assert_allclose(setting("cross-entropy")[0].scores(), expected, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_a_portion_keeps_the_memory_budget(monkeypatch):
    monkeypatch.setattr("linearize.gradients.MOST_EXAMPLES", 256)
    apply_fn, variables, x, *_ = problem()
    tape = tape_of(apply_fn, variables, x, KernelOptions(Full(), precision="float64"))
    sizes = [_portion(tape, budget) for budget in (1, 2**17, 2**20, 2**40)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert sizes[-1] == 256
    assert all(
        2 * size * tape.activation_bytes * 2 <= budget for size, budget in zip(sizes[1:], (2**17, 2**20), strict=False)
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda g, d: g.total(Examples.of(S[:0]), LABELS[:0]), "expected at least one input, got none"),
        (lambda g, d: g.total(Examples.of(S), LABELS[:1]), r"labels: expected 2 classes from 0 on, got int64 \[1\]"),
        (lambda g, d: g.total(Examples.of(S), LABELS - 1), "labels: expected 2 classes from 0 on"),
        (lambda g, d: g.total(Examples.of(S), LABELS * 0.5), r"labels: expected 2 classes .* got float64"),
        (lambda g, d: g.total(Examples.of(S), LABELS + 2), "expected classes from 0 to 2, as the network has, got 3"),
        (lambda g, d: g.measure(Examples.of(S), {"W": W[:2]}), "G: expected a tree of arrays shaped like"),
        (lambda g, d: d.scores(-1.0), "gamma: expected a number of at least 0, or infinity, got -1"),
        (lambda g, d: d.scores(float("nan")), "gamma: expected a number"),
        (lambda g, d: d.greedy(4), r"expected 1 to 3 candidates \(those left\), got 4"),
        (lambda g, d: d.without(1).add(1), "candidate 1 was added or left out before"),
        (lambda g, d: d.without(1).greedy(3), "expected 1 to 2 candidates"),
        (lambda g, d: LossGradients.of(linear, g.variables, "hinge"), "loss: expected one of l2, cross-entropy"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(wrong, message):
    with pytest.raises(LinearizeError, match=message) as error:
        wrong(*by_hand())
    assert "\n" not in str(error.value)


def test_gradients_that_overflow_are_refused():
    gradients = by_hand()[0]
    with pytest.raises(NonFiniteError, match="lower learning rate"):
        gradients.total(Examples.of(np.full((1, 2), np.inf)), np.array([0]))
    with pytest.raises(NonFiniteError, match="lower learning rate"):
        gradients.measure(Examples.of(S), {"W": np.full((3, 2), np.inf)})


@pytest.mark.parametrize("loss", LOSSES)
def test_all_pairs_equal_those_of_dense_gradients(loss):
    dynamics, _, g_U = setting(loss)
    found = dynamics.gradients.gram(problem()[2][L:])
    np.testing.assert_allclose(found, g_U @ g_U.T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(np.diag(found), dynamics.candidates.squared_norms, rtol=1e-9)


def test_pairs_of_a_loss_with_another_readout_are_refused():
    gradients = by_hand()[0]
    other = dataclasses.replace(gradients, loss=dataclasses.replace(gradients.loss, readout=lambda f: f / 2))
    with pytest.raises(LinearizeError, match="gram: expected a loss of outputs or their softmax"):
        other.gram(POOL)
