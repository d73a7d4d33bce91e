"""Small problems with a kernel of all logits, and what look-ahead with it is by definition."""

import dataclasses

import numpy as np

import reference


@dataclasses.dataclass(frozen=True)
class Case:
    """A random kernel of all logits; ``copies`` maps pool points to those, labelled ones negative, that they repeat."""

    L: int = 5
    U: int = 6
    C: int = 3
    ridge: float = 0.0
    copies: tuple[tuple[int, int], ...] = ()
    scale: float = 1.0

    def problem(self, seed=0):
        rng, N = np.random.default_rng(seed), self.L + self.U
        J = rng.normal(size=(N, self.C, N * self.C + 7))
        f, Y = self.scale * rng.normal(size=(N, self.C)), np.eye(self.C)[rng.integers(self.C, size=self.L)]
        f[: self.L] = Y + 0.3 * rng.normal(size=Y.shape)
        index = np.arange(N)
        for copy, original in self.copies:
            index[self.L + copy] = self.L + original
        J, f = J[index].reshape(N * self.C, -1), f[index]
        return J @ J.T / J.shape[1], f, Y


CASES = {
    "plain": Case(),
    "two classes": Case(C=2),
    "ten classes": Case(L=3, U=4, C=10),
    "one class": Case(C=1),
    "one labelled example": Case(L=1),
    "one candidate": Case(U=1),
    "a ridge": Case(ridge=0.1),
    "copies": Case(copies=((3, 2),)),
    "copies and a ridge": Case(copies=((3, 2),), ridge=0.01),
    "all classes possible": Case(scale=0.05),
    "sure of every class": Case(scale=5.0),
}


def solve(theta, f, Y, labelled, ridge):
    """f(x) + Θ(x,X) (Θ(X,X) + λI)⁻¹ vec(Y - f(X)) for every x, solved from scratch."""
    C = f.shape[1]
    rows = [x * C + c for x in labelled for c in range(C)]
    K = theta[np.ix_(rows, rows)] + ridge * np.eye(len(rows))
    return f + (theta[:, rows] @ np.linalg.solve(K, (Y - f[labelled]).ravel())).reshape(f.shape)


def naive(theta, f, Y, ridge, name, reference_name, p_of, measured=lambda outputs: outputs):
    """A criterion by its definition, one solve a candidate and label."""
    L, C = Y.shape
    f_lin = solve(theta, f, Y, list(range(L)), ridge)[L:]
    before = f[L:] if reference_name == "network" else f_lin
    certain, p = np.eye(C)[f[L:].argmax(1)], p_of(f[L:])
    weights = {"mlmoc": certain, "mlmoc-flips": certain, "emoc": p, "eer": p}.get(name, p_of(f_lin))
    value = {
        "mlmoc": lambda after: np.linalg.norm(measured(after) - measured(before), axis=1).sum(),
        "mlmoc-flips": lambda after: (after.argmax(1) != before.argmax(1)).sum(),
        "eer": lambda after: -reference.naive_entropy(p_of(after)),
        "expected-accuracy": lambda after: (p_of(after).max(1) - p_of(f_lin).max(1)).sum(),
    }
    value |= {"emoc": value["mlmoc"], "emoc-flips": value["mlmoc-flips"]}
    scores = np.zeros(len(f) - L)
    for candidate in range(len(f) - L):
        for c in range(C):
            if weights[candidate, c]:
                labelled = [*range(L), L + candidate]
                after = solve(theta, f, np.vstack([Y, np.eye(C)[[c]]]), labelled, ridge)[L:]
                scores[candidate] += weights[candidate, c] * value[name](after)
    return scores
