"""A labelling session: one thread that alone writes the record, networks in processes beside it, and people in front.

An answer is in the event log before anything is made of it.  The next question is chosen by the linearised network with
every answer taken in exactly; after ``query.answers`` of them the round is closed and a new network is trained beside,
while the old one goes on asking.  Nobody waits for a training.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.context import RunContext
from pipeline.run.rundir import RunDirectory
from pipeline.session.clerk import Clerk
from pipeline.session.desk import Desk, DeskError
from pipeline.session.network import NetworkProcess
from pipeline.session.pictures import Pictures
from pipeline.session.state import describe

PATIENCE = 120.0
"""Seconds that a request waits at most: choosing takes milliseconds, but a closed laptop may stop everything."""
LAST_JOB = 30.0
"""Seconds that what is being done when the session ends may take; then its network is killed."""
Job = Callable[[], Any]


class Session(Desk):
    """The desk at which people label, as ``Desk`` says: every request is done by the clerk, in a thread of its own.

    Args:
        run: the open run directory.
        context: its constants.
        cache: folder of its decoded images.
        annotator: who answers where a request does not say.
        warn: told of what should be looked at, one line each.
        network: what a network lives in.
        news: told of what goes on, one line each.

    Raises:
        PipelineError: it is another run's data, or its record contradicts itself.

    """

    def __init__(
        self,
        run: RunDirectory,
        context: RunContext,
        cache: Path,
        annotator: str,
        warn: Callable[[str], None],
        network: type[NetworkProcess] = NetworkProcess,
        news: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._annotator, self._size = annotator, len(context.data.train)
        self._pictures = Pictures(context.data)
        self._jobs: queue.Queue[tuple[Job, Future[Any]] | None] = queue.Queue()
        self._stopped, self._stopping = False, threading.Lock()
        self.clerk = Clerk(run, context, cache, warn, news, network, self._tell)
        self._thread = threading.Thread(target=self._work, name="session", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the session; everything that was said is in the record already."""
        with self._stopping:
            if self._stopped:
                return
            self._stopped = True
            self._jobs.put(None)
        self._thread.join(timeout=LAST_JOB)
        self.clerk.stop()
        self._thread.join(timeout=LAST_JOB)  # what it waited for has ended: nothing is logged after this

    def state(self, annotator: str) -> dict[str, Any]:
        """Return how everything stands."""
        return self._do(lambda: describe(self.clerk, self._name(annotator)))

    def question(self, annotator: str) -> dict[str, Any]:
        """Return what an annotator is to be shown now, the same until it is answered."""
        return self._do(lambda: self.clerk.question(self._name(annotator)))

    def answer(self, annotator: str, sample: int, label: str, seconds: float | None) -> dict[str, Any]:
        """Record a label, and return the next question."""
        return self._do(lambda: self.clerk.answer(self._name(annotator), sample, label, seconds))

    def skip(self, annotator: str, sample: int, reason: str, seconds: float | None) -> dict[str, Any]:
        """Record that somebody will not label a sample, and return the next question."""
        return self._do(lambda: self.clerk.skip(self._name(annotator), sample, reason, seconds))

    def undo(self, annotator: str, sample: int | None) -> dict[str, Any]:
        """Withdraw what an annotator said, and return that sample as the question."""
        return self._do(lambda: self.clerk.undo(self._name(annotator), sample))

    def grid(self, annotator: str, label: str, size: int) -> dict[str, Any]:
        """Ask about the likeliest samples of a class at once."""
        return self._do(lambda: self.clerk.grids.ask(self._name(annotator), label, size))

    def confirm(
        self, annotator: str, label: str, right: list[int], wrong: list[int], seconds: float | None
    ) -> dict[str, Any]:
        """Record the labels of a grid; those that are wrong are asked about one by one."""
        return self._do(lambda: self.clerk.grids.confirm(self._name(annotator), label, right, wrong, seconds))

    def near_copies(self, annotator: str, sample: int) -> dict[str, Any]:
        """Return a sample and its near-copies that nobody said anything of."""
        return self._do(lambda: self.clerk.copies.show(self._name(annotator), sample))

    def label_copies(
        self, annotator: str, sample: int, label: str, right: list[int], wrong: list[int], seconds: float | None
    ) -> dict[str, Any]:
        """Record one label of a sample and its near-copies, and return the next question."""
        return self._do(lambda: self.clerk.copies.label(self._name(annotator), sample, label, right, wrong, seconds))

    def undo_copies(self, annotator: str, sample: int) -> dict[str, Any]:
        """Withdraw a label with those of the near-copies given with it, and return that sample as the question."""
        return self._do(lambda: self.clerk.copies.undo(self._name(annotator), sample))

    def history(self, annotator: str, limit: int) -> dict[str, Any]:
        """Return what an annotator said, the latest first."""
        return self._do(lambda: {"items": self.clerk.history(self._name(annotator), limit)})

    def doubts(self, annotator: str) -> dict[str, Any]:
        """Return labels that look wrong, the most doubtful first."""
        return self._do(lambda: self.clerk.looks.items(self._name(annotator)))

    def keep(self, annotator: str, sample: int) -> dict[str, Any]:
        """Say that a label that looks wrong is right, and return the state."""
        self._do(lambda: self.clerk.looks.keep(self._name(annotator), sample))
        return self.state(annotator)

    def add_class(self, name: str) -> dict[str, Any]:
        """Add a class, after those there are, and return the state."""
        self._do(lambda: self.clerk.add_class(name))
        return self.state("")

    def do(self, what: Job) -> Any:
        """Have the session's thread do something for another front end than the page, and return its result.

        Args:
            what: is done; it may touch the clerk.

        Raises:
            DeskError: it is refused, or the session is stopping.

        """
        return self._do(what)

    def ensure_class(self, name: str) -> None:
        """Add a class where there is none of that name.

        Args:
            name: of the class.

        """
        self._do(lambda: None if name in self.clerk.classes else self.clerk.add_class(name))

    def finish(self) -> dict[str, Any]:
        """Have a last network learn every label and then the products made; return the state."""
        self._do(self.clerk.finish)
        return self.state("")

    def picture(self, sample: int, side: int) -> tuple[bytes, str]:
        """Return an encoded image and its media type."""
        if not 0 <= sample < self._size:
            raise DeskError(f"sample: expected one of this run, got {sample}", 404)
        return self._pictures(sample, side)

    def _name(self, annotator: str) -> str:
        return annotator or self._annotator

    def _tell(self, report: Callable[[], None]) -> None:
        self._jobs.put((report, Future()))

    def _do(self, what: Job) -> Any:
        """Have the session's thread do something, and wait for it."""
        done: Future[Any] = Future()
        with self._stopping:
            if self._stopped:
                raise DeskError("the server is stopping; start it again with 'pipeline label'", 503)
            self._jobs.put((what, done))
        try:
            return done.result(timeout=PATIENCE)
        except FutureTimeout as error:
            done.cancel()  # where it has not begun it never will: an undo that is sent again takes back one answer
            raise DeskError("the server is busy; try again", 503) from error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            what, done = job
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(what())
            except (PipelineError, RunFailedError) as error:
                done.set_exception(error if isinstance(error, DeskError) else DeskError(str(error)))
            except OSError as error:  # a full disk: what could not be logged was not said
                line = f"cannot write {error.filename or 'the record'} ({error.strerror}): see to it, then try again"
                done.set_exception(DeskError(line, 503))
                self.clerk.warn(line)
            except BaseException as error:
                done.set_exception(error)
                self.clerk.warn(f"{type(error).__name__}: {error}")
        while not self._jobs.empty():
            if (job := self._jobs.get()) is not None and job[1].set_running_or_notify_cancel():
                job[1].set_exception(DeskError("the server is stopping", 503))
