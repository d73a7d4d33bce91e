"""The service while labels stream in, against solving from scratch with them, on a real network in float64."""

import numpy as np
import pytest
from regression_cases import LOSSES

import cases
import reference
from linearize import CRITERIA, KernelOptions, LinearizeError, LookAhead
from linearize.criteria import Measure
from linearize.diagnostics import judge_scores
from linearize.errors import NonFiniteError

L, U, C, N = 6, 12, 3, 5
RIDGE = 1e-4
OPTIONS = KernelOptions(ridge=RIDGE, precision="float64", memory_budget="256MiB")
FULL = pytest.mark.parametrize("full", [True, False])


class Case:
    """A network with its labelled set, pool and inputs outside both; pool point 5 repeats 2, 7 a labelled one."""

    def __init__(self):
        self.network = self.apply_fn, self.variables = cases.tiny_conv_net(dtype=np.float32)
        x = cases.images(5, L + U + N, np.float32)
        x[L + 5] = x[L + 2]
        self.x, self.Y = x, np.eye(C)[np.arange(L) % C]
        self.X, self.pool, self.new = x[:L], x[L : L + U], x[L + U :]

    def fit(self, full=True, options=OPTIONS, **more):
        return LookAhead.fit(*self.network, self.X, self.Y, self.pool, options, full=full, **more)


@pytest.fixture(scope="module")
def case():
    return Case()


@pytest.fixture(scope="module")
def exact(case):
    """Θ and outputs of all inputs in float64, by their definitions."""
    import jax

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda v: np.asarray(v, np.float64), case.variables)
        x = case.x.astype(np.float64)
        theta = reference.dense_ntk(case.apply_fn, wide, x, lambda f: f.sum() / np.sqrt(C))
        return theta, np.asarray(case.apply_fn(wide, x))


def solve(case, exact, answers):
    """f_lin on pool and new inputs with the answers among the labels, from scratch."""
    theta, f = exact
    labelled = [*range(L), *(L + x for x, _ in answers)]
    Y = np.vstack([case.Y, *(np.eye(C)[[c]] for _, c in answers)])
    return reference.solve_eq_11(theta, f, Y, labelled, RIDGE * np.diag(theta)[:L].mean())[L:]


@FULL
def test_every_observation_equals_fitting_again(case, exact, full):
    service, answers = case.fit(full), []
    np.testing.assert_allclose(service.predict(case.new), solve(case, exact, [])[U:], rtol=1e-8, atol=1e-8)
    for position, label in ((3, 0), (2, 2), (0, 1), (11, 2)):
        service.observe(position, label)
        answers.append((position, label))
        expected = solve(case, exact, answers)
        np.testing.assert_allclose(service.predict(case.x[L:]), expected, rtol=1e-8, atol=1e-8)
        p = reference.naive_simplex(expected[:U])
        scores = service.scores("margin-lin")
        left = np.setdiff1d(np.arange(U), [*(x for x, _ in answers), 5])  # once 2 is answered, 5 is redundant
        np.testing.assert_allclose(scores[left], np.diff(np.sort(p)[:, -2:])[left, 0] * -1, rtol=1e-8, atol=1e-8)
        assert (scores[[x for x, _ in answers]] == -np.inf).all()
    assert service.observed.tolist() == [3, 2, 0, 11]
    assert service.full is full  # neither predicting nor criteria of f_lin alone form Θ(U,U)


@pytest.mark.parametrize("name", [name for name, criterion in CRITERIA.items() if criterion.needs == "covariance"])
def test_what_needs_S_computes_it_when_asked_and_is_then_the_same(case, name):
    now, later = case.fit(), case.fit(full=False)
    for answered in ((), (4, 1)):
        if answered:
            for service in (now, later):
                service.observe(*answered)
        else:
            other = case.fit(full=False)
            other.observe(4, 1)
        np.testing.assert_allclose(later.scores(name), now.scores(name), rtol=1e-8)
        assert later.full
    np.testing.assert_allclose(other.scores(name), now.scores(name), rtol=1e-8)
    assert other.observed.tolist() == [4]


@FULL
def test_ids_name_what_is_asked_and_answered(case, full):
    ids = np.array([f"scan {number}" for number in range(U)])
    service = case.fit(full, ids=ids)
    best = np.argsort(-service.scores("entropy-lin"), kind="stable")
    assert service.query(4, "entropy-lin").tolist() == ids[best[:4]].tolist()
    service.observe(ids[best[0]], 1)
    service.observe(str(ids[best[2]]), 1)
    assert service.observed.tolist() == ids[best[[0, 2]]].tolist()
    assert not {*service.observed} & {*service.query(U - 2, "entropy-lin")}


