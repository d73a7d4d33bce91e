"""The linearisation service: a trained network and its data in, look-ahead scores out, all as NumPy arrays."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from linearize.criteria import Reference, get_criterion
from linearize.engine.prepare import Plan
from linearize.errors import LinearizeError, NonFiniteError
from linearize.kernel import Settings, compute_ntk, make_settings, network_outputs, outputs_block, plan_ntk
from linearize.linalg import condition_number
from linearize.lookahead import pseudo_labels
from linearize.regression import Regression, fit, fit_bytes
from linearize.types import ApplyFn, Float64, Kernel, Layers, Precision, Progress, Variables


@dataclass(frozen=True)
class KernelOptions:
    """How the kernel is computed.

    Args:
        head: ``sum-of-logits``, ``single-logit`` or ``trace``.
        logit: which logit, for ``single-logit``.
        layers: ``all`` parameters, or those of the ``last`` linear layer.
        ridge: λ relative to the mean diagonal of Θ(X,X).
        precision: ``float32``, ``float64``, ``bfloat16`` or ``tensorfloat32``.
        block: examples whose features lie in one array; chosen by default.
        memory_budget: bytes, or a size such as ``4GiB``; half of what is free by default.
        devices: how many of JAX's devices share the work; all by default.

    Raises:
        LinearizeError: a value that makes no sense.

    """

    head: str = "sum-of-logits"
    logit: int = 0
    layers: Layers = "all"
    ridge: float = 0.0
    precision: Precision = "float32"
    block: int | None = None
    memory_budget: int | str | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.ridge < math.inf:
            raise LinearizeError(f"kernel ridge: expected a finite number of at least 0, got {self.ridge}")
        if self.settings.head.combine == "rows":
            raise LinearizeError(f"kernel head: {self.head!r} gives an example a row for every class, one is expected")

    @property
    def settings(self) -> Settings:
        """The same for the kernel's functions."""
        return make_settings(
            self.head, self.logit, self.layers, self.precision, self.memory_budget, self.block, self.devices
        )


@dataclass(frozen=True)
class Diagnostics:
    """What tells a user whether to trust this cycle's scores.

    Args:
        residual_norm: ‖R‖_F; look-ahead theory assumes it is about 0.
        remaining_change: mean of ‖a(x)‖ over the pool, what finishing training would still move.
        condition_number: κ(K).
        ridge: λ, absolute.
        jitter: what the factorisation had to add to K's diagonal, absolute.
        redundant_share: share of candidates that tell nothing new.

    """

    residual_norm: float
    remaining_change: float
    condition_number: float
    ridge: float
    jitter: float
    redundant_share: float

    def to_json(self) -> dict[str, float | None]:
        """Return plain values; an infinite condition number becomes None, since JSON has no infinity."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True)
class LookAhead:
    """The linearised network, factored once; ask it for the scores of any criterion.

    Args:
        state: the regression on the labelled set.
        diagnostics: figures to judge it by.
        plan: how the kernel was computed.

    """

    state: Regression = field(repr=False)
    diagnostics: Diagnostics
    plan: Plan = field(repr=False)

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

        Returns:
            A service that scores this pool.

        Raises:
            LinearizeError: an empty or mismatched input.
            SingularKernelError: the labelled kernel cannot be factored.
            MemoryBudgetError: the kernel does not fit.

        """
        options = options or KernelOptions()
        if len(X) != len(Y) or not len(X) or not len(pool) or X.shape[1:] != pool.shape[1:]:
            raise LinearizeError(
                f"expected X [L, ...], Y [L, C] and a pool [U, ...] of the same example shape, none empty; got "
                f"{X.shape}, {Y.shape} and {pool.shape}"
            )
        for name, array in (("X", X), ("Y", Y), ("the pool", pool)):
            if not np.isfinite(array).all():
                raise NonFiniteError(f"{name} contains NaN or infinity: remove or mend these examples")
        L = len(X)
        x = np.concatenate([X, pool])
        plan = plan_ntk(apply_fn, variables, x, settings=options.settings, afterwards=fit_bytes(L, len(pool)))
        if on_plan:
            on_plan(plan)
        f = network_outputs(apply_fn, variables, x, block=outputs_block(plan), precision=options.precision)
        theta = compute_ntk(plan, variables, x, progress=progress)
        kernel = Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:])
        ridge = options.ridge * float(np.mean(np.diag(kernel.XX)))
        state = fit(kernel, f[:L], f[L:], Y, ridge=ridge)
        diagnostics = Diagnostics(
            residual_norm=float(np.linalg.norm(Y - f[:L])),
            remaining_change=float(np.linalg.norm(state.a, axis=1).mean()),
            condition_number=condition_number(kernel.XX + ridge * np.eye(L)),
            ridge=ridge,
            jitter=state.jitter,
            redundant_share=float(state.redundant.mean()),
        )
        return cls(state, diagnostics, plan)

    def scores(self, criterion: str, reference: Reference | None = None) -> Float64:
        """Score every candidate of the pool, ``[U]``; higher means query first.

        Args:
            criterion: a registered name, such as ``mlmoc``.
            reference: what change is measured from; the criterion's own default when absent.

        Raises:
            LinearizeError: unknown criterion.

        """
        chosen = get_criterion(criterion)
        return chosen.scores(self.state, reference or chosen.default_reference)

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is assumed to get, ``[U]``."""
        return pseudo_labels(self.state)
