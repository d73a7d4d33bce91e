"""Writing that either happens whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import TrainerError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through a temporary name: fsync, rename, fsync of the folder.

    Whatever goes wrong, a file that was at `path` before is still there, whole, and no temporary file is left.

    Args:
        path: where the file is to be.
        content: its bytes.

    Raises:
        OSError: the folder is missing, read-only or full.
    """
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_free(out: Path) -> None:
    """Refuse an output folder that would be overwritten.

    Args:
        out: a folder that does not exist yet, or is empty.

    Raises:
        TrainerError: it is a file, or has something in it.
    """
    if out.exists() and not out.is_dir():
        raise TrainerError(f"--out must be a new or empty folder, but {out} is a file; choose another name")
    if out.is_dir() and any(out.iterdir()):
        raise TrainerError(f"--out must be a new or empty folder, but {out} is not empty; choose another name")


@contextmanager
def new_folder(out: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Make a folder appear with all its files, or not at all.

    Args:
        out: a folder that does not exist yet, or is empty.

    Yields:
        `write(name, content)`, to be called for every file of the folder.

    Raises:
        TrainerError: the folder is taken, or cannot be written.
    """
    require_free(out)
    temporary = out.with_name(f"{out.name}.tmp-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield lambda name, content: write_bytes(temporary / name, content)
        temporary.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        raise TrainerError(f"{out} cannot be written ({error}); choose another --out or free some space") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
