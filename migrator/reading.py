"""Reading files that may be anything: pipes, devices, larger than memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file, or a link to one.
        limit: largest size in bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.

    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its other end
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > limit:
            raise OSError(f"{status.st_size:,} bytes, expected at most {limit:,}")
        return file.read(limit + 1)
