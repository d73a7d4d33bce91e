"""The linearisation service: a trained network and its data in, look-ahead scores and queries out, labels back in."""

from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from linearize.answers import Answers
from linearize.criteria import HALFWAY, Reference, get_criterion
from linearize.diagnostics import Diagnostics, ScoreDiagnostics, judge_scores
from linearize.engine.prepare import Plan
from linearize.errors import LinearizeError
from linearize.inputs import Data, Network, check_finite, check_ids, check_inputs
from linearize.kernel import compute_ntk, empirical_ntk, network_outputs, outputs_block, plan_ntk
from linearize.linalg import condition_number
from linearize.ondemand import OnDemand
from linearize.options import KernelOptions
from linearize.probabilities import Probabilities, check_probabilities
from linearize.products import ntk_diagonal, ntk_vector_product
from linearize.regression import (
    REDUNDANT,
    Factored,
    Rectangle,
    Regression,
    complete,
    factor,
    fit_bytes,
    fit_rectangle,
    rectangle_bytes,
)
from linearize.sequential import REDUNDANT_FLOAT32, Sequential
from linearize.storage import fingerprint, read_state, write_state
from linearize.types import ApplyFn, Float64, Progress, Variables

__all__ = ["Diagnostics", "KernelOptions", "LookAhead", "Mode"]

Mode = Literal["top", "greedy", "sequential"]
"""How ``query`` chooses: the highest scores; one after another, each as if answered by its likeliest label; the single
best now."""

KEPT_COLUMNS = 256
"""Columns Θ(U,x*) that are kept: a greedy query builds those that the answers to it will take."""


