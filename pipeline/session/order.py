"""What a network process is told to do, and what it reports in the end."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.advise.doubts import Doubts
from pipeline.run.pool import Labelled


@dataclass(frozen=True)
class Order:
    """One network to train, or to open where its stages are there.

    Args:
        run_id: of the run.
        cycle: number of the network.
        labelled: what it learns.
        added_classes: names of the classes that were added to the data's own before its training.
        previous: the network before, which a warm start begins from: number of its cycle and the hash of its weights;
            None of the first.
        max_lr: the highest rate to try, see ``rate_left``.
        threads: of torch.
        remembered: the last score stage before, of a strategy that remembers: its cycle and the hash of its scores.
        check: samples of the check set, which it is asked about and never trained on.

    """

    run_id: str
    cycle: int
    labelled: Labelled
    added_classes: tuple[str, ...]
    previous: tuple[int, str] | None
    max_lr: float | None
    threads: int
    remembered: tuple[int, str] | None = None
    check: tuple[int, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a network process ended.

    Args:
        reason: one line.
        max_lr: the lowest learning rate at which training diverged; None where it failed otherwise.
        fatal: whether trying again is of no use.

    """

    reason: str
    max_lr: float | None = None
    fatal: bool = False


@dataclass(frozen=True)
class Ready:
    """A network process can be asked.

    Args:
        candidates: that it chooses among ``[U]``.
        labels: that its network was trained on.
        checked: the class that it takes each sample of the check set for.
        doubts: labels that look wrong to it.

    """

    candidates: np.ndarray
    labels: int
    checked: dict[int, int] = field(default_factory=dict)
    doubts: Doubts = field(default_factory=Doubts)
