"""BatchBALD: a batch whose labels, together, would tell most about which network is right."""

from dataclasses import dataclass

import numpy as np

from common.probabilities import entropy
from pipeline.queries.bald import mutual_information
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

CONFIGURATIONS = 10_000
"""Most configurations of labels of a batch that are held where they are all that are possible."""
SAMPLE = 2_000
"""Configurations that are drawn where more are possible; their error is small beside that of few passes."""
BLOCK = 1 << 21  # probabilities that are held at once while gains are computed
ERRORS = 4.0  # standard errors by which a sampled gain may be too low
LEFT = 1e-3  # nats of all that is left to tell, below which candidates are taken by what each tells by itself
SMALLEST = 1e-300  # stands for 0 where a logarithm is taken
TIE = 1e-12
"""Nats by which gains may differ and count as equal: more than rounding, less than anything that matters."""


class BatchBald(QueryStrategy):
    """Greedily add the candidate whose label tells most about the dropout network, beside those chosen before it.

    a(x_1, .., x_n) = I(y_1, .., y_n; ω) = H(E_k Π_i p_k(y_i)) - Σ_i E_k H(p_k(y_i))

    An exact copy of a chosen candidate is worth less than it was, but not nothing: its label is another draw.  With K
    passes all labels together tell at most log K; how much of it the batch tells is among the figures.  Once nothing
    is left to tell, candidates are taken by their own mutual information.

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
        most = float(np.log(len(p)))
        figures = {"joint_information": min(float(gains.sum()), most), "most_information": most}
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

    @property
    def left(self) -> float:
        """H(ω | y_1..n), what is not told of the network yet, in nats; nothing that follows can tell more."""
        return float(self.v @ entropy(self.W))

    def gains(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what one more label would tell beside the chosen ones' labels.

        I(y; ω | y_1..n) = Σ_m v_m [H(Σ_k w_mk p_k(y)) - Σ_k w_mk H(p_k(y))]

        By the chain rule it is what the joint information grows by.  Over all configurations, the second term is
        E_k H(p_k(y)).  Over a sample, both terms are taken of the same one: that leaves the estimate unbiased, and
        makes it less noisy and 0 once the network is known.

        Args:
            p: class probabilities of candidates in K passes ``[K, u, C]``.

        Returns:
            Nats ``[u]``, at least 0, and their standard errors ``[u]``, 0 where the joint is exact.

        """
        K, u, C = p.shape
        r = self.W @ p.transpose(0, 2, 1).reshape(K, C * u)  # [M, Cu]
        terms = r * np.log(np.maximum(r, SMALLEST))
        each = -terms.reshape(-1, C, u).sum(axis=1) - self.W @ entropy(p.reshape(-1, C)).reshape(K, u)  # [M, u]
        error = np.zeros(u) if self.exact else each.std(axis=0) / np.sqrt(len(each))
        return np.maximum(self.v @ each, 0.0), error

    def with_label(self, p: np.ndarray, rng: np.random.Generator, most: int = CONFIGURATIONS) -> "Joint":
        """Return the joint with one more label.

        While there are no more than ``most`` configurations, all are kept; beyond, some are drawn with their
        probabilities, ``SAMPLE`` or ``most``, and from then on each is continued by one draw.

        Args:
            p: class probabilities of the candidate in K passes ``[K, C]``.
            rng: the only source of randomness.
            most: configurations.

        """
        r = self.W @ p  # [M, C]
        if self.exact and r.size <= most:
            m, c = np.nonzero(self.v[:, None] * r > 0)
            return Joint(self.v[m] * r[m, c], self.W[m] * p.T[c] / r[m, c, None])
        m = np.arange(len(self.v))
        if self.exact:
            m = rng.choice(m, min(most, SAMPLE), p=self.v / self.v.sum())
        below = np.cumsum(r[m], axis=1)
        c = (rng.random((len(m), 1)) * below[:, -1:] >= below).sum(axis=1)  # never a label of probability 0
        return Joint(np.full(len(m), 1 / len(m)), self.W[m] * p.T[c] / r[m, c, None], exact=False)


def greedy_batch(
    p: np.ndarray, n: int, rng: np.random.Generator, most: int = CONFIGURATIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Choose n candidates, each the one whose label tells most beside the labels of those before it.

    The joint information is submodular: what a candidate gains never grows.  So candidates are looked at in falling
    order of what they gained last, in blocks, until none that is left could be the best.  Nothing is lost by it while
    the joint is exact, and beyond ``ERRORS`` standard errors once it is sampled.  Of equal candidates the first is
    taken.

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
    while len(order) < n and joint.left >= LEFT:
        position, gain = _best(p, joint, alone, bounds, order)
        order.append(position)
        gains.append(gain)
        joint = joint.with_label(p[:, position], rng, most)
    others = np.setdiff1d(np.argsort(-alone, kind="stable"), order, assume_unique=True)  # in that order
    rest = others[: n - len(order)]
    return np.concatenate([np.array(order, int), rest]), np.concatenate([gains, np.zeros(len(rest))])


def _best(p: np.ndarray, joint: Joint, alone: np.ndarray, bounds: np.ndarray, chosen: list[int]) -> tuple[int, float]:
    """Return the candidate that gains most and its gain; gains become bounds for the picks that follow."""
    left = np.setdiff1d(np.arange(len(alone)), chosen)
    queue = left[np.argsort(-bounds[left], kind="stable")]
    found, size = np.full(len(alone), -1.0), max(1, BLOCK // (len(joint.v) * p.shape[2]))
    start = 0
    while start < len(queue) and bounds[queue[start]] >= found.max() - TIE:
        block = queue[start : start + size]
        found[block], error = joint.gains(p[:, block])
        bounds[block] = found[block] + ERRORS * error
        start += size
    best = np.flatnonzero(found >= found.max() - TIE)
    position = int(best[alone[best] >= alone[best].max() - TIE][0])
    return position, float(found[position])
