"""Two half moons that convergence rate control enlarges a labelled set on: the paper's illustration, drawn anew.

Source: Kong et al. 2021, fig. 1: the Π-model, four points picked by hand, a decision boundary after every query.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from linearize.convergence import last_layer_conditioning
from trainer.features import embed
from trainer.loop import fit
from trainer.models import ModelSpec, build
from trainer.options import options_for
from trainer.predict import predict

MOONS, NOISE, SEED = 400, 0.08, 0
PIVOTS = np.array([[-1.0, 0.1], [1.0, 0.1], [0.0, 0.4], [2.0, 0.4]])
PIVOTS_OF = np.array([0, 0, 1, 1])
"""Near which two points of each moon are picked by hand: both ends of the upper moon, then of the lower."""
QUERIES, SIZE, GROUP = 3, 4, 2
SHAPE = (2, 1, 1)
SPEC = ModelSpec("mlp", SHAPE, 2, {"width": 64})
EPOCHS, STEPS = 40, 5


class Step(NamedTuple):
    """A network on the plane.

    Args:
        labelled: positions of what it learned ``[n]``.
        queried: positions of what it asks for next.
        share: of the points that it gets right.
        grid: the difference of its two outputs on the grid ``[side, side]``.

    """

    labelled: np.ndarray
    queried: np.ndarray
    share: float
    grid: np.ndarray


def moons() -> tuple[np.ndarray, np.ndarray]:
    """Return the points ``[N, 2]`` and their moons ``[N]``."""
    rng = np.random.default_rng(SEED)
    t, y = np.pi * rng.random(MOONS), np.arange(MOONS) % 2
    upper = np.stack([np.cos(t), np.sin(t)], axis=1)
    lower = np.stack([1 - np.cos(t), 0.5 - np.sin(t)], axis=1)
    return np.where(y[:, None] == 0, upper, lower) + rng.normal(scale=NOISE, size=(MOONS, 2)), y


def illustrate(
    side: int = 60, queries: int = QUERIES, epochs: int = EPOCHS
) -> tuple[np.ndarray, np.ndarray, list[Step]]:
    """Train the Π-model on four points, let CRC enlarge them, and train anew, again and again.

    Args:
        side: points of the grid on each side.
        queries: how many.
        epochs: of a training.

    Returns:
        The points ``[N, 2]``, their moons ``[N]`` and the steps.

    """
    points, y = moons()
    x = points.reshape(-1, *SHAPE).astype(np.float32)
    grid = np.stack(np.meshgrid(*_axes(side)), axis=-1).reshape(-1, *SHAPE).astype(np.float32)
    rng, steps = np.random.default_rng(SEED), list[Step]()
    distance = ((points[:, None] - PIVOTS[None]) ** 2).sum(axis=2)
    labelled = np.where(y[:, None] == PIVOTS_OF, distance, np.inf).argmin(axis=0)
    options = replace(options_for("mlp", learner="pi-model", loss="cross-entropy", perturb="noise"), epochs=epochs)
    options = replace(options, epoch_steps=STEPS, max_lr=0.1, tolerance=0.0)
    for query in range(queries + 1):
        model, rest = build(SPEC, SEED), np.setdiff1d(np.arange(MOONS), labelled)
        fit(model, x[labelled], y[labelled], 2, options, seed=SEED, unlabelled=x[rest])
        chosen = np.empty(0, int)
        if query < queries:
            features = embed(model, x)[0]
            groups = rng.permutation(len(rest))[: len(rest) // GROUP * GROUP].reshape(-1, GROUP)
            scores = last_layer_conditioning(features[labelled], features[rest], groups, 2).scores()
            chosen = rest[groups[np.argsort(-scores, kind="stable")].reshape(-1)[:SIZE]]
        outputs = predict(model, grid)
        right = float((predict(model, x).argmax(axis=1) == y).mean())
        steps.append(Step(labelled, chosen, right, (outputs[:, 1] - outputs[:, 0]).reshape(side, side)))
        labelled = np.concatenate([labelled, chosen])
    return points, y, steps


def _axes(side: int) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(-1.5, 2.5, side), np.linspace(-1.0, 1.5, side)


def draw(points: np.ndarray, y: np.ndarray, steps: list[Step]) -> Any:
    """Draw the boundary and what is labelled after every query.

    Args:
        points: ``[N, 2]``.
        y: their moons ``[N]``.
        steps: of ``illustrate``.

    """
    from pipeline.report.figures import OKABE_ITO, blank_figure

    figure = blank_figure(2.2)
    for axes, step in zip(figure.subplots(1, len(steps), sharey=True, squeeze=False)[0], steps, strict=True):
        axes.scatter(*points.T, s=3, c=[OKABE_ITO[label] for label in y], alpha=0.4, linewidths=0)
        axes.contour(*_axes(len(step.grid)), step.grid, [0.0], colors="#222222", linewidths=1)
        known = [OKABE_ITO[label] for label in y[step.labelled]]
        axes.scatter(*points[step.labelled].T, s=22, c=known, edgecolors="#222222")
        axes.scatter(*points[step.queried].T, s=22, marker="x", c="#222222", linewidths=1)
        axes.set_title(f"{len(step.labelled)} labels, {step.share:.0%}", fontsize=7)
        axes.tick_params(labelsize=6)
    return figure
