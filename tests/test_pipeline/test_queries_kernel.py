"""LCMD and MaxDet: by hand, against their definitions in loops, and against bmdal-reg's, where it is installed.

    pip install --no-deps -r tests/peers.txt

It is no dependency of the tests: without ``--no-deps`` it would bring data sets and plots.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from given_state import FIRST, given_state, posterior_of
from torch import nn

from linearize import KernelOptions, LookAhead
from pipeline.errors import PipelineError
from pipeline.queries import get_strategy, validated_query
from pipeline.queries.lcmd import TangentDistances, largest_clusters
from pipeline.queries.maxdet import largest_variances


def lcmd(labelled, pool, n, **options):
    return largest_clusters(TangentDistances(posterior_of(labelled, pool, **options)), n).tolist()


def maxdet(labelled, pool, n, **options):
    return largest_variances(posterior_of(labelled, pool, **options), n).tolist()


def on_a_line(*places):
    return np.array([[place, 1.0] for place in places])


# Labelled 0 and 10.  1, 2 and 3 belong to 0: 1 + 4 + 9 = 14; 14 and 7 to 10: 16 + 9 = 25, so 14 is first.  Then 14
# and 9: 3, which takes 2 with it; then 1, 9 and 1: 7; then 1 and 1 of two clusters: the first candidate.
@pytest.mark.parametrize("n", [1, 3, 5])
def test_lcmd_by_hand(n):
    order = [3, 2, 4, 0, 1]
    assert lcmd(on_a_line(0, 10), on_a_line(1, 2, 3, 14, 7), n) == order[:n]


# The label takes the third feature away.  The variances left are 4, 2.81 and 2.25; (2, 0) leaves 0.25 of (1.6, 0.5).
@pytest.mark.parametrize("n", [1, 2, 3])
def test_maxdet_by_hand(n):
    pool = [[2.0, 0, 5], [1.6, 0.5, -7], [0, 1.5, 0]]
    assert maxdet([[0, 0, 1.0]], pool, n) == [0, 2, 1][:n]


def test_maxdet_with_a_ridge_by_hand():
    # K = 1 + 1, so 1 - 1/2 is left of a copy of the label; 1.5² and, after the first, 2.25 - 2.25²/3.25 = 0.69 of
    # the others.
    labelled, pool = [[1.0, 0]], [[1.0, 0], [0, 1.5], [0, 1.5]]
    np.testing.assert_allclose(posterior_of(labelled, pool, ridge=1.0).variance, [0.5, 2.25, 2.25])
    assert maxdet(labelled, pool, 3, ridge=1.0) == [1, 2, 0]
    assert maxdet(labelled, [[0, 0.6], [1.0, 0]], 2, ridge=1.0) == [1, 0]  # 0.5 and 0.36: a copy may be worth most
    assert maxdet([[1.0, 0]], [[1.5, 0.1], [0, 1.5], [0, 1.5]], 3) == [1, 0, 2]  # without, nothing of a copy


def slow_lcmd(H, P, n):
    """The definition, with every distance computed anew."""
    centers, order = [*H], []
    for _ in range(n):
        left = [i for i in range(len(P)) if i not in order]
        distances = {i: [float(((P[i] - c) ** 2).sum()) for c in centers] for i in left}
        of = {i: distances[i].index(min(distances[i])) for i in left}
        size = {c: sum(distances[i][c] for i in left if of[i] == c) for c in range(len(centers))}
        members = [i for i in left if size[of[i]] == max(size.values())]
        order.append(max(members, key=lambda i: distances[i][of[i]]))  # `max` takes the first of equals
        centers.append(P[order[-1]])
    return order


@pytest.mark.parametrize("seed", range(8))
def test_lcmd_takes_the_first_of_equals_whatever_the_rounding(seed):
    rng = np.random.default_rng(seed)
    H, P = (rng.integers(-2, 3, size=(n, 2)).astype(float) for n in (2, 9))
    assert lcmd(H, P, 6, ridge=0.1) == slow_lcmd(H, P, 6)


def slow_maxdet(H, P, n, lam):
    """The definition: det(K + λ) of the labelled and the chosen."""
    order = []
    for _ in range(n):
        left = [i for i in range(len(P)) if i not in order]

        def determinant(i):
            rows = np.vstack([H, P[[*order, i]]])
            return np.linalg.slogdet(rows @ rows.T + lam * np.eye(len(rows)))[1]

        order.append(max(left, key=determinant))
    return order


CASES = [(4, 30, 40, 8), (1, 12, 20, 12), (6, 25, 60, 25), (3, 1, 6, 1)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("L", "U", "d", "n"), CASES)
def test_the_definitions_in_loops(seed, L, U, d, n):
    rng = np.random.default_rng(seed)
    scales = rng.exponential(size=(U, 1)) + 0.3
    H, P = rng.normal(size=(L, d)), scales * rng.normal(size=(U, d))
    assert lcmd(H, P, n) == slow_lcmd(H, P, n)
    assert maxdet(H, P, n) == slow_maxdet(H, P, n, 0.0)
    assert lcmd(H, P, n, ridge=0.5) == slow_lcmd(H, P, n)  # it is no part of the distances
    for ridge in (0.5, 20.0):
        assert maxdet(H, P, n, ridge=ridge) == slow_maxdet(H, P, n, ridge)


@pytest.mark.parametrize("seed", range(3))
def test_all_classes_of_the_full_kernel_count(seed):
    rng = np.random.default_rng(seed)
    L, U, C, d = 3, 14, 3, 80
    H, P = rng.normal(size=(L * C, d)), (rng.exponential(size=(U, 1, 1)) * rng.normal(size=(U, C, d))).reshape(-1, d)
    # d² is the mean over classes: the squared distance of all rows put together, divided by C.
    assert lcmd(H, P, 9, classes=C) == slow_lcmd(H.reshape(L, -1), P.reshape(U, -1), 9)
    theta, order = P @ P.T - P @ H.T @ np.linalg.solve(H @ H.T, H @ P.T), []
    for _ in range(6):
        left = [i for i in range(U) if i not in order]
        order.append(max(left, key=lambda i: np.trace(theta[i * C : i * C + C, i * C : i * C + C])))
        S = theta[order[-1] * C : order[-1] * C + C]
        theta = theta - S.T @ np.linalg.solve(S[:, order[-1] * C : order[-1] * C + C], S)
    assert maxdet(H, P, 6, classes=C) == order


@pytest.mark.parametrize("strategy", [lcmd, maxdet])
def test_which_candidates_are_asked_for_does_not_depend_on_their_order(strategy):
    rng = np.random.default_rng(0)
    H, P, shuffled = rng.normal(size=(4, 30)), rng.normal(size=(20, 30)), rng.permutation(20)
    assert shuffled[strategy(H, P[shuffled], 7)].tolist() == strategy(H, P, 7)


@pytest.mark.parametrize("strategy", [lcmd, maxdet])
def test_copies_of_the_labelled_and_the_chosen_come_last_and_in_their_order(strategy):
    rng = np.random.default_rng(0)
    H, P = rng.normal(size=(3, 30)), rng.normal(size=(6, 30))
    order = strategy(H, np.vstack([H[:1], P, P[:2], H[2:]]), 10)
    assert sorted(order[:6]) == sorted({*order[:6]})
    assert {0, 9} < set(order[6:])
    assert {order[6:][k] for k in (0, 3)} == {0, 9}
    assert order[6:] == sorted(order[6:])


@pytest.mark.parametrize("name", ["lcmd", "maxdet"])
def test_the_strategies_ask_for_what_the_posterior_says(name):
    rng = np.random.default_rng(0)
    H, P = rng.normal(size=(4, 30)), rng.normal(size=(20, 30))
    state = given_state(service=SimpleNamespace(posterior=posterior_of(H, P)))
    asked = validated_query(get_strategy(name), state, 7).indices - FIRST
    assert asked.tolist() == {"lcmd": lcmd, "maxdet": maxdet}[name](H, P, 7)
    with pytest.raises(PipelineError, match="expected 1 to 20"):
        get_strategy(name).query(state, 21)


# --- bmdal-reg


@pytest.fixture
def bmdal(monkeypatch):
    """The package of the method's authors; it asks NumPy for a name that is gone."""
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    pytest.importorskip("bmdal_reg", reason="tests/peers.txt is not installed")
    from bmdal_reg.bmdal import algorithms, feature_data

    def ask(method, model, train, pool, n, kernel, *, transforms=(), **config):
        data = {"train": train, "pool": pool}
        data = {name: feature_data.TensorFeatureData(torch.from_numpy(rows)) for name, rows in data.items()}
        chosen, told = algorithms.select_batch(
            n, [model], data, None, kernel, list(transforms), method, allow_float64=True, verbosity=0, **config
        )
        assert told["selection_status"] is None
        return chosen.tolist()

    return ask


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_bmdal_reg_asks_for_the_same_on_given_features(bmdal, seed, sigma):
    rng = np.random.default_rng(seed)
    H, P = rng.normal(size=(5, 40)), (rng.exponential(size=(30, 1)) + 0.3) * rng.normal(size=(30, 40))
    assert lcmd(H, P, 12) == bmdal("lcmd", None, H, P, 12, "linear")
    asked = bmdal("maxdet", None, H, P, 12, "linear", sel_with_train=True, maxdet_sigma=sigma)
    assert maxdet(H, P, 12, ridge=sigma**2) == asked


