"""What holds of every posterior, dense or lazy, with one row of Θ an example or C: it is a value."""

import io
import itertools

import numpy as np
import pytest
from full_kernel_cases import Case, solve
from regression_cases import lazy_state_of, state_of

import cases
import reference
from linearize import CRITERIA, KernelOptions, LinearizeError, LookAhead, Measure
from linearize.criteria import DISTANCES, REFERENCES
from linearize.posterior import Dense, Lazy

L, U, C = 6, 9, 3
COPIES = ((3, -1), (5, 2))  # candidate 3 repeats a labelled example, 5 repeats candidate 2
ANSWERS = ((4, np.eye(C)[1]), (2, np.array([0.7, -0.4, 2.0])), (5, np.eye(C)[0]), (0, np.eye(C)[2]))
STATES = {"dense": state_of, "lazy": lazy_state_of}
FORMS = pytest.mark.parametrize("form", STATES)
ROWS = pytest.mark.parametrize("k", [1, C])
RIDGES = pytest.mark.parametrize("ridge", [0.0, 0.1])


def problem(k, seed=0, copies=COPIES):
    """A kernel with k rows an example, outputs and one-hot targets, copies among the candidates."""
    theta, f, Y = Case(L, U, k, copies=copies).problem(seed)
    if k == 1:
        rng = np.random.default_rng(seed)
        f, Y = rng.normal(size=(L + U, C)), np.eye(C)[rng.integers(C, size=L)]
        for copy, original in copies:
            f[L + copy] = f[L + original]
    return theta, f, Y


def after(posterior, answers):
    for candidate, y in answers:
        posterior = posterior.condition(candidate, y)
    return posterior


