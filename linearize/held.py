"""The regression that a service holds: no S until a criterion asks for it, no copy until the first answer."""

from functools import lru_cache

import numpy as np

from linearize.answers import Answers
from linearize.criteria import HALFWAY, Criterion, HalfwayCriterion, Reference
from linearize.inputs import Data, Network
from linearize.kernel import compute_ntk, plan_ntk
from linearize.ondemand import OnDemand
from linearize.options import KernelOptions
from linearize.products import ntk_vector_product
from linearize.regression import REDUNDANT, Factored, Rectangle, Regression, complete
from linearize.sequential import REDUNDANT_FLOAT32, Sequential
from linearize.types import Float64

KEPT_COLUMNS = 256
"""Columns Θ(U,x*) that are kept: a greedy query builds those that the answers to it will take."""


class Held:
    """The linearised network with all answers so far.

    Args:
        network: what was linearised.
        data: on what.
        options: how its kernel is computed.
        factored: the labelled kernel's factor.
        state: the regression, with S or without.
        ridge: λ ≥ 0 of that fit, absolute.

    """

    def __init__(
        self,
        network: Network,
        data: Data,
        options: KernelOptions,
        factored: Factored,
        state: Regression | Rectangle,
        ridge: float,
    ) -> None:
        self.factored = factored
        self._network, self._data, self._options, self._ridge = network, data, options, ridge
        self._regression: Regression | None = None  # until the first answer
        self._answers: Answers | None = None  # Sequential or, until S is asked for, OnDemand
        self._W: Float64 | None = None
        self._adopt(state)

    @property
    def full(self) -> bool:
        """Whether S is there."""
        return not isinstance(self._answers, OnDemand)

    @property
    def state(self) -> Regression:
        """The regression, S computed if need be."""
        self._need_S()
        if self._regression is not None:
            return self._regression
        assert isinstance(self._answers, Sequential)
        return self._answers.state

    @property
    def smallest_state(self) -> Regression | Rectangle:
        """The regression with S only where that is there."""
        return self._answers.state if isinstance(self._answers, OnDemand) else self.state

    @property
    def answered(self) -> np.ndarray:
        """Which candidates were answered, ``[U]`` bool."""
        return self._answers.answered if self._answers is not None else np.zeros(len(self._data.pool), bool)

    @property
    def observed(self) -> list[int]:
        """The candidates that were answered, in order."""
        return [answer.candidate for answer in self._answers.answers] if self._answers is not None else []

    def told(self) -> list[int]:
        """Return the answered candidates that told something, in order."""
        return self._answers.told() if self._answers is not None else []

    def scores(self, criterion: Criterion | HalfwayCriterion, reference: Reference | None) -> Float64:
        """Score every candidate, ``[U]``; -inf where answered."""
        self._need(criterion)
        if self._answers is not None:
            return self._answers.scores(criterion, reference)
        return criterion.scores(self.state, reference or criterion.default_reference)

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is assumed to get, ``[U]``."""
        return self._answers.pseudo_labels() if self._answers is not None else self.state.f.argmax(axis=1)

    def in_order(
        self, criterion: Criterion | HalfwayCriterion, reference: Reference | None, n: int
    ) -> list[tuple[int, float]]:
        """Choose n candidates with their scores, each answered by its likeliest label before the next, on a copy."""
        self._need(criterion)
        answers = self._answers or self._sequential()
        if n > 1 and answers is self._answers:
            answers = answers.copy()
        picked: list[tuple[int, float]] = []
        for _ in range(n):
            picked.append(answers.choose(criterion, reference))
            if len(picked) < n:
                best = picked[-1][0]
                answers.answer(best, np.eye(self._data.Y.shape[1])[answers.pseudo_labels()[best]])
        return picked

    def answer(self, candidate: int, y: np.ndarray) -> None:
        """Take the oracle's answer y ``[C]`` into account."""
        self._answering().answer(candidate, y)
        self._W = None

    def weights(self) -> Float64:
        """Return W with f_lin(x) = f(x) + Θ(x, X⁺) W for any x, X⁺ being X and then ``told()``, ``[L + n, C]``."""
        if self._W is None:
            self._W = (self._answers or self._unanswered()).weights(self.factored)
        return self._W

    def dump(self) -> dict[str, np.ndarray]:
        """Return the answers as arrays, for ``restore``."""
        return (self._answers or self._unanswered()).dump()

    def restore(self, answers: dict[str, np.ndarray]) -> None:
        """Take over answers, whose effect on the state this object has already."""
        if len(answers["candidates"]):
            self._answering().restore(answers)

    def _adopt(self, state: Regression | Rectangle) -> None:
        """Go on from a regression, with S or without."""
        self._regression = self._answers = None
        if isinstance(state, Regression):
            self._regression = state
            return
        epsilon = REDUNDANT if self._options.precision == "float64" else REDUNDANT_FLOAT32
        column = lru_cache(maxsize=KEPT_COLUMNS)(self._column)
        self._answers = OnDemand(self.factored, state, self._data.prior, column, ridge=self._ridge, redundant=epsilon)

    def _column(self, position: int) -> Float64:
        """Θ(U,x*) ``[U]``: a backward pass of x*, a tangent pass over the pool; a rectangle takes ten times as long."""
        one, settings = self._data.pool[position : position + 1], self._options.settings
        return ntk_vector_product(*self._network, self._data.pool, np.ones(1), one, settings=settings)

    def _need(self, criterion: Criterion | HalfwayCriterion) -> None:
        if criterion.name not in HALFWAY:
            self._need_S()

    def _need_S(self) -> None:
        """Compute Θ(U,U) where that was not done, and take all answers into account again."""
        if not isinstance(self._answers, OnDemand):
            return
        pool, U = self._data.pool, len(self._data.pool)
        plan = plan_ntk(*self._network, pool, settings=self._options.settings, afterwards=3 * 8 * U**2)
        theta = compute_ntk(plan, self._network.variables, pool)
        answers = self._answers.answers
        self._adopt(complete(self.factored, theta, self._data.f_U, ridge=self._ridge))
        for answer in answers:
            self._answering().answer(answer.candidate, answer.y)

    def _answering(self) -> Answers:
        """Return the object that takes answers, from now on in the place of the regression."""
        if self._answers is None:
            self._answers, self._regression = self._sequential(), None
        return self._answers

    def _sequential(self) -> Sequential:
        """Copy the regression into an object that takes answers."""
        assert self._regression is not None
        return Sequential(self._regression, self._data.prior, ridge=self._ridge)

    def _unanswered(self) -> Answers:
        """An object without answers, whose S is of no interest."""
        assert self._regression is not None
        nothing, prior = np.zeros((len(self._data.pool), 0)), self._data.prior
        state = Rectangle(nothing, nothing, prior, prior, prior < 0, 0.0)
        return OnDemand(self.factored, state, prior, self._column)
