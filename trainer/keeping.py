"""A whole training, of one attempt or several, kept while it goes on and taken up again."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.attempt import Attempt, OnStep, Run, Weights
from trainer.learners import Inputs
from trainer.restarts import Restart
from trainer.resumable import Checkpoint

LOOKED_AT = 100
"""Inputs without labels, evenly spaced, by which a checkpoint knows that they are the same."""


@dataclass
class Tried:
    """What came of the attempts that have ended.

    Args:
        failed: rates that were gone on from.
        kept: the best attempt that is finite, and the network's weights after it.

    """

    failed: list[Restart] = field(default_factory=list)
    kept: tuple[Attempt, Weights] | None = None

    def state(self) -> dict[str, Any]:
        """Return it as ``trainer.resumable.pack`` takes it."""
        kept = None
        if self.kept is not None:
            attempt, weights = self.kept
            plain = {one.name: getattr(attempt, one.name) for one in fields(attempt)}
            snapshots = [[epoch, kept] for epoch, kept in attempt.snapshots.items()]
            kept = [plain | {"snapshots": snapshots}, weights]
        return {"failed": [asdict(one) for one in self.failed], "kept": kept}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self.failed[:] = [Restart(**one) for one in state["failed"]]
        if state["kept"] is None:
            return
        plain, weights = state["kept"]
        arrays = {name: plain[name].numpy() for name in ("outputs", "rows", "held_out")}
        self.kept = Attempt(**{**plain, **arrays, "snapshots": dict(plain["snapshots"])}), weights


class Keeper:
    """Keeps how far a training is, at the intervals of its checkpoint.

    Args:
        checkpoint: the file; None where nothing is kept.
        digest: returns the hash of all that the training is made from; called where it is needed.
        tried: what came of its attempts; filled in from what is there.

    """

    def __init__(self, checkpoint: Checkpoint | None, digest: Callable[[], str], tried: Tried) -> None:
        self._checkpoint, self._tried = checkpoint, tried
        self._hash, self._digest, self._started = digest, "", time.perf_counter()
        self._run: dict[str, Any] | None = None
        if checkpoint is None or not checkpoint.path.exists():
            return
        state = checkpoint.read(self.digest)
        if state is not None:
            self._run, self._started = state["run"], self._started - state["seconds"]
            tried.go_on_from(state["tried"])

    @property
    def digest(self) -> str:
        """The hash of all that the training is made from."""
        self._digest = self._digest or self._hash()
        return self._digest

    @property
    def seconds(self) -> float:
        """That the training took, before it was killed too."""
        return time.perf_counter() - self._started

    def watch(self, run: Run, on_step: OnStep | None) -> OnStep | None:
        """Take an attempt to where it was, and return what is told of every step of it, to keep it.

        Args:
            run: the attempt at its start.
            on_step: told of every step too.

        """
        checkpoint = self._checkpoint
        if checkpoint is None:
            return on_step
        if self._run is not None:
            run.go_on_from(self._run)
            checkpoint.went_on_from, self._run = run.done, None

        def stepped(done: int, total: int) -> None:
            if checkpoint.due:
                state = {"tried": self._tried.state(), "run": run.state(), "seconds": self.seconds}
                checkpoint.write(self.digest, state)
            if on_step is not None:
                on_step(done, total)

        return stepped

    def end(self) -> None:
        """Remove what was kept: there is nothing to go on to."""
        if self._checkpoint is not None:
            self._checkpoint.remove()


def looked_at(unlabelled: Inputs | None) -> tuple[int, NDArray[np.float32]]:
    """Return how many inputs without labels there are, and some of them.

    Args:
        unlabelled: they.

    """
    if unlabelled is None or len(unlabelled) == 0:
        return 0, np.empty(0, np.float32)
    rows = np.unique(np.linspace(0, len(unlabelled) - 1, min(LOOKED_AT, len(unlabelled))).astype(np.int64))
    return len(unlabelled), np.asarray(unlabelled[rows])
