"""Look-ahead for networks trained with cross-entropy, residuals β (onehot - softmax(f)), against solving afresh."""

import dataclasses

import jax
import numpy as np
import pytest
from full_kernel_cases import solve as solve_rows
from regression_cases import CASES, LOSSES, Case, state_of

import cases
import reference
from common.losses import CROSS_ENTROPY
from linearize import CRITERIA, KernelOptions, LookAhead
from linearize.criteria import Measure
from linearize.direct_solve import scores_by_direct_solve

STEP = 3.0


def cross_entropy(step):
    return dataclasses.replace(CROSS_ENTROPY, scale=step)


SOME = ["plain", "ten classes", "one labelled example", "a large ridge", "duplicated candidates", "sure of every class"]
softmax = reference.naive_softmax


def asked_of(f, Y, step):
    """What labels ask outputs to be."""
    return f + step * (Y - softmax(f))


def naive(theta, f, Y, L, ridge, step, name, reference_name, distance):
    """A criterion by its definition, solved from scratch for every candidate and label that it imagines."""
    C, wanted = f.shape[1], asked_of(f[:L], Y, step)
    f_lin = reference.solve_eq_11(theta, f, wanted, list(range(L)), ridge)[L:]
    before = f[L:] if reference_name == "network" else f_lin
    d = softmax if distance == "simplex" else lambda outputs: outputs
    p = softmax(f[L:] if name in ("emoc", "eer") else f_lin)
    if name.startswith("mlmoc"):
        p = np.eye(C)[f[L:].argmax(1)]
    value = {
        "eer": lambda after: -reference.naive_entropy(softmax(after)),
        "expected-accuracy": lambda after: (softmax(after).max(1) - softmax(f_lin).max(1)).sum(),
    }
    if "flips" in name:
        value[name] = lambda after: (after.argmax(1) != before.argmax(1)).sum()
    worth = value.get(name, lambda after: np.linalg.norm(d(after) - d(before), axis=1).sum())
    scores = np.zeros(len(f) - L)
    for x in range(len(f) - L):
        for c in np.flatnonzero(p[x]):
            y = asked_of(f_lin[x : x + 1], np.eye(C)[[c]], step)[0]
            scores[x] += p[x, c] * worth(reference.naive_look_ahead(theta, f, wanted, L, x, y, ridge))
    return scores


def problem_of(case, scale=2.0):
    theta, f, Y = CASES[case].problem()
    f, L = scale * f, len(Y)
    return (theta, f, Y), L, state_of(theta, f, asked_of(f[:L], Y, STEP), CASES[case].ridge)


@pytest.mark.parametrize("name", ["mlmoc", "emoc", "mlmoc-flips", "emoc-flips", "eer", "expected-accuracy"])
@pytest.mark.parametrize("case", SOME)
def test_criteria_equal_their_definitions(case, name):
    problem, L, state = problem_of(case)
    measures = [("network", "outputs"), ("linearized", "outputs"), ("network", "simplex"), ("linearized", "simplex")]
    for reference_name, distance in measures if name in ("mlmoc", "emoc") else [("linearized", "outputs")]:
        expected = naive(*problem, L, CASES[case].ridge, STEP, name, reference_name, distance)
        scores = CRITERIA[name].scores(state, cross_entropy(STEP), Measure(reference_name, distance), 3)
        ties = {"mlmoc-flips": 1, "emoc-flips": 1e-6}.get(name, 0)
        assert (scores >= expected - 1e-7).all() if ties else True
        rounding = 1e-7 if case == "sure of every class" else 1e-10  # residuals are differences, and nearly nothing
        np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=ties + rounding)


@pytest.mark.parametrize(
    "name", ["margin-variance", "margin-influence", "margin-lin", "entropy-lin", "least-confidence-lin"]
)
def test_criteria_that_imagine_no_label_read_the_softmax(name):
    _, _, state = problem_of("plain")
    one, other = (CRITERIA[name].scores(state, loss) for loss in (cross_entropy(STEP), LOSSES["softmax"]))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", SOME)
def test_solving_afresh_gives_the_same_as_the_block_update(case):
    _, _, state = problem_of(case)
    scores = scores_by_direct_solve(state, cross_entropy(STEP))
    expected = CRITERIA["mlmoc"].scores(state, cross_entropy(STEP), Measure("network"))
    np.testing.assert_allclose(scores[~state.redundant], expected[~state.redundant], rtol=1e-7)


@pytest.mark.parametrize("name", ["eer", "expected-accuracy", "mlmoc", "emoc"])
@pytest.mark.parametrize("step", [80.0, 4000.0])
def test_criteria_are_exact_where_labels_lift_sure_logits_far(name, step):
    """A negative influence takes tens of the largest logit: what is then left of a sum of e^z would be rounding."""
    theta, f, Y = Case(U=12, C=4).problem()
    f, L = 40 * f, len(Y)
    state = state_of(theta, f, asked_of(f[:L], Y, step), 0.0)
    expected = naive(theta, f, Y, L, 0.0, step, name, "linearized", "simplex")
    scores = CRITERIA[name].scores(state, cross_entropy(step), Measure("linearized", "simplex"), 5)
    assert (state.S / state.u).min() * step < -40
    np.testing.assert_allclose(scores, expected, rtol=1e-7, atol=1e-7 if "moc" in name else 1e-9)