def greedy_by_hand(service, n, criterion):
    """Each choice is answered, in a service of its own, by the likeliest label that it then has."""
    picked = []
    for _ in range(n):
        picked.append(int(service.query(1, criterion, mode="sequential")[0]))
        service.observe(picked[-1], int(service.pseudo_labels()[picked[-1]]))
    return picked


@pytest.mark.parametrize("criterion", CRITERIA)
def test_greedy_is_a_sequence_of_pseudo_answers_that_leaves_the_state_alone(case, criterion):
    service = case.fit(CRITERIA[criterion].needs == "covariance")
    service.observe(1, 0)
    before = service.scores(criterion), service.predict(case.new)
    batch = service.query(U - 2, criterion, mode="greedy").tolist()
    for old, now in zip(before, (service.scores(criterion), service.predict(case.new)), strict=True):
        np.testing.assert_array_equal(now, old)
    assert service.observed.tolist() == [1]
    assert len({2, 5} & set(batch)) == 1  # copies
    assert len(set(batch)) == U - 2
    assert batch == greedy_by_hand(service, U - 2, criterion)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@FULL
def test_duplicates_are_asked_once_while_anything_else_is_left(case, full, precision):
    service = case.fit(full, KernelOptions(precision=precision, ridge=0.01))
    asked = [int(service.query(mode="sequential", criterion="margin-lin")[0])]
    for _ in range(U - 2):
        service.observe(asked[-1], asked[-1] % C)
        asked += service.query(mode="sequential", criterion="margin-lin").tolist()
    assert len(set(asked)) == U - 1
    assert len({2, 5} & set(asked)) == 1