def everything(posterior):
    """A copy of all that a posterior is made of, and of what it says."""
    held = {name: array.copy() for name, array in posterior.arrays().items()}
    said = {
        "rows": posterior.rows(slice(None)).copy(),
        "G": posterior.block(slice(None)).G,
        "weights": posterior.weights(),
        "a": posterior.a,
        "u": posterior.u,
        "redundant": posterior.redundant,
        "look_ahead": posterior.look_ahead(1, np.eye(C)[0]),
        "left_out": posterior.leave_one_out().residual,
        "variance left out": posterior.leave_one_out("targets").variance,
        **{name: criterion.scores(posterior) for name, criterion in CRITERIA.items()},
    }
    return held | {f"said: {name}": array for name, array in said.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@FORMS
@ROWS
@RIDGES
def test_conditioning_leaves_a_posterior_as_it_is(form, k, ridge):
    states = [STATES[form](*problem(k), ridge)]
    before = [everything(states[0])]
    for answer in ANSWERS:
        states.append(states[-1].condition(*answer))
        before.append(everything(states[-1]))
    states[1].condition(7, np.eye(C)[0])  # another way to go on
    for state, then in zip(states, before, strict=True):
        assert_same(everything(state), then)
    assert [len(state.answers) for state in states] == [0, 1, 2, 3, 4]


@FORMS
@ROWS
def test_the_callers_target_may_be_written_to_afterwards(form, k):
    buffer = np.zeros(C)
    state, expected = STATES[form](*problem(k), 0.1), after(STATES[form](*problem(k), 0.1), ANSWERS)
    for candidate, y in ANSWERS:
        buffer[:] = y
        state = state.condition(candidate, buffer)
    buffer[:] = np.nan
    assert_same(everything(state), everything(expected))


@ROWS
def test_a_donated_posterior_says_so_and_the_next_is_the_same(k):
    given = state_of(*problem(k), 0.1)
    kept, expected = everything(given), after(given, ANSWERS)
    donated = given.condition(*ANSWERS[0])
    S = donated.S
    with pytest.raises(LinearizeError, match="answer: expected a point"):
        donated.condition(4, ANSWERS[0][1], donate=True)  # a refused answer takes nothing away
    state = donated.condition(*ANSWERS[1], donate=True)
    assert state.S is S
    for answer in ANSWERS[2:]:
        state = state.condition(*answer, donate=True)
    assert_same(everything(state), everything(expected))
    assert_same(everything(given), kept)
    for use in (
        lambda: donated.rows(slice(None)),
        lambda: donated.block(np.array([1])),
        lambda: donated.condition(1, np.eye(C)[0]),
        lambda: donated.condition(1, np.eye(C)[0], donate=True),
        lambda: donated.condition(5, np.eye(C)[0]),  # redundant once 2 is answered, but not here
        lambda: donated.condition(3, np.eye(C)[0]),  # redundant
        lambda: donated.look_ahead(1, np.eye(C)[0]),
        lambda: donated.arrays(),
        lambda: CRITERIA["emoc"].scores(donated),
    ):
        with pytest.raises(LinearizeError, match="its memory was donated to the one that took in the next") as raised:
            use()
        assert "\n" not in str(raised.value)


@FORMS
@ROWS
@RIDGES
@pytest.mark.parametrize("number", range(len(ANSWERS) + 1))
def test_one_read_from_arrays_goes_on_identically(form, k, ridge, number):
    state = after(STATES[form](*problem(k), ridge), ANSWERS[:number])
    file = io.BytesIO()
    np.savez(file, **state.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        arrays = {name: read[name] for name in read.files}
    again = Dense.from_arrays(arrays) if form == "dense" else Lazy.from_arrays(arrays, column=state.column)
    for answer in (None, (1, np.eye(C)[2]), (8, np.eye(C)[0])):
        if answer:
            state, again = (one.condition(*answer) for one in (state, again))
        assert_same(everything(again), everything(state))
        assert again.told() == state.told()
        assert [one.candidate for one in again.answers] == [one.candidate for one in state.answers]
        assert (again.labelled.ridge, again.labelled.jitter) == (state.labelled.ridge, state.labelled.jitter)


@ROWS
@RIDGES
def test_lazy_is_dense_to_rounding(k, ridge):
    dense, lazy = (form(*problem(k), ridge) for form in STATES.values())
    for answer in (None, *ANSWERS):
        if answer:
            dense, lazy = (one.condition(*answer) for one in (dense, lazy))
        chosen = np.array([7, 0, 3, 4])
        for candidates in (slice(None), slice(2, 6), chosen):
            np.testing.assert_allclose(lazy.rows(candidates), dense.rows(candidates), rtol=1e-9, atol=1e-12)
        mine, its = lazy.block(chosen), dense.block(chosen)
        np.testing.assert_array_equal(mine.candidates, its.candidates)
        np.testing.assert_allclose(mine.G, its.G, rtol=1e-9, atol=1e-12)
        assert mine.S.shape == (4, k, U * k)
        for name in ("f", "mean", "a", "u", "variance"):
            np.testing.assert_allclose(getattr(lazy, name), getattr(dense, name), rtol=1e-9, atol=1e-12, err_msg=name)
        for name in ("redundant", "redundant_rows", "answered"):
            np.testing.assert_array_equal(getattr(lazy, name), getattr(dense, name), err_msg=name)
        np.testing.assert_allclose(lazy.weights(), dense.weights(), rtol=1e-9, atol=1e-12)
        assert lazy.told() == dense.told()


@ROWS
@RIDGES
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_scores_a_lazy_posterior_as_the_dense_one(name, k, ridge):
    dense, lazy = (form(*problem(k), ridge) for form in STATES.values())
    for answer in (None, *ANSWERS[:2]):
        if answer:
            dense, lazy = (one.condition(*answer) for one in (dense, lazy))
        for reference_name, distance in itertools.product(REFERENCES, DISTANCES):
            measure = Measure(reference_name, distance)
            expected, found = (CRITERIA[name].scores(one, measure=measure, block=4) for one in (dense, lazy))
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def left_out(theta, f, Y, examples, k, ridge):
    """The target of each example less what all others predict of it, and that prediction's variance with the ridge."""
    afresh = reference.solve_eq_11 if k == 1 else solve
    residual, variance = [], []
    for n, example in enumerate(examples):
        others = [*examples[:n], *examples[n + 1 :]]
        residual.append(Y[n] - afresh(theta, f, np.delete(Y, n, 0), others, ridge)[example])
        known, own = ([x * k + c for x in which for c in range(k)] for which in (others, [example]))
        K = theta[np.ix_(known, known)] + ridge * np.eye(len(known))
        S = theta[np.ix_(own, own)] - theta[np.ix_(own, known)] @ np.linalg.solve(K, theta[np.ix_(known, own)])
        variance.append(S.diagonal().mean() + ridge)
    return np.array(residual), np.array(variance)


@FORMS
@ROWS
@RIDGES
def test_what_others_predict_of_an_example_is_as_if_it_had_never_been_there(form, k, ridge):
    theta, f, Y = problem(k)
    state, examples = STATES[form](theta, f, Y, ridge), [*range(L)]
    for answer in (None, *ANSWERS):
        if answer:
            state = state.condition(*answer)
            if answer[0] != 5:  # tells nothing after 2
                examples, Y = [*examples, L + answer[0]], np.vstack([Y, answer[1]])
        for of, outputs in (("f_lin", f), ("targets", np.zeros_like(f))):
            residual, variance = state.leave_one_out(of)
            expected = left_out(theta, outputs, Y, examples, k, ridge)
            np.testing.assert_allclose(residual, expected[0], rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(variance, expected[1], rtol=1e-8)
    assert len(examples) == L + 3


@RIDGES
def test_rows_that_tell_nothing_are_left_out_of_what_others_predict(ridge):
    """Candidate 1 has its first logit twice: only one of the two is known."""
    rng = np.random.default_rng(0)
    J = rng.normal(size=(L + 3, C, 40))
    J[L + 1, 1] = J[L + 1, 0]
    theta = J.reshape(-1, 40) @ J.reshape(-1, 40).T
    f, Y = rng.normal(size=(L + 3, C)), np.eye(C)[rng.integers(C, size=L)]
    state = state_of(theta, f, Y, ridge).condition(1, np.eye(C)[2]).condition(2, np.eye(C)[0])
    Y = np.vstack([Y, np.eye(C)[[2, 0]]])
    known = [row for row in range((L + 3) * C) if row // C != L and row != (L + 1) * C + 1]
    t = np.vstack([Y[:L] - f[:L], Y[L:] - f[L + 1 :]]).ravel()
    told = [row for row in range(len(t)) if row != L * C + 1]
    residual, variance = state.leave_one_out()
    assert np.flatnonzero(np.isnan(residual.ravel())).tolist() == [L * C + 1]
    for example in range(L + 2):
        own = [n for n, row in enumerate(told) if row // C == example]
        rest = [n for n, row in enumerate(told) if row // C != example]
        K = theta[np.ix_(known, known)] + ridge * np.eye(len(known))
        W = np.linalg.solve(K[np.ix_(rest, rest)], K[np.ix_(rest, own)])
        expected = t[told][own] - W.T @ t[told][rest]
        mine = residual.ravel()[[told[n] for n in own]]
        np.testing.assert_allclose(mine, expected, rtol=1e-8, atol=1e-9)
        spread = np.diag(K[np.ix_(own, own)] - W.T @ K[np.ix_(rest, own)]).mean()
        assert variance[example] == pytest.approx(spread, rel=1e-8)


class Setting:
    """A network, its labelled set and its pool, whose candidate 5 repeats 2."""

    def __init__(self):
        self.network = cases.tiny_conv_net(dtype=np.float32)
        x = cases.images(5, L + U + 2, np.float32)
        x[L + 5] = x[L + 2]
        self.X, self.pool, self.new = x[:L], x[L : L + U], x[L + U :]

    def fit(self, head, full):
        options = KernelOptions(head, precision="float64", ridge=1e-3)
        return LookAhead.fit(*self.network, self.X, np.eye(C)[np.arange(L) % C], self.pool, options, full=full)

    def said(self, service):
        names = ("mlmoc", "eer", "margin-lin") if service.full else ("margin-lin",)
        found = {name: service.scores(name) for name in names}
        return found | {"predictions": service.predict(self.new), "observed": service.observed}


@pytest.fixture(scope="module")
def setting():
    return Setting()


HEADS = pytest.mark.parametrize("head", ["sum-of-logits", "full"])
FULL = pytest.mark.parametrize("full", [True, False])


@HEADS
@FULL
def test_what_the_service_hands_out_stays_as_it_was(setting, head, full):
    service, plain = setting.fit(head, full), setting.fit(head, full)
    handed = []
    for sample, label in ((4, 0), (2, 1), (5, 2), (7, 0)):
        for one in (service, plain):
            one.observe(sample, label)
        if sample != 2:  # what nobody holds is written over
            handed.append((service.posterior, everything(service.posterior)))
        service.query(2, "emoc", "greedy")
    for posterior, then in handed:
        assert_same(everything(posterior), then)
    assert [len(posterior.answers) for posterior, _ in handed] == [1, 3, 4]
    plain = plain.posterior
    np.testing.assert_allclose(service.posterior.mean, plain.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(service.posterior.S, plain.S, rtol=1e-9, atol=1e-12)


@HEADS
@FULL
def test_a_fork_and_what_it_was_taken_of_go_separate_ways(setting, head, full):
    service = setting.fit(head, full)
    service.observe(4, 0)
    service.predict(setting.new)  # what is kept of it must not be the fork's for good
    fork = service.fork()
    then = setting.said(service)
    assert_same(setting.said(fork), then)
    for sample, label in ((2, 1), (7, 2)):
        fork.observe(sample, label)
    assert_same(setting.said(service), then)
    now = setting.said(fork)
    for sample, label in ((2, 0), (8, 0), (1, 2)):
        service.observe(sample, label)
    assert_same(setting.said(fork), now)
    assert (fork.observed.tolist(), service.observed.tolist()) == ([4, 2, 7], [4, 2, 8, 1])
    for one, answers in ((fork, ((4, 0), (2, 1), (7, 2))), (service, ((4, 0), (2, 0), (8, 0), (1, 2)))):
        alone = setting.fit(head, full)
        for answer in answers:
            alone.observe(*answer)
        assert_same(setting.said(one), setting.said(alone))


@HEADS
def test_a_fork_computes_the_covariance_for_itself(setting, head):
    service = setting.fit(head, False)
    service.observe(4, 0)
    fork = service.fork()
    fork.observe(2, 1)
    scores = fork.scores("emoc")
    assert (fork.full, service.full) == (True, False)
    again = setting.fit(head, True)
    for answer in ((4, 0), (2, 1)):
        again.observe(*answer)
    np.testing.assert_allclose(scores, again.scores("emoc"), rtol=1e-8)
