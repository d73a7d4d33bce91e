"""One attempt at a cell: a process with its own number of threads, its log, and what the attempt took."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from common.reading import read_json

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NPROC")
"""What torch, NumPy's and SciPy's libraries and (NPROC) XLA read their number of threads from."""
GRACE = 30.0
"""Seconds that an interrupted cell has to finish what it is writing."""
TICK = 0.1
"""Seconds between two looks at a cell that somebody waits for."""
ALIKE = ("error: ", "failed: ")


class Task(NamedTuple):
    """A cell as an engine sees it; plain values, so that it can travel.

    Args:
        name: the cell's.
        run: its run directory, absolute.
        log: the file that its output is appended to.
        cpus: threads that it computes with.
        folder: working directory, from which a relative ``data.root`` counts.
        variables: of the environment, beside this process's own.
        trust_code: whether code that the run names may run.

    """

    name: str
    run: str
    log: str
    cpus: int
    folder: str
    variables: dict[str, str] = {}  # noqa: RUF012 — never changed
    trust_code: bool = False


@dataclass(frozen=True)
class Attempt:
    """How one process of a cell ended.

    Args:
        cell: the cell's name.
        exit_code: 0 when the run is finished; minus the signal that killed it.
        reason: in one line, why it failed; empty when it did not.
        seconds: wall-clock time.
        stage_seconds: the part of it that stages took; the rest is starting up and writing.
        peak_memory: most bytes resident at once; 0 where the system does not tell.
        host: where it ran.
        cpus: threads that it computed with.

    """

    cell: str
    exit_code: int
    reason: str
    seconds: float = 0.0
    stage_seconds: float = 0.0
    peak_memory: int = 0
    host: str = ""
    cpus: int = 0


class CellProcess:
    """A running attempt.

    Args:
        task: what to run.

    Raises:
        OSError: the process, its log or its working directory cannot be had.

    """

    def __init__(self, task: Task) -> None:
        self.task = task
        log = Path(task.log)
        self._before = stage_seconds(Path(task.run))
        self._peak = 0
        self._started = time.monotonic()
        with log.open("ab") as output:
            self._offset = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.sweep.child", task.run, *["--trust-code"] * task.trust_code],
                stdin=subprocess.PIPE,  # never written to: closed when this process ends, see child.py
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment(task.cpus), **task.variables},
                cwd=task.folder,
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
            )

    def poll(self) -> Attempt | None:
        """Return how the attempt ended, or None while it goes on."""
        code = self._process.poll()
        self._peak = max(self._peak, peak_memory(self._process.pid))
        if code is None:
            return None
        self._close()
        taken = time.monotonic() - self._started
        return attempt_of(self.task, code, self._offset, taken, self._before, self._peak)

    def interrupt(self) -> None:
        """Ask the cell to stop at its next safe place."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def end(self, deadline: float) -> None:
        """Wait until it has stopped; kill it at the deadline (of the monotonic clock)."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()


def attempt_of(
    task: Task, code: int, offset: int, seconds: float, before: float, peak: int, reason: str = ""
) -> Attempt:
    """Return what became of an attempt that has ended.

    Args:
        task: what ran.
        code: exit code; minus the signal that killed it.
        offset: where its output begins in the log.
        seconds: that it took.
        before: seconds that the run's stages had taken before it.
        peak: most bytes resident at once.
        reason: why it failed, where its log does not tell.

    """
    return Attempt(
        cell=task.name,
        exit_code=code,
        reason="" if code == 0 else reason or failure(code, Path(task.log), offset),
        seconds=round(seconds, 2),
        stage_seconds=round(stage_seconds(Path(task.run)) - before, 2),
        peak_memory=peak,
        host=socket.gethostname(),
        cpus=task.cpus,
    )


class Running(Protocol):
    """An attempt that goes on, however it was started."""

    def poll(self) -> Attempt | None:
        """Return how it ended, or None while it goes on."""
        ...

    def interrupt(self) -> None:
        """Ask it to stop at its next safe place."""
        ...

    def end(self, deadline: float) -> None:
        """Wait until it has stopped; kill it at the deadline (of the monotonic clock)."""
        ...


def stop(processes: Iterable[Running]) -> None:
    """Stop every process, giving all of them the same time for it."""
    listed = list(processes)
    for process in listed:
        process.interrupt()
    deadline = time.monotonic() + GRACE
    for process in listed:
        process.end(deadline)


def environment(cpus: int) -> dict[str, str]:
    """Return this process's environment with every library limited to a number of threads."""
    return {**os.environ, **dict.fromkeys(THREADS, str(cpus)), "PYTHONUNBUFFERED": "1"}


def peak_memory(process: int) -> int:
    """Return the most bytes that a process has had resident at once; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def stage_seconds(run: Path) -> float:
    """Return the wall-clock time that all complete stages of a run took."""
    total = 0.0
    for manifest in run.glob("cycles/*/*/manifest.json"):
        try:
            total += float(read_json(manifest)["seconds"])
        except (OSError, ValueError, KeyError, TypeError):  # a damaged stage: done again when the run goes on
            continue
    return total


def failure(code: int, log: Path, offset: int) -> str:
    """Say in one line why an attempt failed, from what it wrote to its log.

    Args:
        code: exit code; minus the signal that killed it.
        log: the file.
        offset: where this attempt's output begins.

    """
    if code < 0:
        hint = " (was memory short?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"
    with log.open("rb") as file:
        file.seek(offset)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(ALIKE)] or lines or [f"exit code {code}"]
    return said[-1].removeprefix(ALIKE[0]).removeprefix(ALIKE[1])


def run_to_end(task: Task) -> Attempt:
    """Run one cell and wait for it; it is stopped where the wait is interrupted."""
    process = CellProcess(task)
    try:
        while (attempt := process.poll()) is None:
            time.sleep(TICK)
        return attempt
    finally:
        stop([process])
