"""Look-ahead with the kernel of infinitely wide networks in the place of the network's own, for comparison."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from common.losses import L2, Loss, get_loss
from linearize import CRITERIA, Posterior
from linearize.diagnostics import judge_criterion
from linearize.gp import fit_gp
from linearize.posterior import Dense, Targets, absolute_ridge
from pipeline.infinite import InfiniteKernel
from pipeline.queries.base import QueryStrategy, Ranking
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import LookAheadOptions, QueryState
from trainer.targets import one_hot


@dataclass(frozen=True)
class InfiniteFit:
    """A model of infinite width, fitted to a cycle's labels.

    Args:
        posterior: what looks ahead.
        loss: what its outputs mean and labels ask of them, calibrated.
        left: what training left of the network's own residual, by name; nothing without the network.

    """

    posterior: Posterior
    loss: Loss
    left: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class InfiniteStrategy(QueryStrategy):
    """Query by MLMOC on the infinite-width kernel Θ∞ of a twin of the network.

    Args:
        name: as of every strategy.
        description: likewise.
        source: likewise.
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

        Args:
            state: of the cycle.

        Raises:
            LinearizeError: its kernel does not fit, or cannot be factored.

        """
        kernel = state.infinite_kernel
        Y = one_hot(state.labelled.labels, state.num_classes)
        if self.model == "gp":
            return InfiniteFit(fit_gp(kernel.blocks, Y, ridge=kernel.ridge), L2)
        f_X = state.evaluate(state.inputs(state.labelled.ids))
        loss = get_loss(state.loss).calibrated(f_X, Y)
        targets = Targets(f_X, state.outputs, loss.target(f_X, Y))
        posterior = Dense.init(kernel.blocks, targets, ridge=absolute_ridge(kernel.blocks.XX, kernel.ridge))
        left = {
            "residual_norm": float(np.linalg.norm(loss.residual(f_X, Y))),
            "remaining_change": float(np.linalg.norm(posterior.a, axis=1).mean()),
        }
        return InfiniteFit(posterior, loss, left)

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates whose likeliest label would change the model's outputs on the pool most."""
        check_count(state.candidates, n)
        posterior, loss, left = (fitted := self.fit(state)).posterior, fitted.loss, fitted.left
        measure, criterion = state.options.measure, CRITERIA["mlmoc"]
        scores = criterion.scores(posterior, loss, measure)
        common = judge_criterion(criterion, posterior, loss, measure, scores).common_share
        figures = left | {"common_share": common, "infinite_width": 1.0} | _figures(state.infinite_kernel, posterior)
        return select_top(state.candidates, scores, n)._replace(figures=figures)

    def ranking(self, options: LookAheadOptions) -> Ranking:
        """Return MLMOC, predicted by its own model."""
        return Ranking("mlmoc", options.measure, proxy=self.name)


def _figures(kernel: InfiniteKernel, posterior: Posterior) -> dict[str, float]:
    """What diagnostics say of the network's own kernel, and what this one took; an infinite κ is left out."""
    labelled = posterior.labelled
    figures = {
        "condition_number": labelled.condition_number,
        "ridge": labelled.ridge,
        "jitter": labelled.jitter,
        "redundant_share": float(posterior.redundant.mean()),
        "kernel_seconds": kernel.seconds,
        "kernel_bytes": kernel.bytes,
    }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


INFINITE = (
    InfiniteStrategy(
        "infinite",
        "as mlmoc, with the kernel of an infinitely wide twin of the network (needs neural-tangents)",
        "Borsos et al. 2021; Mohamadi, Bae & Sutherland 2022, fig. 1b",
        "network",
    ),
    InfiniteStrategy(
        "gp",
        "largest change of a Gaussian process with that kernel, the network left out (needs neural-tangents)",
        "Käding et al. 2018; Mohamadi, Bae & Sutherland 2022, fig. 1b",
        "gp",
    ),
)
