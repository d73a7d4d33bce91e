"""BatchBALD: a batch whose labels, together, would tell most about which network is right."""

from dataclasses import dataclass

import numpy as np

from common.probabilities import entropy
from pipeline.queries.bald import mutual_information
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

CONFIGURATIONS = 10_000
"""Most configurations of labels of a batch that are held: all that are possible, or else a sample of so many."""
BLOCK = 1 << 21  # probabilities that are held at once while gains are computed
TIE = 1e-12
"""Nats by which gains may differ and count as equal: more than rounding, less than anything that matters."""


class BatchBald(QueryStrategy):
    """Greedily add the candidate whose label tells most about the dropout network, beside those chosen before it.

    a(x_1, .., x_n) = I(y_1, .., y_n; ω) = H(E_k Π_i p_k(y_i)) - Σ_i E_k H(p_k(y_i))

    An exact copy of a chosen candidate is worth less than it was, but not nothing: its label is another draw.  With K
    passes all labels together tell at most log K; what was left to tell is among the figures.  Once nothing is left,
    candidates are taken by their own mutual information.

    Source: Kirsch et al. 2019, algorithm 1.
    """

    name = "batchbald"
    description = "batch whose labels together would tell most about which dropout network is right"
    source = "Kirsch et al. 2019"
    needs_port = False
    needs_dropout = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates one after another, each beside those before it."""
        check_count(state.candidates, n)
        p = state.sampled_probabilities
        order, gains = greedy_batch(p, n, state.rng)
        figures = {"joint_information": float(gains.sum()), "most_information": float(np.log(len(p)))}
        return select_in_order(state.candidates, order)._replace(figures=figures)


@dataclass(frozen=True)
class Joint:
    """What the labels of the chosen may be, and what each possibility would say of the network.

    Args:
        v: probability of each configuration of labels, ``[M]``.
        W: posterior of the network given each, w_mk = p(ω_k | y_1, .., y_n), ``[M, K]``.
        exact: whether these are all configurations that are possible, and no sample.

    """

    v: np.ndarray
    W: np.ndarray
    exact: bool = True

    @classmethod
    def empty(cls, K: int) -> "Joint":
        """Return that of no label: one configuration, and all ``K`` networks alike."""
        return cls(np.ones(1), np.full((1, K), 1 / K))

    def gains(self, p: np.ndarray) -> np.ndarray:
        """Return what one more label would tell beside the chosen ones' labels.

        I(y; ω | y_1..n) = Σ_m v_m [H(Σ_k w_mk p_k(y)) - Σ_k w_mk H(p_k(y))]

        By the chain rule it is what the joint information grows by.  Over all configurations, the second term is
        E_k H(p_k(y)); over a sample, taking both of the same sample makes the estimate no less unbiased, less noisy,
        and 0 once the network is known.

        Args:
            p: class probabilities of candidates in K passes ``[K, u, C]``.

        Returns:
            Nats ``[u]``, at least 0.

        """
        K, u, C = p.shape
        r = self.W @ p.reshape(K, u * C)  # [M, uC]
        unknown = self.v @ entropy(r.reshape(-1, C)).reshape(-1, u)
        given = self.v @ self.W @ entropy(p.reshape(-1, C)).reshape(K, u)
        return np.asarray(np.maximum(unknown - given, 0.0))

    def with_label(self, p: np.ndarray, rng: np.random.Generator, most: int = CONFIGURATIONS) -> "Joint":
        """Return the joint with one more label.

        While there are no more than ``most`` configurations, all are kept; beyond, so many are drawn with their
        probabilities, and from then on each is continued by one draw.

        Args:
            p: class probabilities of the candidate in K passes ``[K, C]``.
            rng: the only source of randomness.
            most: configurations.

        """
        r = self.W @ p  # [M, C]
        if self.exact and r.size <= most:
            m, c = np.nonzero(self.v[:, None] * r > 0)
            return Joint(self.v[m] * r[m, c], self.W[m] * p.T[c] / r[m, c, None])
        m = rng.choice(len(self.v), most, p=self.v / self.v.sum()) if self.exact else np.arange(len(self.v))
        below = np.cumsum(r[m], axis=1)
        c = (rng.random((len(m), 1)) * below[:, -1:] >= below).sum(axis=1)  # never a label of probability 0
        return Joint(np.full(len(m), 1 / len(m)), self.W[m] * p.T[c] / r[m, c, None], exact=False)


def greedy_batch(
    p: np.ndarray, n: int, rng: np.random.Generator, most: int = CONFIGURATIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Choose n candidates, each the one whose label tells most beside the labels of those before it.

    The joint information is submodular, so no candidate gains more than by itself: candidates are looked at in falling
    order of that, in blocks, until none that is left could be the best.  Nothing is left out by it while the joint is
    exact; a sampled gain may exceed its bound by the sample's error.  Of equal candidates the first is taken.

    Memory is O(M K) for M configurations, and ``BLOCK``; a pick takes O(M K C) a candidate that is looked at.

    Source: Kirsch et al. 2019, algorithm 1; Minoux 1978 for the bounds.

    Args:
        p: class probabilities in K passes ``[K, U, C]``.
        n: how many, at most U.
        rng: the only source of randomness; none is used while the joint is exact.
        most: configurations, as of ``Joint.with_label``.

    Returns:
        Positions ``[n]`` in the order chosen, and what each added to the information, in nats ``[n]``.

    """
    alone = mutual_information(p)
    bounds, order, gains = alone.copy(), list[int](), list[float]()
    joint = Joint.empty(len(p))
    for step in range(n):
        position, gain = _best(p, joint, alone, bounds, order)
        order.append(position)
        gains.append(gain)
        if step + 1 < n:
            joint = joint.with_label(p[:, position], rng, most)
    return np.array(order), np.array(gains)


def _best(p: np.ndarray, joint: Joint, alone: np.ndarray, bounds: np.ndarray, chosen: list[int]) -> tuple[int, float]:
    """Return the candidate that gains most and its gain; exact gains become bounds for the picks that follow."""
    left = np.setdiff1d(np.arange(len(alone)), chosen)
    queue = left[np.argsort(-bounds[left], kind="stable")]
    found, size = np.full(len(alone), -1.0), max(1, BLOCK // (len(joint.v) * p.shape[2]))
    start = 0
    while start < len(queue) and bounds[queue[start]] >= found.max() - TIE:
        block = queue[start : start + size]
        found[block] = joint.gains(p[:, block])
        if joint.exact:
            bounds[block] = found[block]
        start += size
    best = np.flatnonzero(found >= found.max() - TIE)
    position = int(best[alone[best] >= alone[best].max() - TIE][0])
    return position, float(found[position])