@dataclass(eq=False)
class LookAhead:
    """The linearised network, factored once and held open: it scores its pool, and takes labels in as they come.

    Make one by ``fit`` or ``load``.

    Args:
        network: what was linearised.
        data: on what.
        options: how its kernel is computed.
        probabilities: what its outputs mean, as its loss asks for.
        factored: the labelled kernel's factor.
        diagnostics: figures to judge it by.

    """

    network: Network
    data: Data
    options: KernelOptions
    probabilities: Probabilities
    factored: Factored
    diagnostics: Diagnostics
    _plan: Plan | None = None
    _regression: Regression | None = None  # until the first answer
    _answers: Answers | None = None  # Sequential or, until S is asked for, OnDemand
    _W: Float64 | None = None

    def __repr__(self) -> str:
        L, U = self.factored.Phi.shape
        observed = len(self._answers.answers) if self._answers else 0
        return f"LookAhead(labelled={L}, pool={U}, observed={observed}, {self.diagnostics})"

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
        probabilities: Probabilities = "simplex",
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

        Returns:
            A service that scores this pool.

        Raises:
            LinearizeError: an empty or mismatched input.
            SingularKernelError: the labelled kernel cannot be factored.
            MemoryBudgetError: the kernel does not fit.

        """
        options = options or KernelOptions()
        check_probabilities(probabilities)
        check_inputs(X, Y, pool)
        names = check_ids(ids, len(pool))
        L, U = len(X), len(pool)
        x, columns = np.concatenate([X, pool]), None if full else X
        afterwards = fit_bytes(L, U) if full else rectangle_bytes(L, U)
        plan = plan_ntk(apply_fn, variables, x, columns, options.settings, afterwards=afterwards)
        if on_plan:
            on_plan(plan)
        f = network_outputs(apply_fn, variables, x, block=outputs_block(plan), precision=options.precision)
        if Y.shape != f[:L].shape:
            raise LinearizeError(f"Y: expected one-hot {list(f[:L].shape)}, got {list(Y.shape)}")
        theta = compute_ntk(plan, variables, x, columns, progress=progress)
        XX, XU = theta[:L, :L], theta[:L, L:] if full else theta[L:].T
        ridge = options.ridge * float(np.mean(np.diag(XX)))
        factored = factor(XX, XU, f[:L], Y, ridge=ridge)
        kappa = condition_number(XX + ridge * np.eye(L))
        prior = (
            np.diag(theta)[L:].copy() if full else ntk_diagonal(apply_fn, variables, pool, settings=options.settings)
        )
        data = Data(X, Y, pool, names, np.asarray(f[L:], np.float64), prior)
        state: Regression | Rectangle
        if full:
            state = complete(factored, theta[L:, L:], f[L:], ridge=ridge)
        else:
            state = fit_rectangle(factored, prior, f[L:], ridge=ridge)
        diagnostics = Diagnostics(
            residual_norm=float(np.linalg.norm(Y - f[:L])),
            remaining_change=float(np.linalg.norm(state.a, axis=1).mean()),
            condition_number=kappa,
            ridge=ridge,
            jitter=state.jitter,
            redundant_share=float(state.redundant.mean()),
        )
        service = cls(Network(apply_fn, variables), data, options, probabilities, factored, diagnostics, plan)
        service._adopt(state)
        return service

    @property
    def plan(self) -> Plan:
        """How the kernel was computed; of a loaded service, how it would be."""
        if self._plan is None:
            x, L, full = np.concatenate([self.data.X, self.data.pool]), len(self.data.X), self.full
            afterwards = fit_bytes(L, len(x) - L) if full else rectangle_bytes(L, len(x) - L)
            columns = None if full else self.data.X
            self._plan = plan_ntk(*self.network, x, columns, self.options.settings, afterwards=afterwards)
        return self._plan

    @property
    def full(self) -> bool:
        """Whether S is there."""
        return not isinstance(self._answers, OnDemand)

    @property
    def state(self) -> Regression:
        """The regression, S computed if need be; its arrays belong to this object, and answers change them."""
        self._need_S()
        if self._regression is not None:
            return self._regression
        assert isinstance(self._answers, Sequential)
        return self._answers.state

    @property
    def observed(self) -> np.ndarray:
        """The ids of the candidates that were answered, in order, ``[n]``."""
        return self.data.ids[[answer.candidate for answer in self._answers.answers] if self._answers else []]

    def scores(self, criterion: str | None = None, reference: Reference | None = None) -> Float64:
        """Score every candidate of the pool, ``[U]``; higher means query first, -inf where answered.

        Args:
            criterion: a registered name, such as ``mlmoc``; by default ``mlmoc-flips``, without S ``margin-lin``.
            reference: what change is measured from; the criterion's own default when absent.

        Raises:
            LinearizeError: unknown criterion.

        """
        chosen = get_criterion(criterion or self._default(), self.probabilities)
        if chosen.name not in HALFWAY:
            self._need_S()
        if self._answers is not None:
            return self._answers.scores(chosen, reference)
        return chosen.scores(self.state, reference or chosen.default_reference)

    def score_diagnostics(self, criterion: str | None = None, reference: Reference | None = None) -> ScoreDiagnostics:
        """Judge a criterion's scores: their spread, and whether unfinished training dominates them.

        The arguments and errors are those of ``scores``.
        """
        name = criterion or self._default()
        scores = self.scores(name, reference)
        state = None if name in HALFWAY else self.state
        return judge_scores(scores, name, reference or get_criterion(name).default_reference, state)

    def query(
        self, n: int = 1, criterion: str | None = None, mode: Mode = "top", reference: Reference | None = None
    ) -> np.ndarray:
        """Choose what to label next; the state stays as it is until ``observe``.

        ``greedy`` answers each choice by its likeliest label, on a copy, before the next: a batch that repeats no
        information, and no copy of a candidate while others tell something.  ``sequential`` is the single best now.

        Args:
            n: how many; 1 for ``sequential``.
            criterion: as in ``scores``.
            mode: ``top``, ``greedy`` or ``sequential``.
            reference: as in ``scores``.

        Returns:
            Ids, or positions where no ids were given, best first ``[n]``.

        Raises:
            LinearizeError: unknown criterion or mode, or another n than can be had.

        """
        answered = self._answers.answered if self._answers is not None else np.zeros(len(self.data.pool), bool)
        left = int((~answered).sum())
        if mode not in get_args(Mode):
            raise LinearizeError(f"query mode: expected one of {', '.join(get_args(Mode))}; got {mode!r}")
        if mode == "sequential" and n != 1:
            raise LinearizeError(f"query: expected n = 1 in the mode sequential, one answer before the next; got {n}")
        if not 1 <= n <= left:
            raise LinearizeError(f"query: expected 1 to {left} candidates (those left), got {n}")
        if mode == "top":
            return self.data.ids[np.argsort(-self.scores(criterion, reference), kind="stable")[:n]]
        chosen = get_criterion(criterion or self._default(), self.probabilities)
        if chosen.name not in HALFWAY:
            self._need_S()
        answers = self._answers.copy() if self._answers is not None else self._sequential()
        picked = []
        for _ in range(n):
            picked.append(answers.best(chosen, reference))
            if len(picked) < n:
                label = answers.pseudo_labels()[picked[-1]]
                answers.answer(picked[-1], np.eye(self.data.Y.shape[1])[label])
        return self.data.ids[picked]

    def observe(self, sample: Hashable, label: int) -> None:
        """Take an answer of the oracle into account: equal to fitting again with it, without training.

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
            raise LinearizeError(f"observe: expected a class from 0 to {C - 1} for sample {sample!r}, got {label!r}")
        if self._answers is not None and self._answers.answered[position]:
            raise LinearizeError(f"observe: sample {sample!r} is observed already: each is answered once")
        if self._answers is None:
            self._answers, self._regression = self._sequential(), None
        self._answers.answer(position, np.eye(C)[label])
        self._W = None

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
        told = self._answers.told() if self._answers is not None else []
        if self._W is None:
            self._W = (self._answers or self._unanswered()).weights(self.factored)
        known = np.concatenate([self.data.X, self.data.pool[told]])
        f = network_outputs(*self.network, x, precision=self.options.precision)
        return f.astype(np.float64) + empirical_ntk(*self.network, x, known, settings=self.options.settings) @ self._W

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is assumed to get, ``[U]``."""
        return self._answers.pseudo_labels() if self._answers is not None else self.state.f.argmax(axis=1)

    def save(self, path: str | Path) -> None:
        """Write the state, all observations, the labelled set and the pool to one npz file, as a whole or not at all.

        Raises:
            OSError: it cannot be written.

        """
        state = self._answers.state if isinstance(self._answers, OnDemand) else self.state
        arrays = {f"state_{name}": np.asarray(value) for name, value in state._asdict().items()}
        arrays |= {f"data_{name}": value for name, value in self.data._asdict().items()}
        arrays |= {f"factored_{name}": np.asarray(value) for name, value in self.factored._asdict().items()}
        arrays |= (self._answers or self._unanswered()).dump()
        meta = {
            "network": fingerprint(self.network.variables),
            "full": self.full,
            "options": asdict(self.options),
            "probabilities": self.probabilities,
            "diagnostics": asdict(self.diagnostics),
        }
        write_state(Path(path), meta, arrays)

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
        meta, arrays = read_state(Path(path))
        if fingerprint(variables) != meta["network"]:
            raise LinearizeError(f"{path}: expected the variables it was saved with, got those of another network")
        parts: dict[str, dict[str, Any]] = {"state": {}, "data": {}, "factored": {}, "answers": {}}
        for name, value in arrays.items():
            part, _, field = name.partition("_")
            parts[part][field] = float(value) if field == "jitter" else value
        data, options = Data(**parts["data"]), KernelOptions(**meta["options"])
        f = network_outputs(apply_fn, variables, data.pool[:1], precision=options.precision)
        if f.shape[1] != data.Y.shape[1] or not np.allclose(f, data.f_U[:1], rtol=1e-3, atol=1e-4):
            raise LinearizeError(f"{path}: expected the apply_fn it was saved with, got one with other outputs")
        factored, diagnostics = Factored(**parts["factored"]), Diagnostics(**meta["diagnostics"])
        service = cls(Network(apply_fn, variables), data, options, meta["probabilities"], factored, diagnostics)
        service._adopt(Regression(**parts["state"]) if meta["full"] else Rectangle(**parts["state"]))
        if len(parts["answers"]["candidates"]):
            if service._answers is None:
                service._answers, service._regression = service._sequential(), None
            service._answers.restore(parts["answers"])
        return service

    def _default(self) -> str:
        return "mlmoc-flips" if self.full else "margin-lin"

    def _adopt(self, state: Regression | Rectangle) -> None:
        """Go on from a regression, with S or without."""
        self._regression = self._answers = None
        if isinstance(state, Regression):
            self._regression = state
            return
        epsilon = REDUNDANT if self.options.precision == "float64" else REDUNDANT_FLOAT32
        self._answers = OnDemand(
            self.factored,
            state,
            self.data.prior,
            lru_cache(maxsize=KEPT_COLUMNS)(self._column),
            ridge=self.diagnostics.ridge,
            redundant=epsilon,
        )

    def _column(self, position: int) -> Float64:
        """Θ(U,x*) ``[U]``: a backward pass of x*, a tangent pass over the pool; a rectangle takes ten times as long."""
        one, settings = self.data.pool[position : position + 1], self.options.settings
        return ntk_vector_product(*self.network, self.data.pool, np.ones(1), one, settings=settings)

    def _need_S(self) -> None:
        """Compute Θ(U,U) where that was not done, and take all answers into account again."""
        if not isinstance(self._answers, OnDemand):
            return
        pool, U = self.data.pool, len(self.data.pool)
        plan = plan_ntk(*self.network, pool, settings=self.options.settings, afterwards=3 * 8 * U**2)
        theta = compute_ntk(plan, self.network.variables, pool)
        answers = self._answers.answers
        self._adopt(complete(self.factored, theta, self.data.f_U, ridge=self.diagnostics.ridge))
        if answers:
            self._answers, self._regression = self._sequential(), None
        for answer in answers:
            assert self._answers is not None
            self._answers.answer(answer.candidate, answer.y)

    def _sequential(self) -> Sequential:
        """Copy the regression into an object that takes answers."""
        assert self._regression is not None
        return Sequential(self._regression, self.data.prior, ridge=self.diagnostics.ridge)

    def _unanswered(self) -> Answers:
        """An object without answers, whose S is of no interest."""
        assert self._regression is not None
        nothing = np.zeros((len(self.data.pool), 0))
        state = Rectangle(nothing, nothing, self.data.prior, self.data.prior, self.data.prior < 0, 0.0)
        return OnDemand(self.factored, state, self.data.prior, self._column)

    def _position(self, sample: Hashable) -> int:
        """Return a candidate's position."""
        name = sample.item() if isinstance(sample, np.generic) else sample
        known = isinstance(name, int | str) and not isinstance(name, bool)
        found = np.flatnonzero(self.data.ids == name) if known else np.zeros(0, int)
        if not len(found):
            raise LinearizeError(f"observe: expected the id of one of {len(self.data.ids)} candidates, got {sample!r}")
        return int(found[0])
