"""Training dynamics: how fast the loss of a labelled set falls, and how much faster with a candidate in it.

G(S) = -(1/η) Σ_S ∂ℓ/∂t = Σ_ij d_i(X,Y)ᵀ K_ij(X,X) d_j(X,Y), K the empirical NTK at the present weights.  Source: Wang
et al. 2022, eq. 8.  Since K = J Jᵀ and g(x, y) = J(x)ᵀ d(x, y),

    G(S) = ‖G‖²,  G = Σ_S g(x, y),

so that no kernel is needed: a set Q changes it by Δ(Q|S) = ‖G + G_Q‖² - ‖G‖² = 2 G·G_Q + ‖G_Q‖², and a sample alone by
‖g‖² + 2 g·G (eq. 15).  G is a sum and not a mean over S; of a mean the factor 2 would be 2/|S|.
"""

from dataclasses import dataclass, replace
from math import isinf

import numpy as np

from linearize.errors import LinearizeError
from linearize.gradients import Examples, Gradients, LossGradients, squared_norm
from linearize.types import Float64, Progress

DYNAMICS = 2.0
"""γ at which a score is the change of the training dynamics."""


@dataclass(frozen=True)
class Dynamics:
    """What each candidate of a pool would change of a labelled set's training dynamics.

    The network stays as it is.  What is added to the labelled set changes G alone, and with it g·G of every candidate.

    Args:
        gradients: of the network's loss.
        pool: candidates' inputs.
        candidates: their labels, the network's own, ‖g‖², and g·G of the labelled set with all that was added since.
        norm: ‖G‖ of the labelled set.
        added: whether a candidate was added or left out, ``[U]``.

    """

    gradients: LossGradients
    pool: Examples
    candidates: Gradients
    norm: float
    added: np.ndarray

    @classmethod
    def fit(
        cls,
        gradients: LossGradients,
        labelled: Examples,
        labels: np.ndarray,
        pool: Examples,
        progress: Progress | None = None,
    ) -> "Dynamics":
        """Compute G by one backward pass over S, and ‖g‖² and g·G of all candidates by one pass over the pool.

        Args:
            gradients: of the network's loss.
            labelled: inputs of S.
            labels: their classes ``[|S|]``.
            pool: candidates' inputs; the pseudo-label of each is argmax f, the first of equals.
            progress: called with ``(candidates done, U)``.

        Raises:
            LinearizeError: no labelled input, no candidate, or labels that do not fit.
            NonFiniteError: a gradient overflows.

        """
        G = gradients.total(labelled, labels)
        candidates = gradients.measure(pool, G, progress=progress)
        return cls(gradients, pool, candidates, float(np.sqrt(squared_norm(G))), np.zeros(pool.size, bool))

    def scores(self, gamma: float = DYNAMICS) -> Float64:
        """Return ‖g_u‖² + γ g_u·G of every candidate ``[U]``, g_u·G alone where γ is infinite.

        γ = 0 is the squared gradient length, 2 the change of the training dynamics Δ({u}|S), and infinity ranks by the
        influence of u with the identity for a Hessian.  Scores can be negative.

        Source: Wang et al. 2022, eqs. 15 and 31, fig. 5 for other γ.

        Args:
            gamma: γ, at least 0.

        Raises:
            LinearizeError: γ is negative or no number.

        """
        if not gamma >= 0:
            raise LinearizeError(f"gamma: expected a number of at least 0, or infinity, got {gamma}")
        if isinf(gamma):
            return self.candidates.products.copy()
        return self.candidates.squared_norms + gamma * self.candidates.products

    def share(self) -> float:
        """Return Σ_u |2 g_u·G| / Σ_u ‖g_u‖²: how much of the scores the labelled set decides; 0 where both vanish."""
        products, norms = np.abs(self.candidates.products).sum(), self.candidates.squared_norms.sum()
        return float(DYNAMICS * products / norms) if norms else 0.0

    def add(self, position: int, label: int | None = None, progress: Progress | None = None) -> "Dynamics":
        """Return the dynamics of the labelled set with a candidate in it: g_u·(G + g) = g_u·G + g_u·g.

        One backward pass of the candidate and one forward-mode pass over the pool.

        Args:
            position: of the candidate.
            label: its class; its pseudo-label where absent.
            progress: called with ``(candidates done, U)``.

        Raises:
            LinearizeError: it was added or left out before, or there is no such class.

        """
        one = Examples(1, lambda _: self.pool.fetch(np.array([position])))
        given = self.candidates.labels[[position]] if label is None else np.array([label])
        g = self.gradients.total(one, given)
        moved = self.gradients.products(self.pool, g, self.candidates.labels, progress)
        products = self.candidates.products + moved
        return replace(self.without(position), candidates=self.candidates._replace(products=products))

    def without(self, position: int) -> "Dynamics":
        """Return the same without a candidate, of which nothing is learned.

        Args:
            position: of the candidate.

        Raises:
            LinearizeError: it was added or left out before.

        """
        if self.added[position]:
            raise LinearizeError(f"dynamics: candidate {position} was added or left out before")
        added = self.added.copy()
        added[position] = True
        return replace(self, added=added)

    def greedy(self, n: int, progress: Progress | None = None) -> tuple[np.ndarray, Float64]:
        """Choose n candidates one after another, each the one that changes the dynamics most with those before in S.

        Δ(u|S∪Q) = ‖g_u‖² + 2 g_u·(G + G_Q): the greedy algorithm for max G(S∪Q).  Of equals the first is taken.

        Source: Wang et al. 2022, eq. 10, whose eq. 12 leaves g_u·G_Q out.

        Args:
            n: how many of those that are left.
            progress: called with ``(candidates done, n U)``.

        Returns:
            Positions ``[n]`` in the order of choice, and their Δ.

        Raises:
            LinearizeError: more than are left.

        """
        if not 1 <= n <= (left := int((~self.added).sum())):
            raise LinearizeError(f"dynamics: expected 1 to {left} candidates (those left), got {n}")
        U, now, order, changes = self.pool.size, self, list[int](), list[float]()
        while True:
            scores = np.where(now.added, -np.inf, now.scores())
            order.append(int(scores.argmax()))
            changes.append(float(scores[order[-1]]))
            if len(order) == n:
                return np.array(order), np.array(changes)
            before = (len(order) - 1) * U
            told = (lambda done, _, before=before: progress(before + done, n * U)) if progress else None
            now = now.add(order[-1], progress=told)


def change(products: Float64, pairs: Float64) -> float:
    """Return Δ(Q|S) = 2 G·G_Q + ‖G_Q‖², G_Q = Σ_Q g.

    Source: Wang et al. 2022, below eq. 11.

    Args:
        products: g_u·G of the batch ``[b]``.
        pairs: g_u·g_v within it ``[b, b]``, as of ``LossGradients.gram``.

    """
    return DYNAMICS * float(products.sum()) + float(pairs.sum())


def approximation_ratio(products: Float64, pairs: Float64) -> float:
    """Return R(Q|S) = Σ_Q Δ({u}|S) / Δ(Q|S), which is 1 where a batch is worth what its members are worth alone.

    Source: Wang et al. 2022, eq. 14.

    Args:
        products: as of ``change``.
        pairs: likewise.

    Returns:
        R; NaN where Δ(Q|S) is 0.

    """
    together = change(products, pairs)
    alone = DYNAMICS * float(products.sum()) + float(np.trace(pairs))
    return alone / together if together else float("nan")
