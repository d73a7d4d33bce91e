"""A network process, as the process that serves sees it."""

import multiprocessing
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import RunFailedError
from pipeline.interrupts import kept_from_children
from pipeline.session.asking import Likely, Next
from pipeline.session.child import main
from pipeline.session.order import Failure, Order, Ready

PATIENCE = 600.0
"""Seconds after which a network process that does not reply is given up."""


class LostError(RunFailedError):
    """A network process died."""


class NetworkProcess:
    """One network process, which loads the data and waits for an order; every call is of one thread.

    Args:
        run: the run directory.
        cache: folder of its decoded images.
        tell: called, by a thread of its own, with what it reports: the process itself, a kind (``stage``,
            ``candidates``, ``record``, ``ready``, ``failed``) and what belongs to it.

    """

    def __init__(self, run: Path, cache: Path, tell: Callable[["NetworkProcess", str, Any], None]) -> None:
        self._tell = tell
        self.order: Order
        self.stage: tuple[str, float | None] = ("start", None)
        self.ready: Ready | None = None
        self.late: tuple[int, ...] = ()  # candidates that earlier rounds asked for
        self._connection = self._start(run, cache)
        self._replies: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _start(self, run: Path, cache: Path) -> Connection:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs, run, cache), daemon=True)
        with kept_from_children():
            self._process.start()
        theirs.close()
        return mine

    @property
    def cycle(self) -> int:
        """Number of its network."""
        return self.order.cycle

    def begin(self, order: Order) -> None:
        """Give it its order.

        Args:
            order: what it is to do.

        Raises:
            LostError: its process has ended.

        """
        self.order = order
        self._send(order)

    def report(self) -> None:
        """Have the run's report rebuilt, before any order."""
        self._send(("report", 0))

    def rehearse(self, threads: int) -> None:
        """Have it prepare itself for its first network, before any order, see ``rehearsal``.

        Args:
            threads: of torch.

        """
        self._send(("rehearse", threads))

    def give(self, answer: Any) -> None:
        """Answer the reports ``candidates``, by ids ``[U]``, and ``record``, as of ``Asking.choose``.

        Args:
            answer: what it asked for.

        """
        self._send(answer)

    def choose(self, record: Mapping[int, int]) -> Next:
        """Choose what to ask next, see ``Asking.choose``."""
        return self._call("choose", dict(record))

    def likely(self, record: Mapping[int, int], label: int, n: int) -> Likely:
        """Return what it takes for a class, see ``Asking.likely``.

        Args:
            record: as of ``choose``.
            label: the class.
            n: how many at most.

        """
        return self._call("likely", dict(record), label, n)

    def predictions(self, samples: Sequence[int]) -> dict[int, tuple[int, float]]:
        """Return what it takes candidates for, see ``Asking.predictions``."""
        return self._call("predictions", list(samples)) if samples else {}

    def stop(self) -> None:
        """End the process; what it was building is not there then."""
        self._process.kill()
        self._process.join()

    def _call(self, name: str, *arguments: Any) -> Any:
        self._send((name, arguments))
        try:
            reply = self._replies.get(timeout=PATIENCE)
        except queue.Empty:
            reply = LostError(f"no reply for {PATIENCE:.0f} seconds")
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise LostError("the process of the network has ended") from error

    def _listen(self) -> None:
        """Pass reports on, until the process ends."""
        ended = False
        while not ended:
            try:
                kind, *rest = self._connection.recv()
            except Exception:  # it ended, or sent what cannot be read
                kind, rest, ended = "failed", [Failure("the process of the network ended unexpectedly")], True
            if kind == "reply":
                self._replies.put(rest[0])
                continue
            if kind == "failed":
                ended = True
                self._replies.put(LostError(rest[0].reason))
            self._tell(self, kind, rest[0] if len(rest) == 1 else tuple(rest))
        self._connection.close()
