"""Writing files so that a crash leaves either the old content or the new, never a part."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.files import write_bytes


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let every failure to write name a path: the system names none when a disk is full, and a temporary one where a
    rename fails.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and error.filename2 is None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def slug(data_set: str) -> str:
    """Return a data set's name as a part of a file name: ``digits``, and ``my-photos`` of ``folder:/some/my photos``.

    Letters of any script, digits, dots, hyphens and underscores stay; whatever else stands between them is a hyphen.
    """
    kind, _, path = data_set.partition(":") if ":" in data_set else ("", "", data_set)
    last = path.rstrip("/").rpartition("/")[2].removesuffix(".npz")
    return re.sub(r"[^\w.]+", "-", last)[:60].strip("-.") or kind or "data"


def slug_of(config: Any) -> str:
    """Return data set and network of a configuration as a part of a file name: ``digits-cnn``, ``photos-my_net-build``.

    Args:
        config: of a run.

    """
    return f"{slug(config.data.name)}-{slug(config.model.name.replace(':', '-'))}"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` as a whole; every failure names the path.

    Args:
        path: the file.
        content: text or bytes.

    """
    with naming(path):
        write_bytes(path, content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically.

    Args:
        path: the file.
        value: plain values.

    """
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line atomically.

    Args:
        path: the file.
        rows: plain values.

    """
    write_atomically(path, _json_lines(rows))


def write_json_lines_anew(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line atomically where the file does not say just that.

    Args:
        path: the file.
        rows: plain values.

    """
    content = _json_lines(rows).encode()
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)


def _json_lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
