"""What a person sees while a run is looked at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def watched(check: Callable[[], None]) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each kind of work on standard error, where that is a terminal.

    Args:
        check: called at every step, and may interrupt.

    """
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks = dict[str, int]()

        def progress(what: str, done: int, total: int) -> None:
            check()
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield progress
