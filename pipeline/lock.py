"""One writer at a time: a directory's lock, which the kernel frees when its holder dies, and the holder's name."""

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError
from pipeline.files import write_atomically

LOCK, HOLDER = "lock", "lock.holder"
WAIT = "wait for it or stop it"


class DirectoryLock:
    """Held from construction until released.

    Args:
        path: the directory.
        advice: what to do where another process holds it.

    Raises:
        PipelineError: another process holds it, who is named; or the directory cannot be written to.

    """

    def __init__(self, path: Path, advice: str = WAIT) -> None:
        self.path = path
        _refuse_no_lock(path)
        self._lock = FileLock(path / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise PipelineError(f"{path} is in use by {holder_of(path)}: {advice}") from error
        except OSError as error:
            raise PipelineError(f"cannot lock {path}: {error.strerror}; it must be writable") from error
        write_atomically(path / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")

    def __enter__(self) -> "DirectoryLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in; once released, nothing more is done."""
        if not self._lock.is_locked:
            return
        (self.path / HOLDER).unlink(missing_ok=True)
        self._lock.release()


def holder_of(path: Path) -> str:
    """Return who holds a directory's lock, as its holder wrote it."""
    holder = path / HOLDER
    return holder.read_text().strip() if holder.is_file() else "another process"


def _refuse_no_lock(path: Path) -> None:
    """Refuse what is no file where the lock belongs: it is empty, so that nothing is lost with it."""
    lock = path / LOCK
    if os.path.lexists(lock) and (lock.is_symlink() or not lock.is_file()):
        kind = "link" if lock.is_symlink() else "folder" if lock.is_dir() else "device or pipe"
        raise PipelineError(f"{lock}: expected an empty file, but it is a {kind}: remove it")


def refuse_held(path: Path) -> None:
    """Refuse a directory that another process holds now, before any work is done for it; ``DirectoryLock`` is surer.

    Args:
        path: the directory, which may not be there yet.

    Raises:
        PipelineError: it is held.

    """
    if is_held(path):
        raise PipelineError(f"{path} is in use by {holder_of(path)}: {WAIT}")


def is_held(path: Path) -> bool:
    """Tell whether a process holds a directory's lock now.

    Args:
        path: the directory.

    Raises:
        PipelineError: it is none that anybody could hold.

    """
    if not os.path.lexists(path / LOCK):
        return False
    _refuse_no_lock(path)
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
