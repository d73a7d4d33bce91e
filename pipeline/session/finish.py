"""What is made of a session beside the labelling: the report of every network, and the products in the end."""

import multiprocessing
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.run.summary import read_rows, write_report

if TYPE_CHECKING:
    from pipeline.session.session import Session


class Products:
    """The report and the products, each made in the background.

    Args:
        session: whose.

    """

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.wanted = False
        self.finished = False
        self.curve: list[list[float]] = []
        self._process: Any = None
        self._made: list[str] | None = None
        self._reporting = threading.Lock()
        self.report()

    def want(self) -> None:
        """Have the products made of every label that there is now."""
        if self._process is None:
            self.wanted, self.finished, self._made = True, True, None
            self.go_on()

    def go_on(self) -> None:
        """Make the products where they are wanted and the last network is there."""
        session = self._session
        if not self.wanted or self._process is not None:
            return
        if session.networks.making is not None or session.networks.pending:
            return
        self.wanted = False
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_make, args=(session.run.path, session.cache), daemon=True)
        self._process.start()
        threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()

    def describe(self) -> dict[str, Any] | None:
        """Return how far the products are; None where nobody wants them."""
        if self.wanted:
            return {"going_on": True, "stage": "a last network learns from every label"}
        if self._process is not None:
            return {"going_on": True, "stage": "the products are made"}
        if self._made is None:
            return None
        return {"going_on": False, "products": self._made, "folder": str(self._session.run.path / "products")}

    def report(self) -> None:
        """Rebuild the run's metrics and learning curve in the background."""
        threading.Thread(target=self._report, daemon=True).start()

    def stop(self) -> None:
        """End what goes on."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _report(self) -> None:
        with self._reporting:
            run = self._session.run.path
            rows = read_rows(run)
            if rows:
                write_report(run)
            measured = [row for row in rows if row.test_accuracy is not None]
            self.curve = [[row.n_labelled, row.test_accuracy] for row in measured]
            self._session.version += 1

    def _wait(self, process: Any) -> None:
        process.join()
        self._session.tell(lambda: self._done(process))

    def _done(self, process: Any) -> None:
        session = self._session
        self._process = None
        session.version += 1
        if process.exitcode != 0:
            self.finished = False
            session.warn(f"the products could not be made: 'pipeline products {session.run.path}' says why")
            return
        folder: Path = session.run.path / "products"
        self._made = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        if not session.run.has("finished"):
            session.run.append("finished")


def _make(run: Path, cache: Path) -> None:
    """Make the products, in a process of its own.

    Args:
        run: the run directory.
        cache: of its decoded images.

    """
    from pipeline.products import make_products
    from pipeline.run.context import load_data
    from pipeline.run.rundir import read_config

    make_products(run, load_data(read_config(run), cache=cache))
