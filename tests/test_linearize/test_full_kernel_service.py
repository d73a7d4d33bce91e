"""The service with the full kernel on a real network, against solving from scratch, in float64."""

import jax
import numpy as np
import pytest
from full_kernel_cases import naive, solve

import cases
import reference
from linearize import CRITERIA, KernelOptions, LinearizeError, LookAhead, MemoryBudgetError
from linearize.build import plan_build
from linearize.criteria import Measure
from linearize.inputs import Data, Network

L, U, C, N = 5, 8, 3, 3
RIDGE = 1e-4
OPTIONS = KernelOptions("full", ridge=RIDGE, precision="float64", memory_budget="256MiB")
FULL = pytest.mark.parametrize("full", [True, False])


class Setting:
    """A network with its labelled set, pool and inputs outside both; pool point 5 repeats 2, and 7 a labelled one."""

    def __init__(self):
        self.network = self.apply_fn, self.variables = cases.tiny_conv_net(dtype=np.float32)
        x = cases.images(5, L + U + N, np.float32)
        x[L + 5], x[L + 7] = x[L + 2], x[1]
        self.x, self.Y = x, np.eye(C)[np.arange(L) % C]
        self.X, self.pool, self.new = x[:L], x[L : L + U], x[L + U :]
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda v: np.asarray(v, np.float64), self.variables)
            J = reference.jacobian(self.apply_fn, wide, x.astype(np.float64))
            self.f = np.asarray(self.apply_fn(wide, x.astype(np.float64)))
        self.theta = reference.kernel_of(J, J, "full")
        self.ridge = RIDGE * np.diag(self.theta)[: L * C].mean()

    def fit(self, full=True, options=OPTIONS, **more):
        return LookAhead.fit(*self.network, self.X, self.Y, self.pool, options, full=full, **more)

    def solve(self, answers):
        """f_lin on pool and new inputs with the answers among the labels."""
        Y = np.vstack([self.Y, *(np.eye(C)[[c]] for _, c in answers)])
        return solve(self.theta, self.f, Y, [*range(L), *(L + x for x, _ in answers)], self.ridge)[L:]


@pytest.fixture(scope="module")
def setting():
    return Setting()


@pytest.mark.parametrize("name", ["mlmoc", "emoc", "eer", "expected-accuracy"])
def test_scores_equal_the_naive_definition(setting, name):
    """At a ridge, a labelled copy would still tell a little; the service drops it, so only the others are compared."""
    rows = (L + U) * C
    service = setting.fit()
    problem = setting.theta[:rows, :rows], setting.f[: L + U], setting.Y
    expected = naive(*problem, setting.ridge, name, "network", reference.naive_simplex)
    scores = service.scores(name, Measure("network"))
    left = ~service.posterior.redundant
    np.testing.assert_allclose(scores[left], expected[left], rtol=1e-7)
    assert left[:7].all()
    assert service.diagnostics.condition_number > 1


@FULL
def test_every_observation_equals_fitting_again(setting, full):
    service, answers = setting.fit(full), []
    np.testing.assert_allclose(service.predict(setting.new), setting.solve([])[U:], rtol=1e-8, atol=1e-8)
    for position, label in ((3, 0), (2, 2), (0, 1)):
        service.observe(position, label)
        answers.append((position, label))
        np.testing.assert_allclose(service.predict(setting.x[L:]), setting.solve(answers), rtol=1e-8, atol=1e-8)
    assert service.observed.tolist() == [3, 2, 0]
    assert service.full is full
    later = service.scores("mlmoc-flips")
    again = setting.fit()
    for answer in answers:
        again.observe(*answer)
    np.testing.assert_allclose(later, again.scores("mlmoc-flips"), rtol=1e-8)


@pytest.mark.parametrize("name", CRITERIA)
def test_greedy_is_a_sequence_of_pseudo_answers_and_asks_copies_once(setting, name):
    service, other = (setting.fit(CRITERIA[name].needs == "covariance") for _ in range(2))
    batch = service.query(6, name, "greedy").tolist()
    assert service.observed.size == 0
    picked = []
    for _ in range(6):
        picked += other.query(1, name, "sequential").tolist()
        other.observe(picked[-1], int(other.pseudo_labels()[picked[-1]]))
    assert batch == picked
    assert len({2, 5} & set(batch)) == 1


@FULL
@pytest.mark.parametrize("answers", [[], [(3, 0), (2, 2), (5, 1)]])
def test_a_loaded_service_goes_on_where_it_was(setting, tmp_path, full, answers):
    service = setting.fit(full)
    for answer in answers:
        service.observe(*answer)
    service.save(tmp_path / "state.npz")
    loaded = LookAhead.load(tmp_path / "state.npz", *setting.network)
    assert loaded.full is full
    assert loaded.plan.summary() == service.plan.summary()
    for _ in range(2):
        for name in ("margin-lin", "mlmoc")[: 1 + full]:
            np.testing.assert_array_equal(loaded.scores(name), service.scores(name))
        np.testing.assert_array_equal(loaded.predict(setting.new), service.predict(setting.new))
        np.testing.assert_array_equal(loaded.observed, service.observed)
        for each in (loaded, service):
            each.observe(6 if 6 not in each.observed else 1, 2)


def test_what_does_not_fit_is_refused_with_what_would(setting):
    pool, network = cases.images(1, 900, np.float32), Network(*setting.network)
    data, budget = Data(setting.X, setting.Y, pool, np.arange(900), np.zeros((900, C))), "80MiB"
    plan_build(network, data, KernelOptions(memory_budget=budget), full=True)
    with pytest.raises(MemoryBudgetError, match="MiB would do; raise the budget or score fewer") as refused:
        LookAhead.fit(*setting.network, setting.X, setting.Y, pool, KernelOptions("full", memory_budget=budget))
    enough = str(refused.value).split("80 MiB: ")[1].split(" would do")[0]
    plan = plan_build(network, data, KernelOptions("full", memory_budget=enough), full=True)
    assert plan.estimate >= (8 + 4) * (900 * C) ** 2  # Θ and S
    with pytest.raises(LinearizeError, match=r"Y \[L, C\]"):
        LookAhead.fit(*setting.network, setting.X, setting.Y.argmax(1), setting.pool, OPTIONS)
