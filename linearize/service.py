"""The linearisation service: a trained network and its data in, look-ahead scores and queries out, labels back in."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from linearize.criteria import (
    Change,
    Criterion,
    Distance,
    HalfwayCriterion,
    Reference,
    check_measure,
    get_criterion,
)
from linearize.diagnostics import Diagnostics, ScoreDiagnostics, judge_scores
from linearize.engine.prepare import Plan
from linearize.errors import LinearizeError
from linearize.fitting import fit_network, plan_fit
from linearize.held import Held
from linearize.inputs import Data, Network, check_finite
from linearize.kernel import empirical_ntk, network_outputs
from linearize.options import KernelOptions
from linearize.per_logit import PerLogit
from linearize.probabilities import Name, Probabilities
from linearize.regression import Factored, Regression
from linearize.residuals import Residual
from linearize.saving import Saved, load, save
from linearize.types import ApplyFn, Float64, Progress, Variables

__all__ = ["Choice", "Diagnostics", "KernelOptions", "LookAhead", "Mode"]

Mode = Literal["top", "greedy", "sequential"]
"""How ``query`` chooses: the highest scores; one after another, each as if answered by its likeliest label; the single
best now."""


class Choice(NamedTuple):
    """What to label next.

    Args:
        ids: best first ``[n]``.
        scores: their scores when they were chosen ``[n]``.

    """

    ids: np.ndarray
    scores: Float64


class LookAhead:
    """The linearised network, factored once and held open: it scores its pool, and takes labels in as they come.

    Make one by ``fit`` or ``load``.

    Args:
        network: what was linearised.
        data: on what.
        options: how its kernel is computed.
        diagnostics: figures to judge it by.
        held: its regression and the answers so far.
        plan: how its kernel was computed; planned when asked for where absent.

    """

    def __init__(
        self,
        network: Network,
        data: Data,
        options: KernelOptions,
        diagnostics: Diagnostics,
        held: Held,
        plan: Plan | None = None,
    ) -> None:
        self.network, self.data, self.options = network, data, options
        self.diagnostics = diagnostics
        self._held, self._plan = held, plan

    def __repr__(self) -> str:
        L, U = len(self.data.X), len(self.data.pool)
        return f"LookAhead(labelled={L}, pool={U}, observed={len(self._held.observed)}, {self.diagnostics})"

    @classmethod
    def fit(
        cls,
        apply_fn: ApplyFn,
        variables: Variables,
        X: np.ndarray,
        Y: np.ndarray,
        pool: np.ndarray,
        options: KernelOptions | None = None,
        progress: Progress | None = None,
        on_plan: Callable[[Plan], None] | None = None,
        *,
        ids: np.ndarray | None = None,
        full: bool = True,
        probabilities: Name = "simplex",
        residual: Residual = "outputs",
    ) -> "LookAhead":
        """Linearise the network around its weights and finish its training on the labelled set.

        Source: look-ahead paper, eqs. 6, 8 and 11.

        Args:
            apply_fn: the network in eval mode.
            variables: its collections.
            X: labelled inputs ``[L, ...]``.
            Y: one-hot targets ``[L, C]``.
            pool: candidate inputs ``[U, ...]``.
            options: how the kernel is computed.
            progress: called while it is.
            on_plan: called with the kernel's plan before anything is computed.
            ids: what the candidates are called in ``query`` and ``observe``, integers or strings ``[U]``; their
                positions when absent.
            full: whether to compute Θ(U,U) now.  Without, half-way criteria never need it, and other criteria compute
                it when first asked for.
            probabilities: ``simplex`` for a network trained with the L2 loss, ``softmax`` for cross-entropy.
            residual: what a label is compared with.  ``outputs``, y - f, is that of least squares, in which training
                ends at one-hot outputs.  A network trained with cross-entropy wants ``probabilities``,
                β (y - softmax(f)), and ``softmax`` with it: its logits end nowhere.  See ``linearize.residuals``.

        Returns:
            A service that scores this pool.

        Raises:
            LinearizeError: an empty or mismatched input.
            SingularKernelError: the labelled kernel cannot be factored.
            MemoryBudgetError: the kernel does not fit.

        """
        options, network = options or KernelOptions(), Network(apply_fn, variables)
        fitted = fit_network(
            network,
            X,
            Y,
            pool,
            ids,
            options,
            full=full,
            probabilities=probabilities,
            residual=residual,
            progress=progress,
            on_plan=on_plan,
        )
        return cls(network, fitted.data, options, fitted.diagnostics, fitted.held, fitted.plan)

    @property
    def plan(self) -> Plan:
        """How the kernel was computed; of a loaded service, how it would be."""
        if self._plan is None:
            self._plan = plan_fit(
                self.network, self.data.X, self.data.pool, self.options, self.data.Y.shape[1], full=self.full
            )
        return self._plan

    @property
    def probabilities(self) -> Probabilities:
        """What its outputs mean, and what labels ask of them."""
        return self._held.probabilities

    @property
    def factored(self) -> Factored:
        """The labelled kernel's factor."""
        return self._held.factored

    @property
    def full(self) -> bool:
        """Whether S is there."""
        return self._held.full

    @property
    def state(self) -> Regression | PerLogit:
        """The regression, S computed if need be; its arrays belong to this object, and answers change them."""
        return self._held.state

    @property
    def observed(self) -> np.ndarray:
        """The ids of the candidates that were answered, in order, ``[n]``."""
        return self.data.ids[self._held.observed]

    def scores(
        self, criterion: str | None = None, reference: Reference | None = None, distance: Distance = "outputs"
    ) -> Float64:
        """Score every candidate of the pool, ``[U]``; higher means query first, -inf where answered.

        Args:
            criterion: a registered name, such as ``mlmoc``; by default ``margin-influence``, without S ``margin-lin``.
            reference: what change is measured from; the criterion's own default when absent.
            distance: where change is measured, between ``outputs`` or between the probabilities that they mean
                (``simplex``).

        Raises:
            LinearizeError: unknown criterion, reference or distance.

        """
        return self._held.scores(self._criterion(criterion, reference, distance), reference, distance)

    def score_diagnostics(
        self,
        criterion: str | None = None,
        reference: Reference | None = None,
        distance: Distance = "outputs",
        scores: Float64 | None = None,
    ) -> ScoreDiagnostics:
        """Judge a criterion's scores: their spread, and whether unfinished training dominates them.

        Arguments and errors are those of ``scores``, and the scores themselves where they are known already.
        """
        chosen = self._criterion(criterion, reference, distance)
        if scores is None:
            scores = self._held.scores(chosen, reference, distance)
        if not isinstance(chosen, Change) or (reference or chosen.default_reference) == "linearized":
            return judge_scores(scores)
        own = self._held.scores(chosen, "linearized", distance)
        return judge_scores(scores, chosen.finishing(self.state, distance), own)

    def query(
        self,
        n: int = 1,
        criterion: str | None = None,
        mode: Mode = "top",
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> np.ndarray:
        """Choose what to label next; the state stays as it is until ``observe``.

        ``greedy`` answers each choice by its likeliest label, on a copy, before the next: a batch that repeats no
        information, and no copy of a candidate while others tell something.  ``sequential`` is the single best now.

        Args:
            n: how many; 1 for ``sequential``.
            criterion: as in ``scores``.
            mode: ``top``, ``greedy`` or ``sequential``.
            reference: as in ``scores``.
            distance: as in ``scores``.

        Returns:
            Ids, or positions where no ids were given, best first ``[n]``.

        Raises:
            LinearizeError: unknown criterion, mode, reference or distance, or another n than can be had.

        """
        return self.choose(n, criterion, mode, reference, distance).ids

    def choose(
        self,
        n: int = 1,
        criterion: str | None = None,
        mode: Mode = "top",
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> Choice:
        """Choose as ``query`` does, and say with what scores; arguments and errors are those of ``query``."""
        left = int((~self._held.answered).sum())
        if mode not in get_args(Mode):
            raise LinearizeError(f"query mode: expected one of {', '.join(get_args(Mode))}; got {mode!r}")
        if mode == "sequential" and n != 1:
            raise LinearizeError(f"query: expected n = 1 in the mode sequential, one answer before the next; got {n}")
        if not 1 <= n <= left:
            raise LinearizeError(f"query: expected 1 to {left} candidates (those left), got {n}")
        if mode == "top":
            scores = self.scores(criterion, reference, distance)
            ranked = np.argsort(-scores, kind="stable")[:n]
            return Choice(self.data.ids[ranked], scores[ranked])
        chosen = self._criterion(criterion, reference, distance)
        picked = self._held.in_order(chosen, reference, distance, n)
        return Choice(self.data.ids[[position for position, _ in picked]], np.array([score for _, score in picked]))

    def observe(self, sample: Hashable, label: int) -> None:
        """Take an answer of the oracle into account: f_lin and S are then those of a fit with it, without training.

        From the first answer on the network is the linearised one, since f knows nothing of the answers: likeliest
        labels are those of f_lin, and change is measured from it whatever the reference.

        O(U² + UC) with S; without, one column Θ(U,x*) and O(U(L + n)).  Where the candidate is redundant, the answer
        only drops it.

        Args:
            sample: the candidate's id, or its position where no ids were given.
            label: its class.

        Raises:
            LinearizeError: no such candidate, one observed already, or no such class.

        """
        position, C = self._position(sample), self.data.Y.shape[1]
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < C:
            expected = f"observe: expected a class, an integer from 0 to {C - 1}, for sample {sample!r}"
            raise LinearizeError(f"{expected}, got {label!r}")
        if self._held.answered[position]:
            raise LinearizeError(f"observe: sample {sample!r} is observed already: each is answered once")
        self._held.answer(position, int(label))

    def predict(self, x: np.ndarray) -> Float64:
        """Predict the outputs of the network trained to convergence on all labels, observed ones included.

        f_lin(x) = f(x) + Θ(x,X⁺) K⁺⁻¹ (Y⁺ - f(X⁺)), X⁺ all labelled inputs.  Source: look-ahead paper, eq. 8.

        Args:
            x: any inputs ``[N, ...]``.

        Returns:
            Logits ``[N, C]``.

        Raises:
            LinearizeError: no inputs, or of another shape.
            NonFiniteError: an input is NaN or infinite.

        """
        if not len(x) or x.shape[1:] != self.data.X.shape[1:]:
            raise LinearizeError(f"predict: expected inputs [N, ...] of shape {self.data.X.shape[1:]}, got {x.shape}")
        check_finite("x", x)
        W, known = self._held.weights(), np.concatenate([self.data.X, self.data.pool[self._held.told()]])
        f = network_outputs(*self.network, x, precision=self.options.precision).astype(np.float64)
        theta = empirical_ntk(*self.network, x, known, settings=self.options.settings)
        return f + (theta @ W.reshape(theta.shape[1], -1)).reshape(f.shape)

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is assumed to get, ``[U]``."""
        return self._held.pseudo_labels()

    def save(self, path: str | Path) -> None:
        """Write the state, all observations, the labelled set and the pool to one npz file, as a whole or not at all.

        Raises:
            OSError: it cannot be written.

        """
        save(Path(path), self.network, Saved(self.data, self.options, self.diagnostics, self._held))

    @classmethod
    def load(cls, path: str | Path, apply_fn: ApplyFn, variables: Variables) -> "LookAhead":
        """Read what ``save`` wrote, and go on where it was; nothing in the file is executed.

        Args:
            path: the file.
            apply_fn: the same network.
            variables: its collections, the same.

        Raises:
            LinearizeError: the file is another one, or was saved with another network.

        """
        network = Network(apply_fn, variables)
        saved = load(Path(path), network)
        return cls(network, saved.data, saved.options, saved.diagnostics, saved.held)

    def _criterion(
        self, name: str | None, reference: Reference | None, distance: Distance
    ) -> Criterion | HalfwayCriterion:
        check_measure(reference, distance)
        return get_criterion(name or ("margin-influence" if self.full else "margin-lin"), self.probabilities)

    def _position(self, sample: Hashable) -> int:
        """Return a candidate's position."""
        name = sample.item() if isinstance(sample, np.generic) else sample
        known = isinstance(name, int | str) and not isinstance(name, bool)
        found = np.flatnonzero(self.data.ids == name) if known else np.zeros(0, int)
        if not len(found):
            raise LinearizeError(f"observe: expected the id of one of {len(self.data.ids)} candidates, got {sample!r}")
        return int(found[0])
