"""A sample that stands for the pool: exact where it is looked at, unbiased elsewhere, conditioned as the whole is."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from regression_cases import state_of

import cases
from linearize import CRITERIA, KernelOptions, LookAhead, Measure, empirical_ntk, plan_ntk
from linearize.build import Sample
from linearize.criteria import pool_sum
from linearize.criteria.pool_sum import PoolSum, estimate
from linearize.engine import execute
from linearize.kernel import Columns
from linearize.posterior import References, Sampled
from linearize.posterior.sampled import Held

L, U, C, RIDGE = 12, 60, 3, 1e-3
SUMS = ("margin-influence", "margin-variance", "mlmoc", "emoc")
LINEARIZED = Measure("linearized")


def both(v=20, seed=0, problem=0):
    """The whole posterior and one that has v draws of it, of the same kernel."""
    theta, f, Y = cases.random_regression(problem, L, U, C)
    whole = state_of(theta, f, Y, RIDGE)
    UU = theta[L:, L:]
    references = References.draw(np.random.default_rng(9).random(U), v, seed)
    sampled = Sampled.init(whole.labelled, np.diag(UU), f[L:], references, UU[references.at], lambda at: UU[at],
                           dtype=np.dtype(np.float64), redundant=1e-6)  # fmt: skip
    return whole, sampled


def slowly(S, references, of, x):
    """The estimate for one candidate, draw by draw."""
    p, drawn = references.p, np.repeat(references.at, references.times)
    terms = [of.weights[j] * abs(S[j, x]) ** of.power / p[j] for j in drawn]
    rest = (1 - p[x]) * np.mean(terms)
    error = (1 - p[x]) * np.std(terms, ddof=1) / np.sqrt(len(terms)) if len(terms) > 1 else 0
    return of.factor[x] * (of.weights[x] * S[x, x] ** of.power + rest), of.factor[x] * error


@pytest.mark.parametrize("name", SUMS)
def test_the_estimate_is_that_of_its_draws(name):
    whole, sampled = both()
    criterion = CRITERIA[name]
    of = criterion.summed(sampled, criterion.request(measure=LINEARIZED))
    found = estimate(sampled, of)
    assert set(np.flatnonzero(found.exact)) == set(sampled.references.at)
    np.testing.assert_allclose(
        found.scores[found.exact], criterion.scores(whole, measure=LINEARIZED)[found.exact], rtol=1e-9
    )
    assert (found.error[found.exact] == 0).all()
    for x in np.flatnonzero(~found.exact):
        score, error = slowly(whole.S, sampled.references, of, x)
        assert found.scores[x] == pytest.approx(score, rel=1e-9)
        assert found.error[x] == pytest.approx(error, rel=0.05)  # of n draws, by n or by n - 1


def test_two_draws_by_hand():
    """S = [[2, 1, 0], [1, 2, 1], [0, 1, 2]], w = c = 1, p = 1/3 each; 0 and 1 are drawn: of 2, 2² + (2/3)(0 + 3)/2."""
    whole, _ = both()
    S = np.array([[2.0, 1, 0], [1, 2, 1], [0, 1, 2]])
    references = References(np.array([0, 1]), np.array([1, 1]), np.full(3, 1 / 3))
    small = Sampled(labelled=whole.labelled, f=np.zeros((3, C)), mean=np.zeros((3, C)), variance=np.diag(S),
                    redundant_rows=np.zeros(3, bool), epsilon=np.zeros(3), answered=np.zeros(3, bool),
                    rectangle=lambda at: S[at], references=references, held=Held(references.at, S[:2]))  # fmt: skip
    found = estimate(small, PoolSum(np.ones(3), np.ones(3), 2))
    np.testing.assert_allclose(found.scores, [5.0, 6.0, 4 + 2 / 3 * 3 / 2])


def test_it_is_unbiased():
    criterion = CRITERIA["margin-influence"]
    truth = criterion.scores(both()[0])
    drawn = np.full((400, U), np.nan)
    for seed in range(400):
        sampled = both(8, seed)[1]
        found = estimate(sampled, criterion.summed(sampled, criterion.request()))
        drawn[seed, ~found.exact] = found.scores[~found.exact]
    drawn, truth = drawn[:, truth > 0], truth[truth > 0]
    off = (np.nanmean(drawn, axis=0) - truth) / (np.nanstd(drawn, axis=0) / np.sqrt((~np.isnan(drawn)).sum(0)))
    assert np.abs(off).max() < 4.5  # standard errors, of 60 candidates
    assert abs(off.mean()) < 1


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Candidates looked at exactly in portions much smaller than the pool."""
    monkeypatch.setattr(pool_sum, "PORTION", 4)


@pytest.mark.parametrize("best", [1, 10])
@pytest.mark.parametrize("name", SUMS)
def test_the_highest_scores_are_exact(name, best):
    whole, sampled = both(30)
    truth = CRITERIA[name].scores(whole, measure=LINEARIZED)
    found = CRITERIA[name].scores(sampled, measure=LINEARIZED, best=best)
    first = np.argsort(-found)[:best]
    np.testing.assert_allclose(found[first], truth[first], rtol=1e-9)
    assert len(sampled.held.at) < U


def test_an_estimate_that_happens_to_be_high_comes_before_nothing_that_is_known():
    """Of the highest of many estimates most are too high: ranked by them, too many would be looked at."""
    asked = {0.0: 0, 2.0: 0}
    for errors in asked:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool_sum, "ERRORS", errors)
            for seed in range(20):
                whole, sampled = both(10, seed, problem=seed)
                found = CRITERIA["margin-variance"].scores(sampled)
                asked[errors] += len(sampled.held.at)
                first = int(found.argmax())
                assert found[first] == pytest.approx(CRITERIA["margin-variance"].scores(whole)[first], rel=1e-9)
    assert asked[2.0] < asked[0.0]


