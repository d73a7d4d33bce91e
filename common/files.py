"""Writing that either happens whole or not at all."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import BinaryIO

from common.reading import NotReadable, checked_size, opened

HASHED_AT_ONCE = 2**20


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file through a temporary name beside it: fsync, rename, fsync of the folder.

    Whatever goes wrong, a file that was at ``path`` before is still there, whole, and no temporary file is left.

    Args:
        path: where the file is to be.

    Yields:
        The temporary file, open for writing bytes.

    Raises:
        OSError: the folder is missing, read-only or full.

    """
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what processes left that were killed while they wrote a file by ``replacing``.

    Args:
        path: of the file; nobody may be writing it.

    """
    for left in path.parent.glob(f".{escape(path.name)}.tmp-*"):
        left.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, see ``replacing``.

    Args:
        path: where the file is to be.
        content: its bytes.

    Raises:
        OSError: the folder is missing, read-only or full.

    """
    with replacing(path) as stream:
        stream.write(content)


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """Make a folder appear with all its files, or not at all.

    Args:
        out: a folder that does not exist yet, or is empty.

    Yields:
        A temporary folder beside it, to be filled; its files are made durable before it gets its name.

    Raises:
        OSError: the folder is taken or cannot be written.

    """
    temporary = out.with_name(f"{out.name}.tmp-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                sync_file(path)
        temporary.replace(out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path) -> Path | None:
    """Return the folder in which something would have to be written to make a path, if nothing may be; else None.

    Args:
        path: of a file or folder that is to be made, with its folders, or of a folder that is there.

    """
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    folder = nearest if nearest.is_dir() else nearest.absolute().parent
    return None if os.access(folder, os.W_OK | os.X_OK) else folder


def sha256_of(path: Path, limit: int | None = None) -> str:
    """Return the hex digest of a regular file's content.

    Args:
        path: the file, or a link to one.
        limit: its largest size in bytes, where it matters; None for no limit.

    Raises:
        OSError: it cannot be read, is no regular file, is larger, or has no end.

    """
    with opened(path) as file:
        size = checked_size(file, path, limit)
        digest = hashlib.sha256()
        while size >= 0 and (piece := file.read(HASHED_AT_ONCE)):
            digest.update(piece)
            size -= len(piece)
    if size < 0:
        raise NotReadable(errno.EFBIG, "it is longer than it says", str(path))
    return digest.hexdigest()
