"""The linearisation service: a trained network and its data in, look-ahead scores and queries out, labels back in."""

from collections.abc import Callable, Hashable
from copy import copy
from pathlib import Path

import numpy as np

from common.losses import Loss
from common.naming import one_of
from linearize import saved
from linearize.build import Sample, build, plan_build, with_covariance
from linearize.choice import MODES, Choice, Mode, best, following
from linearize.criteria import Criterion, Measure, get_criterion
from linearize.criteria.pool_sum import Estimate, PoolSum, estimate
from linearize.diagnostics import Diagnostics, ScoreDiagnostics, judge_criterion
from linearize.engine.plan import Plan
from linearize.errors import LinearizeError
from linearize.inputs import Data, Network, check_finite
from linearize.kernel import empirical_ntk, network_outputs
from linearize.options import KernelOptions
from linearize.posterior import LabelledFactor, Lazy, Posterior, Sampled
from linearize.saved import Saved
from linearize.types import ApplyFn, Progress, Variables


class LookAhead:
    """The linearised network, factored once and held open: it scores its pool, and takes labels in as they come.

    Make one by ``fit`` or ``load``.

    Args:
        network: what was linearised.
        data: on what.
        options: how its kernel is computed.
        loss: that trained the network, calibrated on the labelled set.
        posterior: of the labelled set and the answers so far.
        diagnostics: figures to judge it by.
        plan: how its kernel was computed; planned when asked for where absent.

    """

    def __init__(
        self,
        network: Network,
        data: Data,
        options: KernelOptions,
        loss: Loss,
        posterior: Posterior,
        diagnostics: Diagnostics,
        plan: Plan | None = None,
    ) -> None:
        self.network, self.data, self.options, self.loss = network, data, options, loss
        self.diagnostics = diagnostics
        self._posterior, self._plan = posterior, plan
        self._shared = False  # whether anybody else may hold the posterior
        self._W: np.ndarray | None = None

    def __repr__(self) -> str:
        L, U = len(self.data.X), len(self.data.pool)
        return f"LookAhead(labelled={L}, pool={U}, observed={len(self.observed)}, {self.diagnostics})"

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
        loss: str | Loss = "l2",
        penalised: bool = False,
        sample: Sample | None = None,
    ) -> "LookAhead":
        """Linearise the network around its weights and finish its training on the labelled set.

        Where training minimised ½||Y - f(X)||² + ½λ||θ||², λ the ridge, to the end, it is finished: what is left of the
        labels is held by the penalty, and to pull by it again would undo that.  One more label then moves f by
        v(x) (y' - f(x')) / (v(x') + λ), as solving again would (Hoerl & Kennard 1970).

        Source: Mohamadi, Bae & Sutherland 2022, eqs. 6, 8 and 11.

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
            full: whether to compute Θ(U,U) now.  Without, criteria of f_lin alone never need it, and others compute
                it when first asked for.
            loss: that trained the network, a key of ``common.losses.LOSSES`` or a record: it says what outputs mean
                and what labels ask of them.
            penalised: whether the ridge's penalty was part of what training minimised.
            sample: of the pool, that stands for it in the place of Θ(U,U) where a criterion is a sum over the pool of a
                scalar kernel: time and memory are then linear in U, the highest scores exact, the others estimates.
                Other criteria compute Θ(U,U) when first asked for; a pool that is no larger is taken whole.

        Returns:
            A service that scores this pool.

        Raises:
            LinearizeError: an empty or mismatched input, or no such loss.
            SingularKernelError: the labelled kernel cannot be factored.
            MemoryBudgetError: the kernel does not fit.

        """
        options, network = options or KernelOptions(), Network(apply_fn, variables)
        built = build(
            network, X, Y, pool, ids, options, loss, full=full, penalised=penalised, sample=sample, progress=progress,
            on_plan=on_plan,
        )  # fmt: skip
        return cls(network, built.data, options, built.loss, built.posterior, built.diagnostics, built.plan)

    @property
    def plan(self) -> Plan:
        """How the kernel was computed; of a loaded service, how it would be."""
        if self._plan is None:
            drawn = self._posterior.references.draws if isinstance(self._posterior, Sampled) else 0
            self._plan = plan_build(self.network, self.data, self.options, full=self.full, references=drawn)
        return self._plan

    @property
    def full(self) -> bool:
        """Whether the covariance is there."""
        return self._posterior.dense

    @property
    def sampled(self) -> bool:
        """Whether a sample stands for the pool."""
        return isinstance(self._posterior, Sampled)

    def estimate(self, criterion: str | Criterion | None = None, measure: Measure | None = None) -> Estimate | None:
        """Return a criterion's scores as they are known, with their errors; None where nothing is estimated.

        Args:
            criterion: as of ``scores``.
            measure: as of ``scores``.

        Raises:
            LinearizeError: as ``scores``.

        """
        chosen = self._criterion(criterion, measure)
        if not isinstance(self._posterior, Sampled) or (summed := self._summed(chosen, measure)) is None:
            return None
        return estimate(self._posterior, summed)

    @property
    def labelled(self) -> LabelledFactor:
        """The labelled set's factor; nothing of the pool's covariance is computed for it."""
        return self._posterior.labelled

    @property
    def posterior(self) -> Posterior:
        """The linearised network now, its covariance computed if need be; answers to the service do not change it."""
        self._shared = True
        return self._with_covariance()

    @property
    def observed(self) -> np.ndarray:
        """The ids of the candidates that were answered, in order, ``[n]``."""
        return self.data.ids[[answer.candidate for answer in self._posterior.answers]]

    def fork(self) -> "LookAhead":
        """Return an independent service in the same state: answers to it do not change this one."""
        self._shared = True
        return copy(self)

    def scores(
        self, criterion: str | Criterion | None = None, measure: Measure | None = None, *, best: int = 1
    ) -> np.ndarray:
        """Score every candidate of the pool, ``[U]``; higher means query first, -inf where answered.

        Args:
            criterion: a registered name, such as ``mlmoc``, or one of your own; by default ``margin-influence``,
                without covariance ``margin-lin``.
            measure: how change is measured, where the criterion measures one.
            best: how many of the highest are exact where a sample stands for the pool.

        Raises:
            LinearizeError: unknown criterion, reference or distance.

        """
        chosen = self._criterion(criterion, measure)
        return chosen.scores(self._posterior_for(chosen, measure), self.loss, measure, best=best)

    def score_diagnostics(
        self, criterion: str | Criterion | None = None, measure: Measure | None = None, scores: np.ndarray | None = None
    ) -> ScoreDiagnostics:
        """Judge a criterion's scores: their spread, and whether unfinished training dominates them.

        Args:
            criterion: as of ``scores``.
            measure: as of ``scores``.
            scores: those themselves ``[U]``, where they are known already.

        Raises:
            LinearizeError: as ``scores``.

        """
        chosen = self._criterion(criterion, measure)
        return judge_criterion(chosen, self._posterior_for(chosen, measure), self.loss, measure, scores)

    def query(
        self, n: int = 1, criterion: str | Criterion | None = None, mode: Mode = "top", measure: Measure | None = None
    ) -> np.ndarray:
        """Choose what to label next; the state stays as it is until ``observe``.

        ``greedy`` answers each choice by its likeliest label, on a posterior of its own, before the next: a batch that
        repeats no information, and no copy of a candidate while others tell something.  ``sequential`` is the single
        best now.

        Args:
            n: how many; 1 for ``sequential``.
            criterion: as in ``scores``.
            mode: ``top``, ``greedy`` or ``sequential``.
            measure: as in ``scores``.

        Returns:
            Ids, or positions where no ids were given, best first ``[n]``.

        Raises:
            LinearizeError: unknown criterion, mode, reference or distance, or another n than can be had.

        """
        return self.choose(n, criterion, mode, measure).ids

    def choose(
        self, n: int = 1, criterion: str | Criterion | None = None, mode: Mode = "top", measure: Measure | None = None
    ) -> Choice:
        """Choose as ``query`` does, and say with what scores.

        Args:
            n: as of ``query``, like all that follow.
            criterion: which.
            mode: how.
            measure: of change.

        Raises:
            LinearizeError: as ``query``.

        """
        left = int((~self._posterior.answered).sum())
        if mode not in MODES:
            raise LinearizeError(f"query mode: {one_of(mode, MODES)}")
        if mode == "sequential" and n != 1:
            raise LinearizeError(f"query: expected n = 1 in the mode sequential, one answer before the next; got {n}")
        if not 1 <= n <= left:
            raise LinearizeError(f"query: expected 1 to {left} candidates (those left), got {n}")
        if mode == "top":
            scores = self.scores(criterion, measure, best=n)
            ranked = np.argsort(-scores, kind="stable")[:n]
            return Choice(self.data.ids[ranked], scores[ranked])
        chosen = self._criterion(criterion, measure)
        posterior, picked = self._posterior_for(chosen, measure), list[tuple[int, float]]()
        while True:
            scores = chosen.scores(posterior, self.loss, measure)
            picked.append(best(posterior, scores))
            if len(picked) == n:
                break
            position = picked[-1][0]
            target = self._target(posterior, position, int(posterior.f[position].argmax()))
            posterior = posterior.condition(position, target, donate=len(picked) > 1)
        ids = self.data.ids[[position for position, _ in picked]]
        coming = self.data.ids[following(scores, picked[-1][0])]
        return Choice(ids, np.array([score for _, score in picked]), coming)

    def observe(self, sample: Hashable, label: int) -> None:
        """Take an answer of the oracle into account: f_lin and S are then those of a fit with it, without training.

        From the first answer on the network is the linearised one, since f knows nothing of the answers: likeliest
        labels are those of f_lin, and change is measured from it whatever the reference.

        O(U² + UC) with the covariance; without, one column Θ(U,x*) and O(U(L + n)).  Where the candidate is redundant,
        the answer only drops it.

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
        if self._posterior.answered[position]:
            raise LinearizeError(f"observe: sample {sample!r} is observed already: each is answered once")
        target = self._target(self._posterior, position, int(label))
        self._posterior = self._posterior.condition(position, target, donate=not self._shared)
        self._shared, self._W = False, None

    def leave_out(self, sample: Hashable) -> None:
        """Choose from now on without a candidate that nobody could label; nothing is learned of it.

        Args:
            sample: as of ``observe``.

        Raises:
            LinearizeError: no such candidate, or one observed or left out already.

        """
        position = self._position(sample)
        if self._posterior.answered[position]:
            raise LinearizeError(f"leave_out: sample {sample!r} is observed or left out already")
        self._posterior = self._posterior.without(position, donate=not self._shared)
        self._shared = False

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the outputs of the network trained to convergence on all labels, observed ones included.

        f_lin(x) = f(x) + Θ(x,X⁺) K⁺⁻¹ (Y⁺ - f(X⁺)), X⁺ all labelled inputs.  Source: Mohamadi, Bae & Sutherland 2022,
        eq. 8.

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
        if self._W is None:
            self._W = self._posterior.weights()
        known = np.concatenate([self.data.X, self.data.pool[self._posterior.told()]])
        f = network_outputs(*self.network, x, precision=self.options.precision).astype(np.float64)
        theta = empirical_ntk(*self.network, x, known, options=self.options)
        return f + (theta @ self._W.reshape(theta.shape[1], -1)).reshape(f.shape)

    def outputs(self) -> np.ndarray:
        """Return what the network says of each candidate, ``[U, C]``: from the first answer on the linearised one."""
        return self._posterior.f.copy()

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is assumed to get, ``[U]``."""
        return self._posterior.f.argmax(axis=1)

    def save(self, path: str | Path) -> None:
        """Write the state, all observations, the labelled set and the pool to one npz file, as a whole or not at all.

        Of the network a fingerprint is kept.

        Args:
            path: the file.

        Raises:
            LinearizeError: the kernel's head is a function of one's own, which no file can hold.
            OSError: it cannot be written.

        """
        parts = Saved(self.network, self.data, self.options, self.loss, self._posterior, self.diagnostics)
        saved.write(Path(path), parts)

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
        return cls(*saved.read(Path(path), Network(apply_fn, variables)))

    def _criterion(self, name: str | Criterion | None, measure: Measure | None) -> Criterion:
        criterion = get_criterion(name or ("margin-lin" if isinstance(self._posterior, Lazy) else "margin-influence"))
        criterion.request(self.loss, measure)  # checks both
        return criterion

    def _posterior_for(self, criterion: Criterion, measure: Measure | None) -> Posterior:
        if criterion.needs == "mean" or (self.sampled and self._summed(criterion, measure) is not None):
            return self._posterior
        return self._with_covariance()

    def _summed(self, criterion: Criterion, measure: Measure | None) -> PoolSum | None:
        return criterion.summed(self._posterior, criterion.request(self.loss, measure))

    def _with_covariance(self) -> Posterior:
        if not self._posterior.dense:
            self._posterior = with_covariance(self.network, self.data, self.options, self._posterior)
        return self._posterior

    def _target(self, posterior: Posterior, position: int, label: int) -> np.ndarray:
        """What a label asks of a candidate's outputs ``[C]``."""
        return self.loss.target(posterior.mean[[position]], np.eye(self.data.Y.shape[1])[[label]])[0]

    def _position(self, sample: Hashable) -> int:
        """Return a candidate's position."""
        name = sample.item() if isinstance(sample, np.generic) else sample
        known = isinstance(name, int | str) and not isinstance(name, bool)
        found = np.flatnonzero(self.data.ids == name) if known else np.zeros(0, int)
        if not len(found):
            raise LinearizeError(f"observe: expected the id of one of {len(self.data.ids)} candidates, got {sample!r}")
        return int(found[0])
