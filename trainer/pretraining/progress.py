"""What is said of a training while it goes on, what it leaves when it is told to stop, and how often it is kept."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SAID_EVERY, KEPT_EVERY = 10.0, 20.0
"""Seconds between two lines, and between two checkpoints."""


class Clock:
    """Tells how long what is left will take, by the steps of this call.

    Args:
        done: steps that were done before it.
        steps: of all.

    """

    def __init__(self, done: int, steps: int) -> None:
        self.first, self.steps = done, steps
        self.started = self.said = self.kept = time.monotonic()

    def left(self, done: int) -> float:
        """Return seconds.

        Args:
            done: steps until now.

        """
        return self.seconds / max(1, done - self.first) * (self.steps - done)

    @property
    def seconds(self) -> float:
        """Since this call began."""
        return time.monotonic() - self.started

    def to_say(self, done: int) -> bool:
        """Whether it is time for a line; the last step has one.

        Args:
            done: steps until now.

        """
        if due := time.monotonic() - self.said >= SAID_EVERY or done == self.steps:
            self.said = time.monotonic()
        return due

    def to_keep(self, every: float) -> bool:
        """Whether it is time for a checkpoint.

        Args:
            every: seconds between two of them.

        """
        if due := time.monotonic() - self.kept >= every:
            self.kept = time.monotonic()
        return due


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3.5 h.

    Args:
        seconds: how long.

    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def told_to_stop() -> Iterator[Callable[[], int | None]]:
    """Let a step be finished where Ctrl-C or SIGTERM comes; a second one ends at once.

    Yields:
        A function that returns the signal that came; None where none did.

    """
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
