"""What a look-ahead criterion is: one frozen record, from which everything that knows criteria derives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from common.losses import L2, Loss
from common.naming import one_of
from linearize.criteria.pool_sum import PoolSum, refined
from linearize.errors import LinearizeError
from linearize.posterior import Posterior, Sampled

Reference = Literal["network", "linearized"]
"""What the change is measured from: the network's outputs f, or the linearised network's f_lin."""

Distance = Literal["outputs", "simplex"]
"""Where a change is measured: between outputs as they are, or between the probabilities that they mean."""

Needs = Literal["mean", "covariance"]
"""What of the posterior a criterion reads: f_lin alone, for which Θ(U,X) is enough, or S too, which takes Θ(U,U)."""

RankingTarget = Literal["size", "flips", "direction", "training"]
"""What a fidelity report judges a ranking by: ``size`` of the outputs' change or predictions that it ``flips``, where
the criterion ranks by these; the ``direction`` of the change where it ranks by something else that rests on it;
``training`` without a candidate where it ranks by f_lin."""

REFERENCES: tuple[Reference, ...] = get_args(Reference)
DISTANCES: tuple[Distance, ...] = get_args(Distance)
DEFAULT_BLOCK = 256
"""Candidates scored at once."""


class Measure(NamedTuple):
    """How criteria that measure a change do it; the others pay no attention.

    Args:
        reference: what change is measured from; the criterion's own default where absent.
        distance: between what it is measured.

    """

    reference: Reference | None = None
    distance: Distance = "outputs"

    def check(self) -> "Measure":
        """Return this measure if it is one.

        Raises:
            LinearizeError: it lists the references or distances that there are.

        """
        for name, value, known in (
            ("reference", self.reference or REFERENCES[0], REFERENCES),
            ("distance", self.distance, DISTANCES),
        ):
            if value not in known:
                raise LinearizeError(f"{name}: {one_of(value, known)}")
        return self


class Request(NamedTuple):
    """What scores are asked for, beside the posterior.

    Args:
        loss: that trained the network, calibrated: what outputs mean, and what labels ask of them.
        reference: what change is measured from.
        distance: between what.
        block: candidates at once.

    """

    loss: Loss = L2
    reference: Reference = "linearized"
    distance: Distance = "outputs"
    block: int = DEFAULT_BLOCK


@dataclass(frozen=True)
class Criterion:
    """A function of the posterior, one score a candidate; higher means query first.

    A redundant candidate scores what changing nothing is worth: 0 where the criterion measures change, the present
    entropy where it measures entropy.

    Args:
        name: what users call it.
        formula: A(x') in the letters of ``linearize.types``.
        description: half a line that ends "asks for the candidates ...".
        source: whom to cite.
        score: maps the posterior and the request to scores ``[U]``.
        ranking_target: what a fidelity report judges it by.
        needs: what of the posterior it reads.
        takes: which fields of ``Measure`` make a difference.
        reference: its own default.
        averages: whether it is a mean over the labels that may come back.
        finishing: of a criterion that measures change, what the change from f to f_lin is worth by it, the same for
            every candidate.
        losses: the losses that it is defined for; all where absent.
        pool_sum: of a criterion of a scalar kernel that is a sum over the pool, what is summed, None as it is asked
            for; a sample of the pool is then enough.

    Raises:
        LinearizeError: ``score`` is no function, or another field has a value that there is not.

    """

    name: str
    formula: str
    description: str
    source: str
    score: Callable[[Posterior, Request], Float[np.ndarray, " U"]]
    ranking_target: RankingTarget
    needs: Needs = "covariance"
    takes: frozenset[Literal["reference", "distance"]] = frozenset()
    reference: Reference = "linearized"
    averages: bool = False
    finishing: Callable[[Posterior, Request], float] | None = None
    losses: tuple[str, ...] | None = None
    pool_sum: Callable[[Posterior, Request], PoolSum | None] | None = None

    def __post_init__(self) -> None:
        if not callable(self.score):
            raise LinearizeError(f"criterion {self.name}: score: expected a function (posterior, request) -> [U]")
        for field, known in (("ranking_target", get_args(RankingTarget)), ("needs", get_args(Needs))):
            if (given := getattr(self, field)) not in known:
                raise LinearizeError(f"criterion {self.name}: {field}: {one_of(given, known)}")

    def request(self, loss: Loss = L2, measure: Measure | None = None, block: int = DEFAULT_BLOCK) -> Request:
        """Return what is asked for, the criterion's own reference where the measure names none.

        Args:
            loss: that trained the network, calibrated.
            measure: how change is measured.
            block: candidates at once.

        Raises:
            LinearizeError: no such reference or distance, or the criterion is not defined for this loss.

        """
        reference, distance = (measure or Measure()).check()
        if self.losses is not None and loss.name not in self.losses:
            raise LinearizeError(
                f"criterion {self.name}: expected a network trained with {' or '.join(self.losses)}; got {loss.name}"
            )
        return Request(loss, reference or self.reference, distance, block)

    def sums(self, measure: Measure) -> bool:
        """Tell whether it is a sum over the pool, of a scalar kernel and a loss that pulls every output alike.

        Args:
            measure: how change is measured.

        """
        plain = measure.distance == "outputs" and (measure.reference or self.reference) == "linearized"
        return self.pool_sum is not None and (not self.takes or plain)

    def summed(self, posterior: Posterior, request: Request) -> PoolSum | None:
        """Return what it sums over the pool, None where it is no such sum.

        Args:
            posterior: the linearised network.
            request: what is asked for.

        """
        if self.pool_sum is None or posterior.outputs > 1:
            return None
        return self.pool_sum(posterior, request)

    def scores(
        self,
        posterior: Posterior,
        loss: Loss = L2,
        measure: Measure | None = None,
        block: int = DEFAULT_BLOCK,
        *,
        best: int = 1,
    ) -> Float[np.ndarray, " U"]:
        """Score every candidate.

        Args:
            posterior: the linearised network.
            loss: that trained the network, calibrated.
            measure: how change is measured.
            block: candidates at once.
            best: how many of the highest are exact where a sample stands for the pool; others are then what a candidate
                has at least (``pool_sum.refined``).

        Returns:
            ``[U]``, float64; -inf where answered.

        Raises:
            LinearizeError: as ``request``, or what ``score`` returned is not one number a candidate.

        """
        request = self.request(loss, measure, block)
        if isinstance(posterior, Sampled) and (summed := self.summed(posterior, request)) is not None:
            scores = refined(posterior, summed, best).least
        else:
            scores = np.asarray(self.score(posterior, request))
        if scores.shape != posterior.answered.shape or np.isnan(scores).any():
            came = "some that are no numbers" if scores.shape == posterior.answered.shape else f"{list(scores.shape)}"
            expected = f"expected a score a candidate, [{len(posterior.f)}]"
            raise LinearizeError(f"criterion {self.name}: {expected}; got {came}")
        return np.where(posterior.answered, -np.inf, scores)
