"""MaxDet: candidates that the labels leave most unknown in the tangent kernel, each in view of those before."""

import numpy as np

from linearize import Posterior
from pipeline.queries.base import QueryStrategy
from pipeline.queries.distances import rounded
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState


class MaxDet(QueryStrategy):
    """Greedily the candidate of the largest posterior variance, which it takes from all others: P-greedy.

    s = argmax_x S(x,x),   S⁺ = S - S(·,s) (S(s,s) + λ)⁻¹ S(s,·),   S = Θ(U,U) - Θ(U,X) K⁻¹ Θ(X,U)

    It makes det(S + λI) of the chosen large, greedily: the paper's MaxDet-P, the kernel conditioned on the labelled
    set.  Θ is the tangent kernel of the trained network and λ its ridge, as the run's ``kernel`` says; with the head
    ``full``, the variance is the mean over the classes, and a choice takes all of them.  Without a ridge nothing is
    left of copies of what is labelled or chosen, and they are asked for last; with one they keep λ S/(S + λ).  Labels
    are never read.

    Source: Holzmüller et al. 2023.
    """

    name = "maxdet"
    description = "largest variance left by the labelled and those chosen before, in the tangent kernel (P-greedy)"
    source = "Holzmüller et al. 2023"
    needs_port = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates one after another."""
        check_count(state.candidates, n)
        return select_in_order(state.candidates, largest_variances(state.look_ahead.posterior, n))


def largest_variances(posterior: Posterior, n: int) -> np.ndarray:
    """Choose n candidates, each of the largest variance that those before leave; of equals the first.

    A step of a pivoted Cholesky factorisation for each row of the chosen: n k arrays ``[U k]`` are kept, S stays.

    Args:
        posterior: of the labelled set, without answers.
        n: how many, at most U.

    Returns:
        Positions ``[n]`` in the order chosen.

    """
    k, lam, least = posterior.outputs, posterior.labelled.lam, posterior.epsilon + 2 * posterior.labelled.jitter
    variance = np.where(posterior.variance > least, posterior.variance, 0.0)  # [U k]
    left = np.ones(len(posterior.f), bool)
    order: list[int] = []
    V, steps = np.empty((n * k, len(variance))), 0
    while len(order) < n:
        mean = rounded(variance.reshape(-1, k).mean(axis=1))
        chosen = int(np.argmax(np.where(left, mean, -1.0)))
        order.append(chosen)
        left[chosen] = False
        S = posterior.rows(np.array([chosen]))[0]  # [k, U k]
        for row, s in enumerate(S, start=chosen * k):
            if variance[row] > least[row]:
                v = (s - V[:steps, row] @ V[:steps]) / np.sqrt(variance[row] + lam)
                variance, V[steps], steps = variance - v**2, v, steps + 1
        variance = np.where(variance > least, variance, 0.0)
    return np.array(order)
