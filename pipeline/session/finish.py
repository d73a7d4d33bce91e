"""What is made of a session in the end: the products, by a process of their own."""

import multiprocessing
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError, RunFailedError
from pipeline.interrupts import kept_from_children
from pipeline.run.summary import read_rows

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk


class Products:
    """The products, once they are wanted, and the curve that shows whether it is time.

    Args:
        clerk: whose.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk = clerk
        self.wanted = False
        self.finished = False
        self.curve: list[tuple[int, float]] = []
        self._process: Any = None
        self._made: list[str] | None = None
        self.read_curve()

    def want(self) -> None:
        """Have the products made of every label that there is now."""
        if self._process is None:
            self.wanted, self.finished, self._made = True, True, None
            self.go_on()

    def go_on(self) -> None:
        """Make the products where they are wanted and the last network is there."""
        clerk = self._clerk
        if not self.wanted or self._process is not None:
            return
        if clerk.networks.making is not None or clerk.networks.pending:
            return
        self.wanted = False
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_make, args=(clerk.run.path, clerk.cache), daemon=True)
        with kept_from_children():
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
        return {"going_on": False, "products": self._made, "folder": str(self._clerk.run.path / "products")}

    def read_curve(self) -> None:
        """Take the accuracy of the latest network in, where there are images to measure it on."""
        measured = [(row.n_labelled, row.test_accuracy) for row in read_rows(self._clerk.run.path)]
        self.curve = [(labels, accuracy) for labels, accuracy in measured if accuracy is not None]

    def stop(self) -> None:
        """End what goes on."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _wait(self, process: Any) -> None:
        process.join()
        self._clerk.tell(lambda: self._done(process))

    def _done(self, process: Any) -> None:
        clerk = self._clerk
        self._process = None
        clerk.version += 1
        if process.exitcode != 0:
            self.finished = False
            clerk.warn(f"the products could not be made: 'pipeline products {clerk.run.path}' says why")
            return
        folder: Path = clerk.run.path / "products"
        self._made = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        if not clerk.run.has("finished"):
            clerk.run.append("finished")


def _make(run: Path, cache: Path) -> None:
    """Make the products, in a process of its own.

    Args:
        run: the run directory.
        cache: of its decoded images.

    """
    from pipeline.products.make import make_products
    from pipeline.run.context import load_data
    from pipeline.run.rundir import read_config

    try:
        data = load_data(read_config(run), cache, run=run)
        make_products(run, data, trust_code=True)  # it was confirmed for the session
    except (PipelineError, RunFailedError, OSError) as error:  # which the command says, too
        sys.exit(str(error))
