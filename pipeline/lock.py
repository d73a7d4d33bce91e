"""One writer at a time: a directory's lock, which the kernel frees when its holder dies, and the holder's name."""

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError
from pipeline.files import write_atomically

LOCK, HOLDER = "lock", "lock.holder"


class DirectoryLock:
    """Held from construction until released.

    Args:
        path: the directory.

    Raises:
        PipelineError: another process holds it, who is named; or the directory cannot be written to.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise PipelineError(f"{path} is in use by {holder_of(path)}: wait for it or stop it") from error
        except OSError as error:
            raise PipelineError(f"cannot lock {path}: {error.strerror}; it must be writable") from error
        write_atomically(path / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")

    def release(self) -> None:
        """Let others in."""
        (self.path / HOLDER).unlink(missing_ok=True)
        self._lock.release()


def holder_of(path: Path) -> str:
    """Return who holds a directory's lock, as its holder wrote it."""
    holder = path / HOLDER
    return holder.read_text().strip() if holder.is_file() else "another process"


def is_held(path: Path) -> bool:
    """Tell whether a process holds a directory's lock now."""
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
