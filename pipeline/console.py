"""What a person sees while a run goes on: live progress on a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipeline.report import CycleRow
from pipeline.stages.progress import StageProgress

COLUMNS = (("cycle", 5), ("labels", 7), ("test acc", 9), ("|R|", 7), ("epochs", 7))
STAGES = (("train", 8), ("migrate", 10), ("score", 8))
HEADER = " ".join(
    [f"{name:>{width}}" for name, width in COLUMNS] + [f"{f'{name} s':>{width}}" for name, width in STAGES]
)


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

    def __enter__(self) -> "RunConsole":
        if self.out.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=self.out, transient=True)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def stage(self, cycle: int, name: str) -> StageProgress:
        """Show that a stage begins: a bar that its progress moves on a terminal, a plain line elsewhere."""
        self.check()
        if not self._progress:
            self.err.print(f"cycle {cycle}: {name}", markup=False)
            return lambda done, total: self.check()
        progress = self._progress
        self._clear()
        task = self._task = progress.add_task(f"cycle {cycle}: {name}", total=None)

        def advance(done: int, total: int) -> None:
            self.check()
            progress.update(task, completed=done, total=total)

        return advance

    def row(self, row: CycleRow) -> None:
        """Print a finished cycle."""
        self.check()
        self._clear()
        if not self._headed:
            self.say(HEADER)
            self._headed = True
        figures = (
            str(row.cycle),
            str(row.n_labeled),
            f"{row.test_accuracy:.2%}",
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
