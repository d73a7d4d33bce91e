"""How training that does not work at a learning rate is recognised, and what is said of it.

It fails in three ways: it diverged, which is numbers that are not finite, or far from any target; it is dead, which is
a network that gives every image the same outputs because none of its units answers to any; or it blew up, which is a
loss that rose far above what it had been and a network that does not fit its images at the epoch limit.  All come of
steps that are too long, so training starts again from the same weights with shorter ones: at a lower rate, and with
gradients no longer than at the start.  The rate alone does not do: where few directions are much steeper than all the
others (an exposure that all pixels share), a network jumps about at each rate at which it learns the rest, and what it
then fits tells new images apart badly.  The first rate that does is not steady yet either: where gradients had to be
shortened, the next is tried too, and kept where it fits the images as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LOWER = 0.25
"""What a rate that failed is multiplied by."""
RESTARTS = 8
"""The most restarts of one training: the last rate is 1/65,536 of the first."""
EQUAL = 1e-6
"""Outputs whose range over the images is at most this share of the largest are the same for all."""
UNFIT, ROSE = 0.5, 2.0
"""A residual above this share of a constant's own is that of images that were not learned; they say that training blew
up only where the loss of an epoch was more than so many times that of an earlier one: else it was merely slow."""
FORGOT = 1.05
"""Where a network is left with what a constant knows (``CHANCE``), a last loss so many times the lowest is enough:
steps are short at the end, so a slow training ends with about its lowest."""
LONG = 50
"""Epochs of a cycle from which on that is judged: a shorter one rises too steeply for it to tell of the rate."""
FAR = 2.0
"""A residual above so many times a constant's own is that of a training that diverged, where the loss rose to it."""
CHANCE, GUESSED = 0.9, 1.5
"""A network that failed learned nothing where its residual is at least this share of a constant's own and it is right
about at most so many times as many images as the most frequent class has."""

Failure = Literal["diverged", "dead", "blew up", "unsteady"]


@dataclass(frozen=True)
class Restart:
    """A learning rate at which training failed.

    Args:
        max_lr: the rate at the top of the cycle.
        epoch: the last one that was run.
        reason: ``diverged``, a loss or outputs that are not finite or huge; ``dead``, the same outputs for every image;
            ``blew up``, a loss that rose and was not brought down again; ``unsteady``, no failure, but after one images
            were fitted with gradients that had to be shortened, and one rate more is tried for the sake of new images.

    """

    max_lr: float
    epoch: int
    reason: Failure


def falling(max_lr: float, restarts: int = RESTARTS) -> Iterator[float]:
    """Yield the rates that are tried in turn, max_lr LOWER^k for k = 0 to the number of restarts.

    Args:
        max_lr: the first.
        restarts: how many follow.

    """
    for k in range(restarts + 1):
        yield max_lr * LOWER**k


def constant_residual(y: NDArray[np.float32]) -> float:
    """Return the residual per sample of the best constant output, the shares p of the classes.

    ||Y - 1 p'||_F / sqrt(L) = sqrt(1 - sum_c p_c^2),   p_c = (1/L) sum_b Y_bc

    Args:
        y: one-hot targets ``[L, C]``.

    """
    p = y.mean(axis=0, dtype=np.float64)  # [C]
    return float(np.sqrt(max(0.0, 1.0 - np.square(p).sum())))


def all_equal(outputs: NDArray[np.float32]) -> bool:
    """Tell whether a network gives every image the same outputs.

    Args:
        outputs: ``[L, C]``, finite.

    """
    return float(np.ptp(outputs, axis=0).max()) <= EQUAL * float(np.abs(outputs).max())


def ran_away(losses: Sequence[float], share: float) -> bool:
    """Tell whether a training that has ended, by death or at the epoch limit, is far above the loss that it began with.

    Args:
        losses: one an epoch.
        share: its residual as a share of a constant's own.

    """
    return share > FAR and max(losses) > ROSE * losses[0]


def blew_up(losses: Sequence[float], share: float) -> bool:
    """Tell whether a training that has come to the epoch limit was unstable and did not recover.

    Args:
        losses: one an epoch.
        share: its residual as a share of a constant's own.

    """
    lowest = np.minimum.accumulate(losses)
    rose = bool((np.asarray(losses) > ROSE * lowest).any())
    forgot = share >= CHANCE and bool(losses[-1] > FORGOT * lowest[-1])
    return len(losses) >= LONG and share > UNFIT and (rose or forgot)


def is_at_chance(outputs: NDArray[np.float32], y: NDArray[np.float32], share: float) -> bool:
    """Tell whether a network that failed says of the labelled images what a constant would.

    Args:
        outputs: ``[L, C]``.
        y: one-hot targets ``[L, C]``.
        share: its residual as a share of a constant's own.

    """
    right = float((outputs.argmax(axis=1) == y.argmax(axis=1)).mean())
    return all_equal(outputs) or (share >= CHANCE and right <= GUESSED * float(y.mean(axis=0).max()))


def describe(max_lr: float, restarts: Sequence[Restart], at_chance: bool, option: str) -> list[str]:
    """Return what a user should know of a training: one line each of its restarts and of having learned nothing.

    Args:
        max_lr: the rate that the network was trained at.
        restarts: before that.
        at_chance: whether it tells images apart no better than a constant.
        option: how the command in use sets the rate, such as ``--max-lr=`` or ``--set train.max_lr=``.

    """
    if at_chance:
        rates = sorted(restart.max_lr for restart in restarts)
        tried = f"{rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) > 1 else f"{max_lr:.3g}"
        return [
            "the network learned nothing: it tells the labelled images apart no better than a guess (learning rates "
            f"tried: {tried}); check the images and their labels, or try another --model"
        ]
    if not restarts:
        return []
    how = {"diverged": "diverged", "dead": "died", "blew up": "blew up", "unsteady": "was unsteady"}
    left = [one for one in restarts if one.reason != "unsteady" or one.max_lr != max_lr]
    failed = ", ".join(f"{how[one.reason]} at {one.max_lr:.3g} (epoch {one.epoch})" for one in left)
    return [
        f"the learning rate was too high and was lowered: training {failed}; the network is that of {max_lr:.3g}, "
        f"where {option}{max_lr:.3g} begins, with gradients no longer than at the start"
    ]
