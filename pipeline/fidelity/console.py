"""What a person sees while candidates are retrained: what it will take, and how far it is."""

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.report.figures import spell_seconds

PLAIN_LINES = 10
"""Progress lines where there is no terminal."""


class FidelityConsole:
    """Reports on standard error: a bar on a terminal, some plain lines elsewhere.

    Args:
        check: called after every epoch; raises when the work is to stop.

    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        figures = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(TextColumn("retraining"), BarColumn(), *figures, console=self.err, transient=True)
        self._task = self._progress.add_task("retraining", total=None)

    def __enter__(self) -> "FidelityConsole":
        if self.err.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.err.is_terminal:
            self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        """Let an interrupt through while the kernel is computed.

        Args:
            done: how much is done.
            total: of how much.

        """
        self.check()

    def plan(self, text: str) -> None:
        """Say what the kernel will take."""
        self.err.print(text, markup=False)

    def estimated(self, trainings: int, seconds: float) -> None:
        """Say what the retrainings will take.

        Args:
            trainings: how many there will be.
            seconds: that the first took.

        """
        self.err.print(
            f"{trainings} retrainings of {spell_seconds(seconds)}, measured on the first: about "
            f"{spell_seconds(trainings * seconds)}",
            markup=False,
        )

    def advance(self, done: int, total: int) -> None:
        """Move the bar, or say now and then how many are done.

        Args:
            done: how much is done.
            total: of how much.

        """
        self.check()
        self._progress.update(self._task, completed=done, total=total)
        every = -(-total // PLAIN_LINES)
        if not self.err.is_terminal and (done % every == 0 or done == total):
            self.err.print(f"{done} of {total} retrainings", markup=False)
