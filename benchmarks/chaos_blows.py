"""What befalls a run in ``chaos.py``: processes killed at any moment; files damaged, lost, exchanged or out of date."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

DURABLE = ("write", "fsync", "rename", "replace", "mkdir", "unlink", "ftruncate")
"""Calls of ``os`` by which a run becomes durable: a process is killed right before or after one, or within a write."""
NOT_READ = ("lock", "lock.holder")


class Kill(NamedTuple):
    """A kill at a durable call.

    Args:
        call: its number, from 1.
        when: ``before`` it, ``after`` it, or ``within`` a write, of which a part is done then.

    """

    call: int
    when: str


def arm(kill: Kill | None, count: Callable[[int], None] = lambda _: None) -> None:
    """Let this process die at a durable call.

    Args:
        kill: where; nowhere if None, and calls are only counted.
        count: told how many there were.

    """
    calls = [0]

    def watched(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            count(calls[0])
            mine = kill is not None and calls[0] == kill.call
            if mine and kill is not None and kill.when == "within" and name == "write":
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            if mine and kill is not None and kill.when != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **named)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in DURABLE:
        setattr(os, name, watched(getattr(os, name), name))


class Blow(NamedTuple):
    """What was done to a run.

    Args:
        what: in words.
        paths: that are not what they were.

    """

    what: str
    paths: tuple[Path, ...]


def files_of(run: Path) -> list[Path]:
    """Return every file of a run that anything reads."""
    return sorted(path for path in run.rglob("*") if path.is_file() and path.name not in NOT_READ)


def damage(run: Path, rng: Random) -> Blow:
    """Damage one file of a run, whichever.

    Args:
        run: its directory.
        rng: decides.

    """
    path = rng.choice(files_of(run))
    content = path.read_bytes()
    middle = rng.randrange(max(len(content), 1))
    kind = rng.choice(["flip", "cut", "empty", "zeros", "delete", "folder", "link", "double", "append"])
    if kind == "flip" and content:
        content = content[:middle] + bytes([content[middle] ^ 1 << rng.randrange(8)]) + content[middle + 1 :]
    elif kind in ("flip", "cut"):
        content = content[:middle]
    elif kind == "empty":
        content = b""
    elif kind == "zeros":
        content = bytes(len(content))
    elif kind == "double":
        content += content
    elif kind == "append":
        content += b"more\n"
    if kind in ("delete", "folder", "link"):
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to("nowhere") if kind == "link" else None
    else:
        path.write_bytes(content)
    return Blow(f"{kind} of {path.relative_to(run)}", (path,))


def exchange(run: Path, other: Path, rng: Random) -> Blow:
    """Put a stage, file or older copy where another belongs.

    Args:
        run: its directory.
        other: a finished run that differs by its seed.
        rng: decides.

    """
    kind = rng.choice(["two stages", "another run's stage", "another run's file", "an older log", "two files"])
    stages = sorted(path for path in run.glob("cycles/*/*") if (path / "manifest.json").is_file())
    if kind == "two stages" and len(stages) > 1:
        one, two = rng.sample(stages, 2)
        return _swapped(run, one, two)
    if kind == "another run's stage" and stages:
        path = rng.choice(stages)
        theirs = other / path.relative_to(run)
        if theirs.is_dir():
            shutil.rmtree(path)
            shutil.copytree(theirs, path)
            return Blow(f"another run's {path.relative_to(run)}", (path,))
    files = files_of(run)
    if kind == "two files":
        return _swapped(run, *rng.sample(files, 2))
    log = run / "events.jsonl"
    if kind == "an older log" and log.is_file():
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[: rng.randrange(len(lines))]))
        return Blow("an older log", (log,))
    both = [path for path in files if (other / path.relative_to(run)).is_file()]
    path = rng.choice(both)
    shutil.copyfile(other / path.relative_to(run), path)
    return Blow(f"another run's {path.relative_to(run)}", (path,))


def _swapped(run: Path, one: Path, two: Path) -> Blow:
    aside = run.parent / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    return Blow(f"{one.relative_to(run)} and {two.relative_to(run)} exchanged", (one, two))
