"""ALBL: learn, query by query, which strategy to trust."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.queries.base import QueryStrategy
from pipeline.queries.coreset import CoreSet
from pipeline.queries.selection import Selection
from pipeline.queries.state import QueryState
from pipeline.queries.uncertainty import UNCERTAINTY

DELTA = 0.1
"""With probability 1 - δ the bandit's regret is bounded.  Source: Ash et al. 2020, published code."""
ENDLESS = 100
"""T where a run has no end, as on a page: p_min is then 0.06, near the 0.05 of the code of Ash et al. 2020."""


@dataclass(frozen=True)
class Bandit:
    """EXP4.P over K arms, one round a query.

    Source: Beygelzimer et al. 2011, algorithm 1; Hsu & Lin 2015, algorithm 1.

    Args:
        K: how many arms.
        T: rounds in all.

    """

    K: int
    T: int

    @property
    def p_min(self) -> float:
        """√(ln K / (K T)), the least probability of an arm; 1/K where that is less."""
        return min(math.sqrt(math.log(self.K) / (self.K * self.T)), 1 / self.K)

    def probabilities(self, w: np.ndarray) -> np.ndarray:
        """Return the arms' probabilities, p_k = (1 - K p_min) w_k / Σ w + p_min.

        Args:
            w: weights ``[K]``.

        """
        return np.asarray((1 - self.K * self.p_min) * w / w.sum() + self.p_min)

    def learned(self, w: np.ndarray, p: np.ndarray, r_hat: np.ndarray) -> np.ndarray:
        """Return the weights after a round, w_k exp(p_min/2 (r̂_k + √(ln(K/δ) / (K T)) / p_k)).

        Args:
            w: weights before ``[K]``.
            p: probabilities that the arm was drawn with ``[K]``.
            r_hat: the reward, importance-weighted by arm ``[K]``.

        """
        bonus = math.sqrt(math.log(self.K / DELTA) / (self.K * self.T)) / p
        return np.asarray(w * np.exp(self.p_min / 2 * (r_hat + bonus)))


@dataclass(frozen=True)
class Query:
    """What is remembered of one query.

    Args:
        ids: samples that were asked about ``[n]``.
        advice: whether each arm would have asked about each, 0 or 1 ``[K, n]``.
        p: probabilities that the arm was drawn with ``[K]``.
        among: how many samples some arm would have asked about.

    """

    ids: list[int]
    advice: list[list[int]]
    p: list[float]
    among: int

    @property
    def q(self) -> np.ndarray:
        """Probability that each sample would be asked about, q(x) = Σ_k p_k A_k(x), ``[n]``."""
        return np.asarray(self.p) @ np.asarray(self.advice, float)


@dataclass(frozen=True)
class Albl(QueryStrategy):
    """Draw one of several strategies by what rewards its queries brought, and let it choose the query.

    A query is a round of EXP4.P and one arm chooses all of it, as in the code of Ash et al. 2020: rewards come once a
    training, and what CoreSet chooses is a batch.  T, the number of rounds, is that of the run's queries, one a cycle
    but the last.  The reward is the importance-weighted accuracy of the network now on what was asked and answered,

    r = 1/T Σ_t 1/n_t Σ_(x in query t) [f(x) = y] / q_t(x),   r̂_k = r · mean of A_k(x) / q(x) over the last query,

    where A_k(x) is 1 where arm k would have asked about x and n_t counts the samples that any arm would have: these
    arms are sure of what they ask, so all others have q = 0 and no estimate holds for them.  (The paper draws one
    sample at a time and divides by the pool's size.)  Samples without an answer count nowhere, n_t in proportion; an
    answer that comes late counts from then on.  A query without any teaches nothing of its arm.

    It learns slowly.  The reward is of all queries so far, so an arm is paid for what others asked; and networks that
    fit their labels are right about nearly all of them.

    Source: Hsu & Lin 2015, algorithm 1.

    Args:
        arms: strategies that need no memory and ask for a whole query at once.

    """

    arms: Sequence[QueryStrategy]
    name = "albl"
    description = "by CoreSet or by least confidence, as a bandit learns from the accuracy on what each asked"
    source = "Hsu & Lin 2015; Ash et al. 2020, published code"
    needs_port = False
    needs_features = True
    remembers = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Learn from the answers to the last query, draw an arm, and choose ``n`` candidates by it."""
        proposals = [arm.query(state, n) for arm in self.arms]
        bandit = Bandit(len(self.arms), state.queries or ENDLESS)
        memory = state.memory or {"weights": [1.0] * bandit.K, "queries": []}
        w, queries = np.asarray(memory["weights"]), [Query(**query) for query in memory["queries"]]
        figures = {}
        right = self._right(state, [sample for query in queries for sample in query.ids])
        if queries and (answered := np.isin(queries[-1].ids, list(right))).any():
            r = reward(queries, right, bandit.T)
            shares = np.asarray(queries[-1].advice) / queries[-1].q  # [K, n]
            w = bandit.learned(w, np.asarray(queries[-1].p), r * shares[:, answered].mean(axis=1))
            w, figures = w / w.max(), {"reward": r}
        p = bandit.probabilities(w)
        k = int(state.rng.choice(bandit.K, p=p))
        chosen, asked = proposals[k], [set(one.indices.tolist()) for one in proposals]
        ids = chosen.indices.tolist()
        advice = [[int(sample in one) for sample in ids] for one in asked]
        queries.append(Query(ids, advice, p.tolist(), len(set().union(*asked))))
        figures |= {"arm": k, **{f"probability_{arm.name}": float(p[j]) for j, arm in enumerate(self.arms)}}
        remembered = {"weights": w.tolist(), "queries": [vars(query) for query in queries]}
        return chosen._replace(figures=(chosen.figures or {}) | figures, memory=remembered)

    def _right(self, state: QueryState, asked: Sequence[int]) -> dict[int, bool]:
        """Return, for each of the samples that has an answer, whether the network gives the same."""
        rows = np.flatnonzero(np.isin(state.labelled.ids, asked))
        if not len(rows):
            return {}
        ids, labels = state.labelled.ids[rows], state.labelled.labels[rows]
        given = state.evaluate(state.inputs(ids)).argmax(axis=1)
        return dict(zip(ids.tolist(), (given == labels).tolist(), strict=True))


def reward(queries: Sequence[Query], right: Mapping[int, bool], T: int) -> float:
    """Return the importance-weighted accuracy of a network on all that was asked and answered so far.

    Args:
        queries: so far.
        right: of every sample that has an answer, whether the network gives it.
        T: queries of the whole run.

    """
    total = 0.0
    for query in queries:
        weights = {x: 1 / q for x, q in zip(query.ids, query.q.tolist(), strict=True) if x in right}
        if weights:
            n = query.among * len(weights) / len(query.ids)
            total += sum(weight for x, weight in weights.items() if right[x]) / n
    return total / T


ALBL = Albl((CoreSet(), next(one for one in UNCERTAINTY if one.name == "least-confidence")))
"""With the arms of dynamicAL's comparison."""
