"""What a person sees while a grid is computed: a bar over all cycles on a terminal, a line a cell elsewhere."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from pipeline.run.summary import area_under_curve, read_rows, shown_accuracy
from pipeline.sweep.cells import State
from pipeline.sweep.estimate import shown_seconds


class GridConsole:
    """Reports a grid: results on standard output, progress and warnings on standard error.

    Args:
        total: cycles of all cells together.

    """

    def __init__(self, total: int) -> None:
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._total = total
        self._progress: Progress | None = None

    def __enter__(self) -> "GridConsole":
        if self.err.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, TextColumn("{task.fields[left]}"), console=self.err, transient=True)
            self._task = self._progress.add_task("cells", total=self._total, left="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def update(self, cycles: int, cells: str, seconds_left: float | None) -> None:
        """Move the bar.

        Args:
            cycles: done over all cells.
            cells: how many of them are done, in words.
            seconds_left: estimated; None while nothing is known.

        """
        if self._progress:
            left = "" if seconds_left is None else f"about {shown_seconds(seconds_left)} left"
            self._progress.update(self._task, completed=cycles, description=cells, left=left)

    def finished(self, state: State, place: str, seconds: float, seconds_left: float | None) -> None:
        """Print what a cell achieved.

        Args:
            state: where the cell stands.
            place: which of how many.
            seconds: that it took.
            seconds_left: for all others, where known.

        """
        rows = read_rows(state.path)
        accuracy, area = shown_accuracy(rows[-1].test_accuracy), area_under_curve(rows)
        figures = f"{accuracy} with {rows[-1].n_labelled} labels, AUBC {'-' if area is None else f'{area:.4f}'}"
        left = f"; about {shown_seconds(seconds_left)} left" if seconds_left else ""
        self.say(f"[{place}] {state.cell.name}: {figures}, {shown_seconds(seconds)}{left}")

    def failed(self, name: str, place: str, reason: str) -> None:
        """Print why a cell failed.

        Args:
            name: of the cell.
            place: which of how many.
            reason: one line.

        """
        self.say(f"[{place}] {name} FAILED: {reason}")

    def say(self, line: str) -> None:
        """Print one line of results."""
        if self._progress and self.out.is_terminal:
            self._progress.console.print(line, markup=False)
        else:
            self.out.print(line, markup=False)

    def note(self, line: str) -> None:
        """Print one line about what is being done."""
        self.err.print(line, markup=False)

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.err.print(f"warning: {message}", markup=False)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns of a table, the first to the left and the others to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]

    def aligned(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

    return [aligned(row) for row in rows]
