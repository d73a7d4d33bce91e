"""What is made of a session in the end: the products, by a process of their own."""

import multiprocessing
import shlex
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.advise.advice import advice_of
from pipeline.advise.wording import expected_lines, reason, rests_on
from pipeline.errors import PipelineError, RunFailedError
from pipeline.interrupts import kept_from_children, leave_no_semaphores
from pipeline.run.check_set import CheckSet
from pipeline.run.recorded import named_code
from pipeline.run.summary import CycleRow, read_rows

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk


FIRST = ("README.md", "labels.csv", "predictions.csv")
"""What people look for; the others come after them."""


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
        self._rows: list[CycleRow] = []
        self._advised: tuple[Any, dict[str, Any] | None] = (None, None)
        self.read_curve()

    def want(self) -> None:
        """Have the products made of every label that there is now."""
        if self._process is None:
            if not self.wanted:
                self._clerk.news("finishing: a last network learns from every label, then the products are made")
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
        return {"going_on": False, "products": self._made, "folder": str(self._folder.resolve()), "next": self._next()}

    @property
    def _folder(self) -> Path:
        return self._clerk.run.path / "products"

    def _next(self) -> list[dict[str, str]]:
        """Return what can be done now, each with its command, for the terminal in which the page was started."""
        clerk, run = self._clerk, shlex.quote(str(self._clerk.run.path))
        steps = []
        if "model/model.json" in (self._made or ()):
            model = shlex.quote(str(self._folder / "model"))
            what, new = (
                ("samples", "new.npz") if clerk.context.data.pictures.holds_features else ("images", "new_photos")
            )
            steps.append((f"to predict other {what}", f"pipeline predict {model} {new} --out new.csv"))
        trust = " --trust-code" if named_code(clerk.context.config) else ""
        steps.append(("to see how it went", f"pipeline report {run}"))
        steps.append(("to go on labelling", f"pipeline label {run}{trust}"))
        return [{"what": what, "command": command} for what, command in steps]

    def read_curve(self) -> None:
        """Take the accuracy of the latest network in, where there are images to measure it on."""
        self._rows = read_rows(self._clerk.run.path)
        measured = [(row.n_labelled, row.test_accuracy) for row in self._rows]
        self.curve = [(labels, accuracy) for labels, accuracy in measured if accuracy is not None]

    @property
    def advice(self) -> dict[str, Any] | None:
        """Whether to go on, as far as the networks so far say; None where nothing measures them."""
        clerk = self._clerk
        checked = clerk.checks.set
        key = (len(self._rows), checked)
        if self._advised[0] != key:
            self._advised = key, self._advise(checked)
        return self._advised[1]

    def _advise(self, checked: CheckSet | None) -> dict[str, Any] | None:
        clerk = self._clerk
        classes = max(2, len(clerk.context.data.classes) + len(clerk.pool.classes_before(clerk.networks.serving or 0)))
        found = advice_of(self._rows, classes, checked, test_images=len(clerk.context.data.test))
        if found.forecast is None:
            return None
        lines = [f"{name}: {text}" for name, text in expected_lines(found)]
        return {"verdict": found.verdict, "reason": reason(found), "lines": lines, "rests_on": rests_on(found)}

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
        made = [path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file()]
        self._made = [*(name for name in FIRST if name in made), *sorted(set(made) - set(FIRST))]
        if not clerk.run.has("finished"):
            clerk.run.append("finished")
        heads = dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in self._made)
        clerk.news(f"finished: {', '.join(heads)} are in {self._folder.resolve()}")
        for step in self._next():
            clerk.news(f"{step['what']}: {step['command']}")
        clerk.news("Ctrl-C ends the page")


def _make(run: Path, cache: Path) -> None:
    """Make the products, in a process of its own.

    Args:
        run: the run directory.
        cache: of its decoded images.

    """
    from pipeline.products.make import make_products
    from pipeline.run.context import load_data
    from pipeline.run.rundir import read_config

    leave_no_semaphores()
    try:
        data = load_data(read_config(run), cache, run=run)
        make_products(run, data, trust_code=True)  # it was confirmed for the session
    except (PipelineError, RunFailedError, OSError) as error:  # which the command says, too
        sys.exit(str(error))
