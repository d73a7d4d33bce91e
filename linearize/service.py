"""The linearisation service: a trained network and its data in, look-ahead scores out, all as NumPy arrays."""

import math
from dataclasses import asdict, dataclass, field

import numpy as np

from linearize.criteria import Reference, get_criterion
from linearize.errors import LinearizeError, NonFiniteError
from linearize.heads import make_head
from linearize.kernel import DEFAULT_BLOCK, empirical_ntk, network_outputs
from linearize.linalg import condition_number
from linearize.lookahead import pseudo_labels
from linearize.memory import DEFAULT_BUDGET
from linearize.regression import Regression, fit
from linearize.types import ApplyFn, Float64, Kernel, Progress, Variables


@dataclass(frozen=True)
class KernelOptions:
    """How the kernel is computed.

    Args:
        head: scalar head, ``sum-of-logits`` or ``single-logit``.
        logit: which logit, for ``single-logit``.
        ridge: λ relative to the mean diagonal of Θ(X,X).
        block: rows differentiated at once.
        memory_budget: bytes for features and kernel together.

    Raises:
        LinearizeError: a value that makes no sense.

    """

    head: str = "sum-of-logits"
    logit: int = 0
    ridge: float = 0.0
    block: int = DEFAULT_BLOCK
    memory_budget: int = DEFAULT_BUDGET

    def __post_init__(self) -> None:
        make_head(self.head, self.logit)
        for name, fine, expected in (
            ("logit", self.logit >= 0, "at least 0"),
            ("ridge", 0 <= self.ridge < math.inf, "a finite number of at least 0"),
            ("block", self.block >= 1, "at least 1"),
            ("memory_budget", self.memory_budget >= 1, "a number of bytes of at least 1"),
        ):
            if not fine:
                raise LinearizeError(f"kernel {name}: expected {expected}, got {getattr(self, name)}")


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

    """

    state: Regression = field(repr=False)
    diagnostics: Diagnostics

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
        f = network_outputs(apply_fn, variables, x, block=options.block)
        theta = empirical_ntk(
            apply_fn,
            variables,
            x,
            head=make_head(options.head, options.logit),
            block=options.block,
            memory_budget=options.memory_budget,
            progress=progress,
        )
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
        return cls(state, diagnostics)

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