def in_jax(variables, x):
    import jax.numpy as jnp

    p = variables["params"]
    hidden = jnp.tanh(x @ p["W1"].T + p["b1"][None])
    return hidden @ p["W2"].T + p["b2"][None]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.filterwarnings("ignore:Full backward hook", "ignore:Using a non-tuple sequence")
@pytest.mark.usefixtures("x64")
def test_bmdal_reg_asks_for_the_same_with_the_gradients_of_a_network(bmdal, seed):
    rng = np.random.default_rng(seed)
    weights = {"W1": rng.normal(size=(20, 4)), "b1": rng.normal(size=20), "W2": rng.normal(size=(2, 20))}
    weights["b2"] = rng.normal(size=2)
    model = nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 1)).double()
    with torch.no_grad():  # the first output alone
        for parameter, name in zip(model.parameters(), weights, strict=True):
            value = torch.from_numpy(weights[name])
            parameter.copy_(value if name in ("W1", "b1") else value[:1])
    X, pool = rng.normal(size=(6, 4)), rng.normal(size=(40, 4))
    options = KernelOptions("single-logit", precision="float64")
    service = LookAhead.fit(in_jax, {"params": weights}, X, np.eye(2)[[0, 1, 0, 1, 0, 1]], pool, options)
    asked = largest_clusters(TangentDistances(service.posterior), 10).tolist()
    assert asked == bmdal("lcmd", model, X, pool, 10, "grad")
    asked = largest_variances(service.posterior, 10).tolist()
    assert asked == bmdal("maxdet", model, X, pool, 10, "grad", sel_with_train=True)
