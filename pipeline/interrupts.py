"""Ctrl-C and SIGTERM: the run stops at the next safe place, whatever library swallows the exception meanwhile."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHELL_OFFSET = 128  # a shell reports death by signal n as 128 + n


def exit_at_once(number: int, _frame: FrameType | None = None) -> None:
    """End the process now; for the time before anything is written, when imports would turn Ctrl-C into a traceback.

    Args:
        number: of the signal.
        _frame: makes no difference.

    """
    os.write(2, b"interrupted\n")
    os._exit(_SHELL_OFFSET + number)


def leave(code: int = 0) -> NoReturn:
    """End a process whose work is done and closed: its modules are not taken down, which takes a second of computing.

    Args:
        code: for the shell.

    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def install_early() -> None:
    """Make an interrupt during start-up one clear line."""
    for number in SIGNALS:
        signal.signal(number, exit_at_once)


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Let processes that are started meanwhile never see Ctrl-C, which a terminal sends to all of them.

    A child could ignore it by itself only once its imports are done, and would print a traceback until then.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would unblock it: started with the first child otherwise
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_no_semaphores() -> None:
    """Let no semaphore that a library makes in this process have a name, for the process may be killed at any time.

    The default of a spawned process is a context whose semaphores are files that are removed when it ends; what is left
    of them when it is killed, Python reports on the terminal at the end of the process that spawned it.
    """
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)


class Interrupts:
    """While open, the first signal raises ``KeyboardInterrupt`` and is remembered; a second one ends the process.

    Libraries may swallow the exception when it arrives inside one of their callbacks, so long computations call
    ``check`` at every step of their progress.

    Args:
        hint: what to print when the process ends.
        at_once: what to print at the first signal; nothing by default.

    """

    def __init__(self, hint: str, at_once: str = "") -> None:
        self.hint, self._at_once = hint, at_once
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> "Interrupts":
        self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        sys.unraisablehook = self._hook

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal came that something has swallowed."""
        if self.received is not None:
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended for this signal."""
        return _SHELL_OFFSET + (self.received or signal.SIGINT)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            os.write(2, f"{self.hint}\n".encode())
            os._exit(_SHELL_OFFSET + number)
        self.received = number
        if self._at_once:
            os.write(2, f"\n{self._at_once}\n".encode())  # before whatever library swallows the exception
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            self._hook(unraisable)
