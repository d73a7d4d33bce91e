"""A process that imports everything once and then forks a child for each cell, which so begins within milliseconds.

It computes nothing itself: no thread, no device and no random stream of a library is begun when a child is forked, so
that the child is what a fresh process is after its imports.  Code of the user's own is imported by the child alone.

Protocol, lines of JSON on a socket that the starter holds the other end of: ``{"run": [Task]}`` and
``{"signal": N, "cell": NAME}`` come in; ``{"cell": NAME, "pid": N}``, ``{"cell": NAME, "code": N}`` and
``{"refused": REASON}`` go out.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from pipeline.interrupts import exit_at_once, install_early
from pipeline.sweep.process import Task

TICK = 0.05
"""Seconds between two looks at the children."""
PR_SET_PDEATHSIG = 1
"""Of ``prctl``: the signal that a process gets from the kernel when its parent ends (Linux)."""
OWN = ("run.loop", "run.console", "run.outcome", "run.recorded", "run.beside", "annotators", "labelling")
"""Modules of ``pipeline`` that ``pipeline resume`` imports when it needs them."""
MODULES = (
    "pipeline.cli",
    *(f"pipeline.{name}" for name in OWN),
    "migrator.capture",
    "linearize.compilation",
    "torch._dynamo",
    "jax.experimental.multihost_utils",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "networkx",
    "scipy.stats",
    "sklearn.datasets",
)
"""What takes a cell seconds to import, as a run of the digits showed; more than it needs does no harm."""


def main() -> None:
    """Serve the socket whose number the first argument is, until its other end is closed."""
    install_early()
    control = socket.socket(fileno=int(sys.argv[1]))
    pools = preload()
    if reason := unsafe(pools):
        _send(control, {"refused": reason})
    else:
        serve(control)
    os._exit(0)  # at once, and with it, by the kernel, whatever child is left


def preload() -> int:
    """Import everything that a cell needs, begin nothing.

    Returns:
        Threads that NumPy's and SciPy's libraries made, which are safe to fork: these libraries begin them anew.

    """
    importlib.import_module("trainer")  # first: it says how OpenMP's threads wait
    importlib.import_module("scipy.linalg")
    pools = threads()
    for name in MODULES:
        with contextlib.suppress(ImportError):  # a cell that needs it says so
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # collecting in a child would copy every page
    return pools


def threads() -> int:
    """Return how many threads this process has."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def unsafe(pools: int) -> str:
    """Say why this process must not be forked; nothing where it may.

    Args:
        pools: threads that may be there.

    """
    if threading.active_count() > 1 or threads() > pools:
        return "something that was imported has begun threads"
    if sys.modules["jax._src.xla_bridge"]._backends:
        return "something that was imported has begun JAX's devices"
    return ""


def serve(control: socket.socket) -> None:
    """Fork and signal children as they are asked for, and say how they end.

    Args:
        control: the socket.

    """
    alive: dict[int, str] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([control], [], [], TICK)
        if ready:
            if not (data := control.recv(1 << 16)):
                return  # the starter is gone: the kernel ends the children
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _obey(control, json.loads(line), alive)
        while alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            _send(control, {"cell": alive.pop(pid), "code": os.waitstatus_to_exitcode(status)})


def _obey(control: socket.socket, message: dict[str, object], alive: dict[int, str]) -> None:
    if "run" in message:
        task = Task(*message["run"])  # type: ignore[misc]
        server = os.getpid()
        pid = os.fork()
        if not pid:
            control.close()
            _be_cell(task, server)
        alive[pid] = task.name
        _send(control, {"cell": task.name, "pid": pid})
        return
    for pid, name in alive.items():
        if name == message["cell"]:
            os.kill(pid, int(message["signal"]))  # type: ignore[call-overload]


def _be_cell(task: Task, server: int) -> NoReturn:
    """Do what a cell's own process does, and end as it would."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it ended before the kernel was told
            exit_at_once(signal.SIGKILL)
        os.setsid()
        with Path(task.log).open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.chdir(task.folder)
        code = _resume(task)
    except BaseException:  # nothing may go on to serve
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # modules need not be taken down


def _resume(task: Task) -> int:
    from pipeline.sweep import child

    sys.argv = ["child", task.run, *["--trust-code"] * task.trust_code]
    try:
        child.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _send(control: socket.socket, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # the starter is gone, which the next look shows
        control.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
