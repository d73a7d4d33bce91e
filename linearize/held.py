"""The regression that a service holds: no S until a criterion asks for it, no copy until the first answer."""

from functools import lru_cache

import numpy as np

from linearize.answers import Answers
from linearize.criteria import HALFWAY, Criterion, Distance, HalfwayCriterion, Reference
from linearize.criteria.full_kernel import score
from linearize.inputs import Data, Network
from linearize.kernel import compute_ntk, plan_ntk
from linearize.lookahead import label_target
from linearize.ondemand import OnDemand
from linearize.options import KernelOptions
from linearize.per_logit import PerLogit, as_rows
from linearize.per_logit_answers import PerLogitAnswers, SequentialRows
from linearize.probabilities import Probabilities
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
        state: the regression, with S or without; with the full kernel that on rows.
        ridge: λ ≥ 0 of that fit, absolute.
        probabilities: what outputs mean, and so what answers ask of them.

    """

    def __init__(
        self,
        network: Network,
        data: Data,
        options: KernelOptions,
        factored: Factored,
        state: Regression | Rectangle,
        ridge: float,
        probabilities: Probabilities,
    ) -> None:
        self.factored, self.probabilities = factored, probabilities
        self._network, self._data, self._options, self._ridge = network, data, options, ridge
        self._regression: Regression | None = None  # until the first answer
        self._answers: Answers | PerLogitAnswers | None = None  # Sequential or, until S is asked for, OnDemand
        self._classes = data.Y.shape[1]
        self._rows = self._classes if options.per_logit else 1  # of Θ, an example
        self._W: Float64 | None = None
        self._adopt(state)

    @property
    def full(self) -> bool:
        """Whether S is there."""
        return not isinstance(self._row_answers, OnDemand)

    @property
    def state(self) -> Regression | PerLogit:
        """The regression, S computed if need be."""
        self._need_S()
        rows = self.rows
        assert isinstance(rows, Regression)
        if isinstance(self._answers, PerLogitAnswers):
            return self._answers.state
        return PerLogit.of(rows, self._classes, self._data.prior, self._ridge) if self._options.per_logit else rows

    @property
    def rows(self) -> Regression | Rectangle:
        """The regression on Θ's rows, with S only where that is there."""
        if self._regression is not None:
            return self._regression
        rows = self._row_answers
        assert isinstance(rows, Sequential | OnDemand)
        return rows.state

    @property
    def answered(self) -> np.ndarray:
        """Which candidates were answered, ``[U]`` bool."""
        return self._answers.is_answered() if self._answers is not None else np.zeros(len(self._data.pool), bool)

    @property
    def observed(self) -> list[int]:
        """The candidates that were answered, in order."""
        return [candidate for candidate, _ in self._answers.given()] if self._answers is not None else []

    def told(self) -> list[int]:
        """Return the answered candidates that told something, in order."""
        return self._answers.told() if self._answers is not None else []

    def scores(
        self,
        criterion: Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``; -inf where answered."""
        self._need(criterion)
        if self._answers is not None:
            return self._answers.scores(criterion, reference, distance)
        return score(criterion, self.state, reference, distance)

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is assumed to get, ``[U]``."""
        return self._answers.pseudo_labels() if self._answers is not None else self.state.f.argmax(axis=1)

    def in_order(
        self, criterion: Criterion | HalfwayCriterion, reference: Reference | None, distance: Distance, n: int
    ) -> list[tuple[int, float]]:
        """Choose n candidates with their scores, each answered by its likeliest label before the next, on a copy."""
        self._need(criterion)
        answers = self._answers or self._sequential()
        if n > 1 and answers is self._answers:
            answers = answers.copy()
        picked: list[tuple[int, float]] = []
        for _ in range(n):
            picked.append(answers.choose(criterion, reference, distance))
            if len(picked) < n:
                best = picked[-1][0]
                answers.answer(best, self._target(answers.f_lin, best, int(answers.pseudo_labels()[best])))
        return picked

    def answer(self, candidate: int, label: int) -> None:
        """Take the oracle's answer into account."""
        answering = self._answering()
        answering.answer(candidate, self._target(answering.f_lin, candidate, label))
        self._W = None

    def _target(self, f_lin: Float64, candidate: int, label: int) -> Float64:
        return label_target(f_lin, candidate, label, self.probabilities)

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
        rows = OnDemand(self.factored, state, self._data.prior, column, ridge=self._ridge, redundant=epsilon)
        self._answers = self._of_examples(rows)

    def _of_examples(self, rows: OnDemand) -> PerLogitAnswers | OnDemand:
        """Return what takes answers for examples by what takes them for rows."""
        return PerLogitAnswers(rows, self._classes) if self._options.per_logit else rows

    @property
    def _row_answers(self) -> Answers | None:
        return self._answers.rows if isinstance(self._answers, PerLogitAnswers) else self._answers

    def _column(self, row: int) -> Float64:
        """Θ(U,x*) of a row: a backward pass, then a tangent pass over the pool; a rectangle takes ten times as long."""
        candidate, which = divmod(row, self._rows)
        one, settings = self._data.pool[candidate : candidate + 1], self._options.settings
        return ntk_vector_product(*self._network, self._data.pool, np.eye(self._rows)[which], one, settings=settings)

    def _need(self, criterion: Criterion | HalfwayCriterion) -> None:
        if criterion.name not in HALFWAY:
            self._need_S()

    def _need_S(self) -> None:
        """Compute Θ(U,U) where that was not done, and take all answers into account again."""
        if self._answers is None or self.full:
            return
        pool, rows = self._data.pool, len(self._data.prior)
        plan = plan_ntk(*self._network, pool, settings=self._options.settings, afterwards=3 * 8 * rows**2)
        theta = compute_ntk(plan, self._network.variables, pool)
        answers, f = self._answers.given(), self._data.f_U
        f_U = as_rows(f) if self._options.per_logit else f
        self._adopt(complete(self.factored, theta, f_U, ridge=self._ridge))
        for candidate, y in answers:
            self._answering().answer(candidate, y)

    def _answering(self) -> Answers | PerLogitAnswers:
        """Return the object that takes answers, from now on in the place of the regression."""
        if self._answers is None:
            self._answers, self._regression = self._sequential(), None
        return self._answers

    def _sequential(self) -> Answers | PerLogitAnswers:
        """Copy the regression into an object that takes answers."""
        assert self._regression is not None
        given, prior = self._regression, self._data.prior
        if self._options.per_logit:
            return PerLogitAnswers(SequentialRows(given, prior, ridge=self._ridge), self._classes)
        return Sequential(given, prior, ridge=self._ridge)

    def _unanswered(self) -> Answers | PerLogitAnswers:
        """An object without answers, whose S is of no interest."""
        assert self._regression is not None
        prior = self._data.prior
        nothing = np.zeros((len(prior), 0))
        state = Rectangle(nothing, nothing, prior, prior, prior < 0, 0.0)
        return self._of_examples(OnDemand(self.factored, state, prior, self._column))