def test_what_is_open_is_counted():
    found = pool_sum.Estimate(
        np.array([5.0, 4.0, 3.9, 3.0, 1.0]),
        np.array([0, 0, 0.1, 0.4, 0.4]),
        np.array([True, True, False, False, False]),
    )
    assert [found.undecided(best) for best in (1, 2)] == [0, 1]  # 3.9 + 0.2 reaches 4, 3 + 0.8 does not
    np.testing.assert_allclose(found.least, [5, 4, 3.7, 2.2, 0.2])


@pytest.mark.parametrize("donate", [False, True])
def test_answers_move_it_as_they_move_the_whole(donate):
    whole, sampled = both()
    asked = [int(sampled.references.at[0]), int(np.setdiff1d(np.arange(U), sampled.references.at)[0]), 7, 31]
    before = sampled.held.S.copy()
    start = sampled
    for n, candidate in enumerate(asked):
        y = np.eye(C)[n % C]
        whole, sampled = whole.condition(candidate, y), sampled.condition(candidate, y, donate=donate)
    whole, sampled = whole.without(3), sampled.without(3, donate=donate)
    np.testing.assert_allclose(sampled.mean, whole.mean, atol=1e-10)
    np.testing.assert_allclose(sampled.variance, whole.variance, atol=1e-10)
    every = np.arange(U)
    np.testing.assert_allclose(sampled.rows(every)[:, 0], whole.S, atol=1e-9)  # held ones and new ones
    for name in SUMS:
        np.testing.assert_allclose(CRITERIA[name].scores(sampled, best=U), CRITERIA[name].scores(whole), rtol=1e-7)
    if not donate:
        np.testing.assert_array_equal(start.held.S[: len(before)], before)


def net(variables, x):
    hidden = jnp.tanh(x @ variables["params"]["v"])
    return hidden @ variables["params"]["w"]


@pytest.fixture
def fit():
    draw = np.random.default_rng(0)
    params = {"v": draw.normal(size=(6, 24)) / 2, "w": draw.normal(size=(24, C)) / 5}
    variables = {"params": {name: jnp.asarray(array, jnp.float32) for name, array in params.items()}}
    X, pool = (draw.normal(size=(n, 6)).astype(np.float32) for n in (L, U))
    Y = np.eye(C, dtype=np.float32)[draw.integers(0, C, L)]

    def made(sample=None, **options):
        return LookAhead.fit(net, variables, X, Y, pool, KernelOptions(ridge=1e-3, **options), sample=sample)

    made.variables = variables
    return made


def test_a_service_asks_for_the_same(fit, monkeypatch):
    monkeypatch.setattr(pool_sum, "PORTION", 20)
    whole, sampled = fit(), fit(Sample(40, 3))
    assert sampled.sampled
    assert not sampled.full
    for n in range(6):
        one, other = whole.choose(4), sampled.choose(4)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-3)
        for service in (whole, sampled):
            service.observe(int(one.ids[0]), n % C)
    np.testing.assert_array_equal(whole.query(3, mode="greedy"), sampled.query(3, mode="greedy"))
    assert sampled.sampled


def test_it_goes_on_where_it_was_saved(fit, tmp_path):
    service = fit(Sample(10, 1))
    service.observe(int(service.query()[0]), 1)
    service.save(tmp_path / "state.npz")
    again = LookAhead.load(tmp_path / "state.npz", net, fit.variables)
    assert again.sampled
    np.testing.assert_allclose(again.scores(), service.scores(), rtol=1e-6)
    assert again.plan.work.size == service.plan.work.size


def test_draws_are_their_seeds(fit):
    one, same, other = (fit(Sample(10, seed)).scores("margin-variance") for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_what_is_no_such_sum_takes_the_whole(fit):
    whole, sampled = fit(), fit(Sample(10))
    np.testing.assert_allclose(sampled.scores("mlmoc-flips"), whole.scores("mlmoc-flips"), rtol=1e-4)
    assert sampled.full
    assert not fit(Sample(U)).sampled  # as large as the pool
    assert not fit(Sample(10), head="full").sampled


def test_its_errors_are_said(fit):
    service = fit(Sample(10))
    found = service.estimate()
    assert 0 < (~found.exact).sum() < U
    assert (found.error[~found.exact] > 0).any()
    assert fit().estimate() is None
    assert service.estimate("mlmoc-flips") is None


def test_columns_are_those_of_the_kernel_and_features_are_made_once(fit, monkeypatch):
    draw = np.random.default_rng(1)
    x, others = (draw.normal(size=(n, 6)).astype(np.float32) for n in (300, 40))
    truth = empirical_ntk(net, fit.variables, x, others)
    filled = []
    monkeypatch.setattr(execute, "_fill", lambda *given, fill=execute._fill: filled.append(given[3]) or fill(*given))
    columns = Columns(plan_ntk(net, fit.variables, x, others[:16], KernelOptions(block=100)), fit.variables, x)
    for some in (slice(0, 16), slice(10, 40), slice(5, 6)):  # as planned, more and fewer
        np.testing.assert_allclose(columns(others[some]), truth[:, some], rtol=2e-5, atol=1e-6)
    assert sum(len(portion) == 100 for portion in filled) == 3


def test_features_are_kept_only_where_they_fit(fit):
    x = np.zeros((300, 6), np.float32)
    plan = plan_ntk(net, fit.variables, x, x[:16])
    assert Columns(plan, fit.variables, x)._kept == []
    assert Columns(replace(plan, budget=plan.estimate), fit.variables, x)._kept is None
