"""Eigenvalues of matrices that share a block: by hand, and against SciPy's of every matrix by itself."""

import re

import numpy as np
import pytest
from scipy.linalg import eigvalsh

from benchmark_scripts import benchmark, invoke
from linearize.bordered import Bordered


def matrices(shared, groups, scale):
    """s F Fᵀ of the shared rows with each group's."""
    stacked = [np.vstack([shared, rows]) for rows in groups]
    return [scale * F @ F.T for F in stacked]


def assert_all_eigenvalues_agree(bordered, given):
    largest = max(np.abs(K).max() * len(K) for K in given)
    for r in range(1, len(given[0]) + 1):
        expected = [max(eigvalsh(K)[-r], 0.0) for K in given]
        np.testing.assert_allclose(bordered.eigenvalue(r), expected, rtol=0, atol=1e-13 * largest, err_msg=f"r = {r}")


CASES = {
    "copies of shared rows": (5, 8, 2, lambda F, g: g.__setitem__(slice(None), F[:2])),
    "copies within a group": (5, 8, 3, lambda F, g: g.__setitem__((slice(None), 1), g[:, 0])),
    "near copies": (5, 8, 2, lambda F, g: g.__setitem__(slice(None), F[:2] + 1e-5 * g)),
    "zeros": (5, 8, 2, lambda F, g: g.__setitem__(slice(None), 0.0)),
    "orthogonal to the shared rows": (3, 8, 2, lambda F, g: (F.__setitem__((slice(None), slice(4, 8)), 0.0),
                                                            g.__setitem__((..., slice(0, 4)), 0.0))),
    "more rows than features": (12, 4, 3, lambda F, g: None),
    "more rows with the group alone": (4, 5, 3, lambda F, g: None),
    "dependent shared rows": (6, 9, 2, lambda F, g: F.__setitem__(slice(3, 6), 2 * F[:3])),
    "equal eigenvalues": (4, 6, 2, lambda F, g: F.__setitem__(slice(None), 2 * np.eye(4, 6))),
    "one shared row": (1, 4, 2, lambda F, g: None),
    "one feature": (3, 1, 2, lambda F, g: None),
    "a group larger than what is shared": (2, 12, 7, lambda F, g: None),
    "features of unlike size": (9, 7, 3, lambda F, g: (F.__imul__(10.0 ** -np.arange(7)),
                                                      g.__imul__(10.0 ** -np.arange(7)))),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_eigenvalue_is_that_of_the_whole_matrix(case):
    n, d, G, change = CASES[case]
    rng = np.random.default_rng(0)
    F, groups = rng.normal(size=(n, d)), rng.normal(size=(4, G, d))
    change(F, groups)
    given = matrices(F, groups, 3.0)
    assert_all_eigenvalues_agree(Bordered.of_features(F, groups, 3.0), given)
    borders = np.hstack([3.0 * F @ rows.T for rows in groups])
    corners = 3.0 * groups @ groups.transpose(0, 2, 1)
    assert_all_eigenvalues_agree(Bordered.of_kernel(3.0 * F @ F.T, borders, corners), given)


@pytest.mark.parametrize("seed", range(3))
def test_random_sizes_and_spectra(seed):
    rng = np.random.default_rng(seed)
    n, d, G = rng.integers(1, 40), rng.integers(1, 30), rng.integers(1, 8)
    sizes = rng.choice([1, 1e-2, 1e-4], size=d)
    F, groups = rng.normal(size=(n, d)) * sizes, rng.normal(size=(6, G, d)) * sizes
    assert_all_eigenvalues_agree(Bordered.of_features(F, groups), matrices(F, groups, 1.0))


def test_counts_are_those_of_the_eigenvalues():
    rng = np.random.default_rng(1)
    F, groups = rng.normal(size=(6, 9)), rng.normal(size=(5, 3, 9))
    bordered = Bordered.of_features(F, groups)
    for mu in (0.01, 1.0, 5.0, 30.0):
        expected = [(eigvalsh(K) > mu).sum() for K in matrices(F, groups, 1.0)]
        np.testing.assert_array_equal(bordered.count_above(np.full(5, mu)), expected)


def test_many_groups_are_tried_in_portions(monkeypatch):
    rng = np.random.default_rng(2)
    F, groups = rng.normal(size=(6, 9)), rng.normal(size=(11, 3, 9))
    whole = Bordered.of_features(F, groups).eigenvalue(9)
    monkeypatch.setattr("linearize.bordered.ENTRIES", 4 * 6 * 3)
    np.testing.assert_array_equal(Bordered.of_features(F, groups).eigenvalue(9), whole)


def test_a_group_takes_few_trials(monkeypatch):
    """Bisection alone would take fifty; what a look at every eigenvalue costs is measured in benchmarks/crc.py."""
    rng = np.random.default_rng(3)
    trials, above = [], Bordered._above
    monkeypatch.setattr(
        Bordered, "_above", lambda self, part, *rest: trials.append(len(part)) or above(self, part, *rest)
    )
    for n, r in ((40, 45), (90, 60)):
        F, groups = rng.normal(size=(n, 60)), rng.normal(size=(50, 5, 60))
        Bordered.of_features(F, groups).eigenvalue(r)
    assert sum(trials) < 15 * 100


def test_the_benchmark_finds_the_same_scores(monkeypatch):
    output = invoke(benchmark(monkeypatch, "crc").main, "--small")
    errors = re.findall(r"\| ([\d.e+-]+) \|$", output, re.MULTILINE)
    assert len(errors) == 2
    assert max(map(float, errors)) < 1e-13
