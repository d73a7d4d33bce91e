"""``events.jsonl``: the append-only, hash-chained log that is the truth about a run.

A line is one JSON object with ``seq``, ``event``, its fields, ``prev`` (the hash of the line before) and ``hash``
(SHA-256 of the line without it).  Lines hold no times, so the same run gives the same bytes, interrupted or not.
"""

import contextlib
import errno
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from common.files import sync_folder
from common.reading import parse_json
from pipeline.errors import PipelineError

Event = dict[str, Any]
NO_HASH = "0" * 64


class EventLog:
    """An open event log: read once, checked, then appended to.

    Args:
        path: the file; created when absent.

    Raises:
        PipelineError: a line other than a torn last one is damaged; the message names the line.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        existed = path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if not existed:
            sync_folder(path.parent)
        try:
            self.events, intact = parse_events(path.read_bytes(), path)
        except BaseException:
            self.close()
            raise
        self.cut = intact != os.fstat(self._file).st_size
        if self.cut:  # a torn last line: the append was under way when the process died
            os.ftruncate(self._file, intact)
            os.fsync(self._file)

    def append(self, event: str, **fields: Any) -> Event:
        """Append one event with one write and one fsync; a failed or partial write leaves the log as it was.

        Args:
            event: its kind.
            **fields: its fields by name.

        Raises:
            OSError: the line could not be written, such as on a full disk.

        """
        entry: Event = {"seq": len(self.events), "event": event, **fields, "prev": self._last_hash()}
        entry["hash"] = _hash(entry)
        line = (_canonical(entry) + "\n").encode()
        with _interrupts_held():
            size = os.fstat(self._file).st_size
            try:
                if os.write(self._file, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(self._file)
            except OSError as error:
                os.ftruncate(self._file, size)
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            self.events.append(entry)
        return entry

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _last_hash(self) -> str:
        return self.events[-1]["hash"] if self.events else NO_HASH


def parse_events(content: bytes, path: Path) -> tuple[list[Event], int]:
    """Check the chain of a log's content.

    Args:
        content: the file's bytes.
        path: named in errors.

    Returns:
        The events and the number of bytes that they take; fewer than the content's where the last line is torn.

    Raises:
        PipelineError: a complete line is not, byte for byte, the one that was written.

    """
    events: list[Event] = []
    intact = 0
    *lines, _torn = content.split(b"\n")  # what follows the last newline was being written when the process died
    for number, line in enumerate(lines, start=1):
        entry, reason = _parse(line, len(events), events[-1]["hash"] if events else NO_HASH)
        if entry is None:
            raise PipelineError(
                f"{path}: line {number} is damaged ({reason}): restore the file from a copy; the run cannot be "
                "continued from it"
            )
        events.append(entry)
        intact += len(line) + 1
    return events, intact


def _parse(line: bytes, seq: int, prev: str) -> tuple[Event | None, str]:
    """Return the event of a line, or None and what is wrong with it: only the very bytes that were written are right.

    Args:
        line: without its newline.
        seq: number of the event.
        prev: hash of the line before.

    """
    wrong = f"expected the event with number {seq} that follows the line before it"
    try:
        entry = parse_json(line)
        body = _canonical({key: value for key, value in entry.items() if key != "hash"})
        digest = hashlib.sha256(body.encode()).hexdigest()
        if entry["seq"] != seq or entry["prev"] != prev or entry["hash"] != digest:
            return None, wrong
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, wrong
    if line != f'{body[:-1]},"hash":"{digest}"}}'.encode():
        crlf = line.endswith(b"\r")
        return None, "it ends in CR LF, not in LF" if crlf else "it is not written as it was, or a key stands twice"
    return entry, ""


def _canonical(entry: Event) -> str:
    return json.dumps(entry, separators=(",", ":"), allow_nan=False)


def _hash(entry: Event) -> str:
    return hashlib.sha256(_canonical(entry).encode()).hexdigest()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C until the append under way is complete.

    A handler rather than a signal mask: in a process with threads the signal would reach another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: pending.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pending and callable(previous):
            previous(*pending[0])
