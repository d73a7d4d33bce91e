"""What is said of a training while it goes on."""

from collections.abc import Callable

from trainer.learners import EpochRecord
from trainer.pretraining.progress import Clock, duration
from trainer.resumable import Checkpoint


class Lines:
    """Lines about a training that takes long, with the time that is left: one every ten seconds.

    Args:
        say: is told each.
        checkpoint: of the training.

    """

    def __init__(self, say: Callable[[str], None], checkpoint: Checkpoint) -> None:
        self._say, self._checkpoint = say, checkpoint
        self._clock: Clock | None = None
        self._last, self._loss = 0, ""

    def epoch(self, record: EpochRecord) -> None:
        """Take note of an epoch.

        Args:
            record: of it.

        """
        self._loss = f", loss {record['loss']:.4g}"

    def step(self, done: int, total: int) -> None:
        """Take note of a step.

        Args:
            done: steps until now.
            total: of all.

        """
        if self._clock is None or done <= self._last:  # it begins, at another rate perhaps
            self._begin(done, total)
        self._last = done
        assert self._clock is not None
        if done < total and self._clock.to_say(done):
            self._say(f"step {done:,} of {total:,}{self._loss}, at most {duration(self._clock.left(done))} left")

    def _begin(self, done: int, total: int) -> None:
        if self._clock is None and self._checkpoint.passed_over:
            self._say(f"note: {self._checkpoint.passed_over}")
        if self._clock is None and self._checkpoint.went_on_from:
            self._say(f"goes on after step {self._checkpoint.went_on_from:,} of {total:,}")
        self._clock = Clock(done - 1, total)