def test_the_step_is_how_far_labels_stand_above_the_other_logits():
    Y = np.eye(4)[[0, 1, 1, 3, 2]]
    f = 7.5 * Y + np.random.default_rng(0).normal(size=(5, 1))  # a shift of each row is of no account
    assert CROSS_ENTROPY.calibrated(f, Y).scale == pytest.approx(7.5)
    assert CROSS_ENTROPY.calibrated(-f, Y).scale == 1  # a network that knows nothing yet: the loss's own gradient


L, U, C, N, RIDGE = 5, 8, 3, 3, 1e-4
OPTIONS = KernelOptions(ridge=RIDGE, precision="float64", memory_budget="256MiB")
ANSWERS = [(3, 0), (2, 2), (6, 1)]


class Network:
    """A network with its labelled set, pool and inputs outside both, and Θ by its definition."""

    def __init__(self):
        self.network = apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
        self.x, self.Y = cases.images(5, L + U + N, np.float32), np.eye(C)[np.arange(L) % C]
        self.X, self.pool, self.new = self.x[:L], self.x[L : L + U], self.x[L + U :]
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda v: np.asarray(v, np.float64), variables)
            J = reference.jacobian(apply_fn, wide, self.x.astype(np.float64))
            self.f = np.asarray(apply_fn(wide, self.x.astype(np.float64)))
        self.theta = {head: reference.kernel_of(J, J, head) for head in ("sum-of-logits", "full")}

    def fit(self, head="sum-of-logits", full=True):
        options = dataclasses.replace(OPTIONS, head=head)
        data = self.X, self.Y, self.pool, options
        return LookAhead.fit(*self.network, *data, full=full, loss="cross-entropy")

    def solve(self, head, step, answers):
        """f_lin on pool and new inputs with the answers among the labels, each compared with f_lin at its time."""
        theta, wanted, labelled = self.theta[head], asked_of(self.f[:L], self.Y, step), list(range(L))
        ridge = RIDGE * np.diag(theta)[: L * (C if head == "full" else 1)].mean()
        solve = solve_rows if head == "full" else reference.solve_eq_11
        f_lin = solve(theta, self.f, wanted, labelled, ridge)
        for x, label in answers:
            wanted = np.vstack([wanted, asked_of(f_lin[[L + x]], np.eye(C)[[label]], step)])
            labelled.append(L + x)
            f_lin = solve(theta, self.f, wanted, labelled, ridge)
        return f_lin[L:]


@pytest.fixture(scope="module")
def network():
    return Network()


@pytest.mark.parametrize(("head", "full"), [("sum-of-logits", True), ("sum-of-logits", False), ("full", True)])
def test_every_answer_equals_fitting_again(network, head, full, tmp_path):
    service = network.fit(head, full)
    step = service.loss.scale
    shifts = np.kron(np.eye(L), np.ones((C, 1)))  # of a row each, which softmax ignores
    slope = np.linalg.lstsq(np.hstack([network.Y.reshape(-1, 1), shifts]), network.f[:L].ravel(), rcond=None)[0][0]
    assert step == pytest.approx(max(1.0, slope), rel=1e-4)
    for n, (x, label) in enumerate(ANSWERS):
        service.observe(x, label)
        expected = network.solve(head, step, ANSWERS[: n + 1])
        np.testing.assert_allclose(service.predict(network.new), expected[U:], rtol=1e-5, atol=1e-6)
        left = [x for x in range(U) if x not in service.observed]
        np.testing.assert_allclose(service._posterior.mean[left], expected[:U][left], rtol=1e-5, atol=1e-6)
    service.save(tmp_path / "state.npz")
    loaded = LookAhead.load(tmp_path / "state.npz", *network.network)
    assert loaded.loss == service.loss
    name = "emoc" if full else "margin-lin"
    np.testing.assert_array_equal(loaded.scores(name), service.scores(name))
    for one in (loaded, service):
        one.observe(0, 1)
    np.testing.assert_array_equal(loaded.predict(network.new), service.predict(network.new))


def test_greedy_answers_by_likeliest_labels(network):
    service, by_hand = network.fit(), network.fit()
    chosen = service.query(4, "mlmoc", "greedy").tolist()
    for sample in chosen:
        assert by_hand.query(1, "mlmoc", "greedy").tolist() == [sample]
        by_hand.observe(sample, int(by_hand.pseudo_labels()[sample]))
    assert service.observed.size == 0


@pytest.mark.parametrize("name", CRITERIA)
def test_the_full_kernel_agrees_with_a_scalar_one_that_says_the_same(name):
    """Θ ⊗ I is the full kernel of a network whose logits share no weight and have one kernel."""
    problem, L, state = problem_of("plain")
    theta, f, Y = problem
    full = state_of(np.kron(theta, np.eye(f.shape[1])), f, asked_of(f[:L], Y, STEP), 0.0)
    expected = CRITERIA[name].scores(state, cross_entropy(STEP))
    np.testing.assert_allclose(CRITERIA[name].scores(full, cross_entropy(STEP)), expected, rtol=1e-8)


def test_what_training_left_is_measured_on_probabilities(network):
    diagnostics = network.fit().diagnostics
    assert diagnostics.residual_norm == pytest.approx(np.linalg.norm(network.Y - softmax(network.f[:L])), rel=1e-5)
