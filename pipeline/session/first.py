"""What is asked before there is a network: representatives of the images, chosen beside while the page opens."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.cold.representatives import RANDOM, first_samples, method_of
from pipeline.run.context import RunContext

PATIENCE = 3.0
"""Seconds after which the first question is drawn at random, where the representatives are not there yet."""


class Representative(NamedTuple):
    """What to ask.

    Args:
        sample: id.
        method: that chose it.
        following: samples that come after it.

    """

    sample: int
    method: str
    following: tuple[int, ...]


class FirstQuestions:
    """Representatives in order, chosen in a thread of its own; random samples are asked for until they are there.

    Args:
        context: of the run.
        given: samples that have a label already.
        left_out: samples of the check set, which are no first questions.
        wanted: how many are asked about before there is a network; none where there is one.
        warn: told why there are none.

    """

    def __init__(
        self,
        context: RunContext,
        given: Sequence[int],
        left_out: Sequence[int],
        wanted: int,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._method = method_of(context.config, context.data)
        self._order: list[int] = []
        self._warn, self._began = warn, time.monotonic()
        self._thread: threading.Thread | None = None
        if self._method != RANDOM and wanted > 0:
            work = threading.Thread(
                target=self._choose, args=(context, list(given), list(left_out), wanted), daemon=True
            )
            self._thread = work
            work.start()

    @property
    def awaited(self) -> bool:
        """Whether they are being chosen, and a person who waits a moment gets a better question for it."""
        return self._thread is not None and self._thread.is_alive() and time.monotonic() - self._began < PATIENCE

    def next(self, free: Callable[[int], bool]) -> Representative | None:
        """Return the next one that nobody was asked about; None where there is none, or none yet.

        Args:
            free: whether nobody was asked about a sample.

        """
        left = [sample for sample in self._order if free(sample)]
        return Representative(left[0], self._method, tuple(left[1:4])) if left else None

    def _choose(self, context: RunContext, given: list[int], left_out: list[int], wanted: int) -> None:
        try:
            found = first_samples(context.data, self._method, context.config.seed, wanted, given, left_out)
        except Exception as error:  # such as an image that cannot be read any more: nobody is kept from labelling
            self._warn(f"the first images are drawn at random: {type(error).__name__}: {' '.join(str(error).split())}")
            return
        self._order = found.tolist()