@FULL
@pytest.mark.parametrize("answers", [[], [(3, 0), (2, 2), (5, 1)]])
def test_a_loaded_service_goes_on_where_it_was(case, tmp_path, full, answers):
    service = case.fit(full, ids=np.arange(100, 100 + U), loss="cross-entropy")
    for position, label in answers:
        service.observe(100 + position, label)
    service.save(tmp_path / "state.npz")
    loaded = LookAhead.load(tmp_path / "state.npz", *case.network)
    assert (loaded.full, loaded.options, loaded.diagnostics) == (full, OPTIONS, service.diagnostics)
    assert loaded.plan.summary() == service.plan.summary()
    for _ in range(2):
        criterion = "mlmoc" if full else "entropy-lin"
        np.testing.assert_array_equal(loaded.scores(criterion), service.scores(criterion))
        np.testing.assert_array_equal(loaded.predict(case.new), service.predict(case.new))
        assert loaded.query(4, criterion, "greedy").tolist() == service.query(4, criterion, "greedy").tolist()
        np.testing.assert_array_equal(loaded.observed, service.observed)
        for each in (loaded, service):
            each.observe(108, 2) if 108 not in each.observed else each.observe(109, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_files_that_are_not_this_networks_are_refused(case, tmp_path):
    path = tmp_path / "state.npz"
    case.fit().save(path)
    _, others = cases.tiny_conv_net(1, dtype=np.float32)
    with pytest.raises(LinearizeError, match="got those of another network"):
        LookAhead.load(path, case.apply_fn, others)
    with pytest.raises(LinearizeError, match="got one with other outputs"):
        LookAhead.load(path, lambda variables, x: 2 * case.apply_fn(variables, x), case.variables)
    damaged, other, absent = (tmp_path / f"{name}.npz" for name in ("damaged", "other", "absent"))
    damaged.write_bytes(path.read_bytes()[:1000])
    np.savez(other, meta=np.array('{"format": "another"}'))
    for wrong in (damaged, other, absent):
        with pytest.raises(LinearizeError, match="expected a file that LookAhead.save wrote"):
            LookAhead.load(wrong, *case.network)


@FULL
def test_what_makes_no_sense_is_refused_in_one_line_and_changes_nothing(case, full):
    service = case.fit(full)
    service.observe(3, 0)
    before = service.scores("margin-lin")
    for sample, label, message in (
        (3, 1, "sample 3 is observed already"),
        (U, 0, f"expected the id of one of {U} candidates, got {U}"),
        (-1, 0, "got -1"),
        ("3", 0, "got '3'"),
        (None, 0, "got None"),
        (4, C, "expected a class, an integer from 0 to 2, for sample 4, got 3"),
        (4, -1, "got -1"),
        (4, 1.0, "got 1.0"),
        (4, True, "got True"),
    ):
        with pytest.raises(LinearizeError, match=message) as raised:
            service.observe(sample, label)
        assert "\n" not in str(raised.value)
    for arguments, message in (
        ({"n": U}, f"expected 1 to {U - 1} candidates"),
        ({"n": 0}, "expected 1 to"),
        ({"n": 2, "mode": "sequential"}, "expected n = 1"),
        ({"mode": "best"}, "expected one of top, greedy, sequential; got 'best'"),
        ({"criterion": "bald"}, "expected one of mlmoc"),
    ):
        with pytest.raises(LinearizeError, match=message):
            service.query(**arguments)
    for x in (case.new[:0], case.new[:, :4]):
        with pytest.raises(LinearizeError, match="predict: expected inputs"):
            service.predict(x)
    with pytest.raises(NonFiniteError, match="x contains NaN"):
        service.predict(np.full_like(case.new, np.nan))
    np.testing.assert_array_equal(service.scores("margin-lin"), before)
    assert service.full is full
    for ids, message in ((np.zeros(U, int), "every id once"), (np.arange(3), "12 integers"), (np.ones(U), "12 integ")):
        with pytest.raises(LinearizeError, match=message):
            case.fit(ids=ids)
    with pytest.raises(LinearizeError, match="one-hot"):
        LookAhead.fit(*case.network, case.X, np.eye(4)[np.arange(L) % 4], case.pool)


def test_unfinished_training_that_dominates_the_scores_is_flagged(case):
    service = case.fit()
    state = service.posterior
    common = np.linalg.norm(state.a, axis=1).sum()
    own = service.scores("mlmoc", Measure("linearized")).mean()
    judged = service.score_diagnostics("mlmoc")
    assert judged.common_share == pytest.approx(common / (common + own))
    assert judged.spread == pytest.approx(service.scores("mlmoc").std() / service.scores("mlmoc").mean())
    far, near = (judge_scores(service.scores("mlmoc"), size * common, np.array([own, -np.inf])) for size in (1000, 0))
    assert (far.dominated, near.dominated, near.common_share) == (True, False, 0)
    for criterion, reference_name in (("mlmoc", "linearized"), ("mlmoc-flips", None), ("margin-lin", None)):
        assert service.score_diagnostics(criterion, Measure(reference_name)).common_share == 0
    assert not case.fit(full=False).score_diagnostics().dominated


def test_a_change_between_probabilities_is_judged_as_such(case):
    service = case.fit(loss=LOSSES["softmax"])
    before, after = (reference.naive_softmax(f) for f in (service.posterior.f, service.posterior.mean))
    common = np.linalg.norm(after - before, axis=1).sum()
    own = service.scores("mlmoc", Measure("linearized", "simplex"))
    judged = service.score_diagnostics("mlmoc", Measure("network", "simplex"), scores=np.array([1.0, 3.0]))
    assert judged.common_share == pytest.approx(common / (common + own.mean()))
    assert judged.spread == 0.5
    flips = service.score_diagnostics("mlmoc-flips", Measure("network"))
    assert (flips.common_share == 0) == (service.posterior.f.argmax(1) == service.posterior.mean.argmax(1)).all()


@FULL
def test_queries_are_by_the_distance_asked_for(case, full):
    service, n = case.fit(full), len(case.pool)
    for mode, count in (("top", n), ("greedy", 3)):
        asked = service.query(count, "mlmoc", mode, Measure("linearized", "simplex"))
        scores = service.scores("mlmoc", Measure("linearized", "simplex"))
        assert asked[0] == scores.argmax()
        assert not np.allclose(scores, service.scores("mlmoc", Measure("linearized")))
    service.observe(int(asked[0]), 1)
    after = service.scores("mlmoc", Measure("linearized", "simplex"))
    assert service.query(1, "mlmoc", "sequential", Measure(distance="simplex")) == after.argmax()
    for call in (service.scores, service.score_diagnostics):
        with pytest.raises(LinearizeError, match="distance: expected one of outputs, simplex; got 'l2'"):
            call("margin-lin", Measure(distance="l2"))
    with pytest.raises(LinearizeError, match="reference: expected one of network, linearized; got 'f'"):
        service.query(1, measure=Measure("f"))


def test_cross_entropy_networks_are_scored_by_their_softmax(case):
    service = case.fit(full=False, loss="cross-entropy")
    p = reference.naive_softmax(service.predict(case.pool))
    np.testing.assert_allclose(service.scores("least-confidence-lin"), 1 - p.max(1), rtol=1e-7)
    with pytest.raises(LinearizeError, match=r"loss: expected one of l2, .*; got 'softmax'"):
        case.fit(loss="softmax")
