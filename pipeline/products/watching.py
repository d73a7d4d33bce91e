"""A line on the terminal that says how far it is; nothing where nobody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watching(check: Callable[[], None]) -> Iterator[Callable[[str, int, int], None]]:
    """Show what goes on, on one line of standard error that is gone at the end.

    Args:
        check: called at every step, and may interrupt.

    """
    shown = sys.stderr.isatty()

    def progress(what: str, done: int, total: int) -> None:
        check()
        if shown:
            far = f" {done:,} of {total:,}" if total > 1 else ""
            sys.stderr.write(f"\r\033[K{what}{far}")
            sys.stderr.flush()

    try:
        yield progress
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
