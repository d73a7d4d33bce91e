"""Reading what somebody hands over, which may be anything: a pipe, a device, larger than memory, nested without end.

Whoever reads a file that this process did not write itself reads it through here, so that it costs bounded time and
memory whatever it is.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from common.memory import available_memory, shown

LARGEST_TEXT = 2**28
"""Bytes of the largest table, log or list that is read where nobody says otherwise."""
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class NotReadable(OSError):
    """A path leads to something that is not read: no regular file, or one that is too large."""


def why(error: Exception) -> str:
    """Say in half a line why a file could not be read; the path is the caller's to name.

    Args:
        error: what reading it raised.

    """
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading bytes; nothing is waited for.

    Args:
        path: the file, or a link to one.

    Yields:
        The file.

    Raises:
        NotReadable: it is a folder, pipe, device or socket.
        OSError: it cannot be opened.

    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its other end
    except ValueError as error:  # a zero byte in its name
        raise NotReadable(errno.ENOENT, "no such file", str(path)) from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NotReadable(errno.ENXIO, "expected a file, but it is a socket or device", str(path)) from error
        raise
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for test, name in KINDS if test(mode)), "something else")
            raise NotReadable(errno.EISDIR, f"expected a file, but it is {kind}", str(path))
        yield file


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file, or a link to one.
        limit: its largest size in bytes; None for the memory that is free.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger, whatever size it gives itself.

    """
    most = available_memory() if limit is None else limit
    with opened(path) as file:
        if size := checked_size(file, path, most):
            return file.read(size)
        content = b"".join(_pieces(file, most))  # empty, or of a system that tells no size, as /proc
    if len(content) > min(most, LARGEST_TEXT):
        raise NotReadable(errno.EFBIG, f"expected at most {shown(most)}, but it has no end", str(path))
    return content


def checked_size(file: BinaryIO, path: Path, limit: int | None = None) -> int:
    """Return the size of an open file.

    Args:
        file: as ``opened`` gives it.
        path: of it, for the message.
        limit: its largest size in bytes; None for no limit.

    Raises:
        NotReadable: it is larger.

    """
    size = os.fstat(file.fileno()).st_size
    if limit is not None and size > limit:
        raise NotReadable(errno.EFBIG, f"expected at most {shown(limit)}, but it has {shown(size)}", str(path))
    return size


def _pieces(file: BinaryIO, most: int) -> Iterator[bytes]:
    """Yield what a file holds until it ends or is longer than it may be."""
    read = 0
    while read <= min(most, LARGEST_TEXT) and (piece := file.read(2**16)):
        read += len(piece)
        yield piece


def read_text(path: Path, limit: int = LARGEST_TEXT, encoding: str = "utf-8") -> str:
    """Return the text of a regular file, with its line ends as line feeds.

    Args:
        path: the file, or a link to one.
        limit: its largest size in bytes.
        encoding: of the text.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
        UnicodeDecodeError: it is no such text.

    """
    return read_regular(path, limit).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse_json(content: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the plain value of a JSON text.

    Args:
        content: the text.
        pairs: what makes an object of its keys and values, if not ``dict``.

    Raises:
        ValueError: it is none, or nests deeper than anybody writes by hand.

    """
    try:
        return json.loads(content, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def read_json(path: Path, limit: int = LARGEST_TEXT) -> Any:
    """Return the plain value of a JSON file.

    Args:
        path: the file, or a link to one.
        limit: its largest size in bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
        ValueError: it is no JSON.

    """
    return parse_json(read_regular(path, limit))
