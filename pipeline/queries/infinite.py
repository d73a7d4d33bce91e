"""Look-ahead with the kernel of infinitely wide networks in the place of the network's own, for comparison."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from common.losses import get_loss
from linearize.criteria import Change, get_criterion
from linearize.diagnostics import judge_scores
from linearize.gp import fit_gp, gp_ridge
from linearize.linalg import condition_number
from linearize.probabilities import Probabilities
from linearize.regression import Regression, absolute_ridge, fit
from linearize.residuals import cross_entropy, targets
from pipeline.infinite import InfiniteKernel
from pipeline.queries.base import QueryStrategy, Ranking
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import LookAheadOptions, QueryState
from trainer.targets import one_hot


@dataclass(frozen=True)
class InfiniteFit:
    """A model of infinite width, fitted to a cycle's labels.

    Args:
        regression: what looks ahead.
        ridge: its λ, absolute.
        probabilities: what its outputs mean.
        left: what training left of the network's own residual, by name; nothing without the network.

    """

    regression: Regression
    ridge: float
    probabilities: Probabilities = "simplex"
    left: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class InfiniteStrategy(QueryStrategy):
    """Query by MLMOC on the infinite-width kernel Θ∞ of a twin of the network.

    Args:
        name, description, source: as of every strategy.
        model: ``network`` keeps the network's outputs f, so that f_lin = f + Θ∞(x,X) K⁻¹ (Y - f(X)); ``gp`` leaves
            the network out: a Gaussian process with that kernel is the model, f_lin = Θ∞(x,X) K⁻¹ Y, and the
            hypothetical labels are its own, whatever the network's loss.

    """

    name: str
    description: str
    source: str
    model: Literal["network", "gp"]
    needs_port = False
    needs_infinite = True

    def fit(self, state: QueryState) -> InfiniteFit:
        """Fit the model that it looks ahead with.

        Raises:
            LinearizeError: its kernel does not fit, or cannot be factored.

        """
        kernel = state.infinite_kernel
        Y = one_hot(state.labelled.labels, state.num_classes)
        if self.model == "gp":
            return InfiniteFit(*regression_of(kernel, Y))
        f_X = state.evaluate(state.inputs(state.labelled.ids))
        probabilities = meaning_on(state.loss, f_X, Y)
        regression, ridge = regression_of(kernel, targets(f_X, Y, probabilities), (f_X, state.outputs))
        left = {
            "residual_norm": float(np.linalg.norm(get_loss(state.loss).residual(f_X, Y))),
            "remaining_change": float(np.linalg.norm(regression.a, axis=1).mean()),
        }
        return InfiniteFit(regression, ridge, probabilities, left)

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates whose likeliest label would change the model's outputs on the pool most."""
        check_count(state.candidates, n)
        fitted = self.fit(state)
        regression = fitted.regression
        criterion, options = get_criterion("mlmoc", fitted.probabilities), state.options
        reference, distance = options.reference or criterion.default_reference, options.distance
        scores = criterion.scores(regression, reference, distance=distance)
        common = 0.0
        if reference == "network" and isinstance(criterion, Change):
            alone = criterion.scores(regression, "linearized", distance=distance)
            common = judge_scores(scores, criterion.finishing(regression, distance), alone).common_share
        figures = fitted.left | {"common_share": common, "infinite_width": 1.0}
        figures |= _figures(state.infinite_kernel, regression, fitted.ridge)
        return select_top(state.candidates, scores, n)._replace(figures=figures)

    def ranking(self, options: LookAheadOptions) -> Ranking:
        """Return MLMOC, predicted by its own model."""
        return Ranking("mlmoc", options.reference, options.distance, proxy=self.name)


def meaning_on(loss: str, outputs: np.ndarray, Y: np.ndarray) -> Probabilities:
    """Return what the outputs mean where no service is fitted, from the network's outputs on the labelled set.

    Args:
        loss: the loss that the network was trained with.
        outputs: ``[L, C]``.
        Y: one-hot labels ``[L, C]``.

    """
    return cross_entropy(outputs, Y) if loss == "cross-entropy" else "simplex"


def regression_of(
    kernel: InfiniteKernel, Y: np.ndarray, f: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[Regression, float]:
    """Return the regression that a strategy with this kernel looks ahead with, and its ridge λ, absolute.

    Args:
        kernel: over labelled ∪ candidates.
        Y: targets ``[L, C]``, one-hot for least squares.
        f: the network's outputs on the labelled set ``[L, C]`` and on the candidates ``[U, C]``; None leaves the
            network out, so that a Gaussian process is the model.

    Raises:
        SingularKernelError: K cannot be factored.

    """
    XX = kernel.blocks.XX
    if f is None:
        return fit_gp(kernel.blocks, Y, ridge=kernel.ridge), gp_ridge(XX, kernel.ridge)
    ridge = absolute_ridge(XX, kernel.ridge)
    return fit(kernel.blocks, *f, Y, ridge=ridge), ridge


def _figures(kernel: InfiniteKernel, regression: Regression, ridge: float) -> dict[str, float]:
    """What diagnostics say of the network's own kernel, and what this one took; an infinite κ is left out."""
    XX = kernel.blocks.XX
    figures = {
        "condition_number": condition_number(XX + ridge * np.eye(len(XX))),
        "ridge": ridge,
        "jitter": regression.jitter,
        "redundant_share": float(regression.redundant.mean()),
        "kernel_seconds": kernel.seconds,
        "kernel_bytes": kernel.bytes,
    }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


INFINITE = (
    InfiniteStrategy(
        "infinite",
        "as mlmoc, with the kernel of an infinitely wide twin of the network (extra 'infinite')",
        "Borsos, Tagliasacchi & Krause, ICASSP 2021; look-ahead paper, fig. 1b",
        "network",
    ),
    InfiniteStrategy(
        "gp",
        "largest change of a Gaussian process with that kernel, the network left out (extra 'infinite')",
        "Käding et al., BMVC 2018; look-ahead paper, fig. 1b",
        "gp",
    ),
)
