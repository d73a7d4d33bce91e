"""The starter's side of ``forkserver.py``: cells as children of a process that has imported everything already."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.sweep.process import Attempt, CellProcess, Task, attempt_of, environment, peak_memory, stage_seconds

TICK = 0.05
"""Seconds between two looks at a cell that is to end."""
GONE = "the process that starts the cells ended"


def can_fork() -> bool:
    """Tell whether cells can be forked here: on Linux, where a child ends with its parent whatever that does."""
    return sys.platform == "linux"


class ForkServer:
    """A process that forks cells; it ends, and every cell with it, when this process does.

    Args:
        cpus: threads of every cell.
        folder: working directory.

    Raises:
        OSError: it cannot be started.

    """

    def __init__(self, cpus: int, folder: str) -> None:
        self.alive, self.refused = True, ""
        self.pids: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self._rest = b""
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.sweep.forkserver", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # as of CellProcess: cells see it closed when this process ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # where it fails, each cell says why in a process of its own
                env=environment(cpus),
                cwd=folder,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
            )
        self._control.setblocking(False)

    def send(self, message: dict[str, Any]) -> None:
        """Tell the process something; one that is gone is found out by ``look``.

        Args:
            message: see ``forkserver.py``.

        """
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def look(self) -> None:
        """Take in what the process has said."""
        while self.alive:
            try:
                data = self._control.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for message in map(json.loads, lines):
                if "refused" in message:
                    self.refused = message["refused"]
                elif "pid" in message:
                    self.pids[message["cell"]] = message["pid"]
                else:
                    self.codes[message["cell"]] = message["code"]

    def close(self) -> None:
        """End the process and whatever cell it still has."""
        if self.alive:
            self._end()

    def _end(self) -> None:
        self.alive = False
        self._control.close()
        if self._process.stdin:
            self._process.stdin.close()
        self._process.kill()  # it has nothing to lose, and the kernel ends its children with it
        self._process.wait()


class ForkedCell:
    """A running attempt, as ``CellProcess`` is; it becomes one where nothing is forked after all.

    Args:
        server: who forks it.
        task: what to run.

    Raises:
        OSError: its log cannot be had.

    """

    def __init__(self, server: ForkServer, task: Task) -> None:
        self.task = task
        self._server = server
        self._before = stage_seconds(Path(task.run))
        self._peak, self._started = 0, 0.0
        self._instead: CellProcess | None = None
        with Path(task.log).open("ab") as log:
            self._offset = log.tell()
        server.codes.pop(task.name, None)
        server.pids.pop(task.name, None)
        server.send({"run": task})

    def poll(self) -> Attempt | None:
        """Return how the attempt ended, or None while it goes on."""
        if self._instead:
            return self._instead.poll()
        server, name = self._server, self.task.name
        server.look()
        if (pid := server.pids.get(name)) is not None:
            self._started = self._started or time.monotonic()
            self._peak = max(self._peak, peak_memory(pid))
        if (code := server.codes.get(name)) is None:
            if server.alive:
                return None
            if pid is None:  # it never began
                self._instead = CellProcess(self.task)
                return None
            code = -signal.SIGKILL
        reason = GONE if not server.alive and name not in server.codes else ""
        taken = time.monotonic() - self._started if self._started else 0.0
        return attempt_of(self.task, code, self._offset, taken, self._before, self._peak, reason)

    def interrupt(self) -> None:
        """Ask the cell to stop at its next safe place."""
        if self._instead:
            self._instead.interrupt()
        else:
            self._server.send({"signal": signal.SIGINT, "cell": self.task.name})

    def end(self, deadline: float) -> None:
        """Wait until it has stopped; kill it at the deadline (of the monotonic clock)."""
        if self._instead:
            self._instead.end(deadline)
            return
        server, name = self._server, self.task.name
        while self._goes_on() and time.monotonic() < deadline and name in server.pids:
            time.sleep(TICK)
        if self._goes_on():
            server.send({"signal": signal.SIGKILL, "cell": name})
            while self._goes_on() and name in server.pids:
                time.sleep(TICK)

    def _goes_on(self) -> bool:
        self._server.look()
        name = self.task.name
        if self._server.alive:
            return name not in self._server.codes
        return name not in self._server.codes and Path(f"/proc/{self._server.pids.get(name, 0)}").exists()
