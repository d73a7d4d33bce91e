"""Small regressions that every criterion is compared on with its definition."""

import dataclasses

import numpy as np

import cases
from common.losses import L2
from common.probabilities import SOFTMAX
from linearize.posterior import Dense, LabelledFactor, Lazy, LazyKernel, Targets
from linearize.types import Kernel


@dataclasses.dataclass(frozen=True)
class Case:
    L: int = 8
    U: int = 7
    C: int = 3
    ridge: float = 0.0
    scale: float = 1.0  # of the outputs; at 0.02 the projection keeps every class, at 5 it keeps one
    one_class: bool = False
    copies: bool = False  # candidate 3 is candidate 2 once more

    def problem(self, seed=0):
        theta, f, Y = cases.random_regression(seed, self.L, self.U, self.C)
        f[self.L :] *= self.scale
        if self.one_class:
            Y = np.eye(self.C)[np.zeros(self.L, int)]
        if self.copies:
            copy = np.arange(self.L + self.U)
            copy[self.L + 3] = self.L + 2
            theta, f = theta[np.ix_(copy, copy)], f[copy]
        return theta, f, Y


CASES = {
    "plain": Case(),
    "two classes": Case(C=2),
    "ten classes": Case(C=10),
    "twenty classes, in a loop": Case(C=20, U=4),
    "one class labelled": Case(one_class=True),
    "one labelled example": Case(L=1),
    "one candidate": Case(U=1),
    "a small ridge": Case(ridge=1e-3),
    "a large ridge": Case(ridge=0.5),
    "duplicated candidates": Case(copies=True),
    "duplicated candidates and a ridge": Case(copies=True, ridge=1e-2),
    "all classes possible": Case(C=5, scale=0.02),
    "sure of every class": Case(C=5, scale=5.0),
}


def state_of(theta, f, Y, ridge):
    """The posterior of a kernel with one row an example, or C of them."""
    L, k = len(Y), len(theta) // len(f)
    rows = L * k
    kernel = Kernel(theta[:rows, :rows], theta[:rows, rows:], theta[rows:, rows:])
    return Dense.init(kernel, Targets(f[:L], f[L:], Y), ridge=ridge)


def lazy_state_of(theta, f, Y, ridge, asked=None, **options):
    """As ``state_of``, without S; ``asked`` collects the rows whose columns were computed."""
    rows = len(Y) * (len(theta) // len(f))
    labelled = LabelledFactor.of(theta[:rows, :rows], theta[:rows, rows:], f[: len(Y)], Y, ridge=ridge)

    def column(row):
        (asked if asked is not None else []).append(row)
        return theta[rows:, rows + row]

    return Lazy.init(labelled, LazyKernel(np.diag(theta)[rows:], column), f[len(Y) :], **options)


def posterior_by_hand(f, f_lin, S, redundant=None):
    """A posterior with a scalar kernel and no ridge, whose covariance is S ``[U, U]``, symmetric."""
    U, C = f.shape
    nothing = np.zeros(U, bool)
    state = state_of(np.eye(1 + U), np.zeros((1 + U, C)), np.eye(C)[:1], 0.0)
    redundant = nothing if redundant is None else redundant
    return dataclasses.replace(
        state, f=f, mean=f_lin, S=S, variance=np.diag(S).copy(), redundant_rows=redundant, answered=nothing
    )


def with_probabilities(loss, probabilities):
    """A loss whose outputs mean something else."""
    return dataclasses.replace(loss, probabilities=probabilities)


LOSSES = {"simplex": L2, "softmax": with_probabilities(L2, SOFTMAX)}
"""Least squares, its outputs read as probabilities in either way."""
