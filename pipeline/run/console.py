"""What a person sees while a run goes on: live progress on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.progress import StageProgress
from pipeline.run.summary import CycleRow, shown_accuracy
from trainer.pretraining.progress import duration

COLUMNS = (("cycle", 5), ("labels", 7), ("test acc", 9), ("|R|", 7), ("epochs", 7))
STAGES = (("train", 8), ("migrate", 10), ("score", 8))
HEADER = " ".join(
    [f"{name:>{width}}" for name, width in COLUMNS] + [f"{f'{name} s':>{width}}" for name, width in STAGES]
)

SAID_EVERY = 60.0
"""Seconds between two lines about a stage where there is no bar."""

LEGEND = (
    "test acc: share of the held-out images that are right; |R|: what training left of the labels, ‖Y − f(X)‖, 0 when "
    "all are learned, more where a ridge holds back; epochs: passes over the labelled images, or as many steps as "
    "train.epoch_steps says; 1 where the network is solved for",
    "seconds to train a network, to migrate it to JAX, to score candidates by it; sequential: one label is asked for "
    "at a time, and all are ranked anew",
)
"""What the columns and the stages are, said once."""


class _Reporter(NamedTuple):
    """A stage's progress, as the stage sees it."""

    advance: Callable[[int, int], None]
    plan: Callable[[str], None]

    def __call__(self, done: int, total: int) -> None:
        """Say how much is done."""
        self.advance(done, total)


class RunConsole:
    """Reports a run: one table row a cycle on standard output, progress lines and warnings on standard error.

    Args:
        check: called at every step of progress; raises when the run is to stop.

    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._headed = False
        self._planned = False

    def __enter__(self) -> "RunConsole":
        if self.out.is_terminal:
            figures = (TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            columns = (TextColumn("{task.description}"), BarColumn(), *figures)
            self._progress = Progress(*columns, console=self.out, transient=True)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def stage(self, cycle: int, name: str) -> StageProgress:
        """Show that a stage begins: a bar that its progress moves on a terminal, a plain line elsewhere.

        Args:
            cycle: number of the cycle.
            name: of the stage.

        """
        self.check()
        if not self._progress:
            self.err.print(f"cycle {cycle}: {name}", markup=False)
            return _Reporter(self._lines(f"cycle {cycle}: {name}"), self._plan)
        progress = self._progress
        self._clear()
        task = self._task = progress.add_task(f"cycle {cycle}: {name}", total=None)

        def advance(done: int, total: int) -> None:
            self.check()
            progress.update(task, completed=done, total=total)

        return _Reporter(advance, self._plan)

    def _lines(self, what: str) -> Callable[[int, int], None]:
        """Return what prints a line about a stage that takes long, where there is no bar."""
        began = said = time.monotonic()
        first: int | None = None

        def advance(done: int, total: int) -> None:
            nonlocal began, said, first
            self.check()
            now = time.monotonic()
            if first is None or done < first:  # it begins, or begins again
                began, first = now, done
            if now - said < SAID_EVERY or not first < done < total:
                return
            said = now
            left = duration((now - began) / (done - first) * (total - done))
            self.err.print(f"{what}: {done:,} of {total:,}, at most {left} left", markup=False)

        return advance

    def _plan(self, text: str) -> None:
        """Print the first plan of a run: those of later cycles differ by a few labels."""
        if not self._planned:
            self._planned = True
            self.err.print(text, markup=False)

    def row(self, row: CycleRow) -> None:
        """Print a finished cycle."""
        self.check()
        self._clear()
        if not self._headed:
            for line in LEGEND:
                self.err.print(line, markup=False)
            self.say(HEADER)
            self._headed = True
        figures = (
            str(row.cycle),
            str(row.n_labelled),
            shown_accuracy(row.test_accuracy),
            f"{row.residual_norm:.3f}",
            str(row.epochs),
        )
        seconds = (f"{row.seconds[name]:.1f}" if name in row.seconds else "-" for name, _ in STAGES)
        widths = [width for _, width in COLUMNS + STAGES]
        self.say(" ".join(f"{cell:>{width}}" for cell, width in zip((*figures, *seconds), widths, strict=True)))

    def _clear(self) -> None:
        """Take the bar of the stage that has ended away."""
        if self._progress and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def say(self, line: str) -> None:
        """Print one line."""
        self.out.print(line, markup=False)

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.err.print(f"warning: {message}", markup=False)
