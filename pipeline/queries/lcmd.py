"""LCMD: the farthest member of the largest cluster around what is labelled or chosen, in the tangent kernel."""

import numpy as np

from linearize import Posterior
from linearize.posterior.factor import COPY
from pipeline.queries.base import QueryStrategy
from pipeline.queries.distances import rounded
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

BLOCK = 256  # rows of Θ(X,U) that are a temporary


class LargestClusterMaximumDistance(QueryStrategy):
    """Again and again the farthest member of the largest cluster becomes a center; the labelled samples are the first.

    d(x,x')² = Θ(x,x) + Θ(x',x') - 2 Θ(x,x'),   size of a cluster = Σ_{x in it} d(x, center)²

    Each candidate belongs to its nearest center.  Θ is the tangent kernel of the trained network, as the run's
    ``kernel`` says; with the head ``full``, d² is the mean over the classes.  It is not conditioned on the labelled
    samples, which are centers (the paper's LCMD-TP).  The paper's kernel is a random projection of this one; here it
    is exact.  A candidate with the features of a center (d² ≤ 1e-5 Θ(x,x)) is 0 from it, so that copies of what is
    labelled or chosen are asked for when nothing else is left.

    Source: Holzmüller et al. 2023.
    """

    name = "lcmd"
    description = "farthest in the tangent kernel from the center of the largest cluster around the labelled (LCMD-TP)"
    source = "Holzmüller et al. 2023"
    needs_port = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates one after another, each a center for those after it."""
        check_count(state.candidates, n)
        distances = TangentDistances(state.look_ahead.posterior)
        return select_in_order(state.candidates, largest_clusters(distances, n))


class TangentDistances:
    """d² between gradients of candidates and of all samples, from a posterior of the labelled set.

    Θ(X,U) = F Φ,   Θ(X,X) = F Fᵀ - λI,   Θ(U,U) = S + Φᵀ Φ

    Args:
        posterior: without answers.

    """

    def __init__(self, posterior: Posterior) -> None:
        self._posterior, self._k = posterior, posterior.outputs
        self._block = max(BLOCK // self._k, 1) * self._k
        labelled = posterior.labelled
        own = posterior.variance + np.einsum("lu,lu->u", labelled.Phi, labelled.Phi)
        self.norms = self._mean(own)  # Θ(x,x), mean over an example's rows [U]
        known = np.einsum("lm,lm->l", labelled.F, labelled.F) - labelled.lam
        self.labelled_norms = self._mean(known)  # [L]

    def from_labelled(self) -> np.ndarray:
        """Return d² of candidates from each labelled sample ``[L, U]``."""
        F, Phi = self._posterior.labelled.F, self._posterior.labelled.Phi
        parts = [self._trace(F[start : start + self._block] @ Phi) for start in range(0, len(F), self._block)]
        return self._squared(np.concatenate(parts), self.labelled_norms[:, None])

    def from_candidate(self, candidate: int) -> np.ndarray:
        """Return d² of all candidates from one of them ``[U]``."""
        Phi, rows = self._posterior.labelled.Phi, slice(candidate * self._k, (candidate + 1) * self._k)
        S = self._posterior.rows(np.array([candidate]))[0]  # [k, U k]
        return self._squared(self._trace(S + Phi[:, rows].T @ Phi)[0], self.norms[candidate])

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows.reshape(-1, self._k).mean(axis=1))

    def _trace(self, theta: np.ndarray) -> np.ndarray:
        """Mean over the classes, ``[B k, U k]`` to ``[B, U]``."""
        return np.einsum("bcuc->bu", theta.reshape(-1, self._k, len(self.norms), self._k)) / self._k

    def _squared(self, products: np.ndarray, norms: np.ndarray) -> np.ndarray:
        squared = self.norms + norms - 2 * products
        return rounded(np.where(squared > COPY * self.norms, squared, 0.0))


def largest_clusters(distances: TangentDistances, n: int) -> np.ndarray:
    """Choose n candidates, each the farthest member of the largest cluster; of equals the first.

    Args:
        distances: between them, and from the labelled samples.
        n: how many, at most U.

    Returns:
        Positions ``[n]`` in the order chosen.

    """
    known = distances.from_labelled()  # [L, U]
    center, nearest = known.argmin(axis=0), known.min(axis=0)
    left = np.ones(len(nearest), bool)
    order: list[int] = []
    for added in range(len(known), len(known) + n):
        sizes = rounded(np.bincount(center, weights=nearest))
        largest = sizes[center] == sizes.max()
        at = np.where(left, np.where(largest, nearest, -1.0), -np.inf)
        chosen = int(np.argmax(at))
        squared = distances.from_candidate(chosen)
        closer = squared < nearest
        closer[chosen] = True
        center, nearest = np.where(closer, added, center), np.where(closer, squared, nearest)
        left[chosen], nearest[chosen] = False, 0.0
        order.append(chosen)
    return np.array(order)
