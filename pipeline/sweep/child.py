"""What a cell's process runs: ``pipeline resume``, until whoever started it dies.

Its standard input is a pipe that nobody writes to; the kernel closes it when the starter dies, however that happens.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pipeline.interrupts import SIGNALS, install_early

PATIENCE = 60.0
"""Seconds to wait for another process that holds the run, such as one on a node that is just dying."""


def die_with_starter() -> None:
    """End this process at once when its standard input is closed; a run survives that at any moment."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def await_lock(run: Path, patience: float) -> None:
    """Wait until no other process holds a run, or patience ends; what then still is wrong, resuming says.

    Args:
        run: the run directory.
        patience: seconds.

    """
    from pipeline.lock import holder_of, is_held

    deadline = time.monotonic() + patience
    said = False
    while run.is_dir() and os.access(run, os.W_OK) and is_held(run) and time.monotonic() < deadline:
        if not said:
            sys.stderr.write(f"{run} is in use by {holder_of(run)}: waiting up to {patience:.0f} s\n")
            said = True
        time.sleep(0.2)


def main() -> None:
    """Resume the run named by the first argument, with the options that follow."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # which a process that Ray starts inherits as blocked
    install_early()
    die_with_starter()
    run = sys.argv[1]
    await_lock(Path(run), PATIENCE)
    from pipeline.cli import main as command

    sys.argv = ["pipeline", "resume", *sys.argv[1:]]
    command()


if __name__ == "__main__":
    main()
