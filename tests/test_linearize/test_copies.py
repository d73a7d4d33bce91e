"""Candidates that are exact copies of labelled inputs are redundant, whatever the ridge, with S and without."""

import numpy as np
import pytest
from regression_cases import lazy_state_of, state_of

import cases
from linearize import KernelOptions, LookAhead
from linearize.criteria import CRITERIA
from linearize.engine import execute
from linearize.posterior.factor import BLOCK

L, U, C = 9, 14, 4
COPIES = {3: 2, 7: 8}  # pool point: labelled point


def problem(seed=0, noise=0.0):
    theta, f, Y = cases.random_regression(seed, L, U, C)
    roots, vectors = np.linalg.eigh(theta)
    features = vectors * np.sqrt(np.maximum(roots, 0))[None]
    for copy, original in COPIES.items():
        features[L + copy] = features[original] * (1 + noise)
        f[L + copy] = f[original]
    return features @ features.T, f, Y


def both(theta, f, Y, ridge):
    """The dense posterior and the lazy one."""
    return state_of(theta, f, Y, ridge), lazy_state_of(theta, f, Y, ridge)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.1, 10.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_copies_are_redundant_under_any_ridge(ridge, seed):
    for state in both(*problem(seed), ridge):
        assert np.flatnonzero(state.redundant).tolist() == [*COPIES]
        assert (state.u[[*COPIES]] == 1).all()


def test_what_is_nearly_a_copy_is_not_one():
    """Features 1 % longer: 1e-4 of Θ(x,x) away, squared."""
    for state in both(*problem(noise=0.01), 0.1):
        assert not state.redundant.any()


@pytest.mark.parametrize("name", CRITERIA)
def test_copies_are_never_asked_for_while_others_tell_something(name):
    state = both(*problem(), 0.1)[0]
    scores = CRITERIA[name].scores(state)
    if name != "eer" and CRITERIA[name].needs == "covariance":
        assert (scores[[*COPIES]] == 0).all()
    if name != "eer":
        assert np.isin(np.argsort(-scores, kind="stable")[: U // 2], [*COPIES]).sum() == 0


def test_copies_are_found_in_every_block():
    U = 2 * BLOCK + 3
    rng = np.random.default_rng(0)
    features = rng.standard_normal((L + U, 40))
    copies = [0, BLOCK - 1, BLOCK, 2 * BLOCK + 2]
    features[[L + copy for copy in copies]] = features[2]
    theta, f = features @ features.T, rng.standard_normal((L + U, C))
    for state in both(theta, f, np.eye(C)[np.zeros(L, int)], 5.0):
        assert np.flatnonzero(state.redundant).tolist() == copies


@pytest.mark.parametrize("full", [True, False])
def test_the_service_finds_copies_in_float32(full):
    apply_fn, variables = cases.tiny_conv_net(channels=(1, 64, 96), dtype=np.float32)
    x = cases.images(3, 20, np.float32)
    X, pool, options = x[:6], np.concatenate([x[6:], x[:2]]), KernelOptions(ridge=0.1)
    service = LookAhead.fit(apply_fn, variables, X, np.eye(3)[np.arange(6) % 3], pool, options, full=full)
    assert service.diagnostics.redundant_share == pytest.approx(2 / len(pool))
    left = service.query(len(pool), "margin-lin", mode="greedy")
    assert set(left[-2:]) == {len(pool) - 2, len(pool) - 1}


@pytest.fixture
def rounded(monkeypatch):
    """Features of every layer in bfloat16, as those of large layers are."""
    monkeypatch.setattr(execute, "LARGE_UNIT", 0)
    execute.compiled.cache_clear()
    yield
    execute.compiled.cache_clear()


@pytest.mark.parametrize("head", ["sum-of-logits", "full"])
def test_copies_are_found_in_lower_precision_and_close_images_are_none(rounded, head):
    """Norms of gradients are exact, and products are not: 3e-5 of Θ(x,x) apart."""
    apply_fn, variables = cases.tiny_conv_net(channels=(1, 64, 96), dtype=np.float32)
    x = cases.images(3, 20, np.float32)
    close = x[2:5] + 0.013 * cases.images(5, 3, np.float32)
    X, pool = x[:6], np.concatenate([x[6:], x[:2], close])
    options, Y = KernelOptions(head, ridge=0.1, precision="bfloat16"), np.eye(3)[np.arange(6) % 3]
    for full in (True, False):
        posterior = LookAhead.fit(apply_fn, variables, X, Y, pool, options, full=full)._posterior
        assert np.flatnonzero(posterior.redundant_rows.reshape(len(pool), -1).any(1)).tolist() == [14, 15]
