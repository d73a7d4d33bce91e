"""Keeps a labelling session and a project of Label Studio in step: what is said there is heard here, and what is to be
asked next lies ready there.

Label Studio pushes what happens, and whatever it pushes only wakes this up: the project itself is then asked what has
changed, tasks changed last first. So a push that is lost, repeated or out of order, a restart of either side, and
annotations that were made meanwhile come to the same; and without pushes it is asked every few seconds.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipeline.errors import PipelineError, RunFailedError
from pipeline.handoff.base import Row
from pipeline.handoff.label_studio import USER, words
from pipeline.handoff.label_studio_tasks import Images, task
from pipeline.live.project import PAGE, Project
from pipeline.live.server import Unreachable
from pipeline.page.fields import checked
from pipeline.session.desk import DeskError
from pipeline.session.outside import Outside, Word
from pipeline.session.session import Session

AHEAD = 4
"""Tasks that lie ready for the first person; each further one who answered lately has one more."""
POLL, POLL_PUSHED = 2.0, 10.0
"""Seconds after which the project is asked though nothing was pushed: without pushes, and with them."""
WHOLE = 60.0
"""Seconds after which all tasks are read: some of Label Studio's bulk actions touch no task."""
FEW = 10
"""Tasks that are asked for at once where few have changed."""
LATELY = 600.0
"""Seconds for which somebody who answered is expected to go on."""
NOBODY = USER.format("?")
"""Who answered, where Label Studio does not know any more."""


class Link:
    """One session's link to one project.

    Args:
        session: takes what is said.
        project: shows what is asked.
        images: addresses of the pictures.
        predictions: whether people are shown what the network predicts.
        warn: told of what should be looked at, one line each.
        news: told of what goes on, one line each.

    """

    def __init__(
        self,
        session: Session,
        project: Project,
        images: Images,
        predictions: bool,
        warn: Callable[[str], None],
        news: Callable[[str], None],
    ) -> None:
        self._session, self._project, self._images, self._predictions = session, project, images, predictions
        self._warn, self._news = warn, news
        self._outside = Outside(session.clerk, lambda who: who.startswith(USER.format("")))
        self._run_id = session.clerk.run.run_id
        self._tasks: dict[int, dict[str, Any]] = {}  # by number, those of this run
        self._by_sample: dict[int, set[int]] = {}
        self._foreign: set[int] = set()
        self._unshown: set[int] = set()
        self._present: set[int] = set()
        self._checked = False
        self._mark, self._read_whole = "", 0.0
        self._classes = session.clerk.classes
        self._seen: dict[str, float] = {}  # annotators, by when they last said something
        self._said: set[str] = set()
        self._wake, self._stopped, self.pushed = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="label-studio", daemon=True)

    def start(self) -> None:
        """Catch up with what was said there while nobody listened, have tasks ready, and go on with it in a thread.

        Raises:
            PipelineError: the server refuses or does not answer.

        """
        self.step()
        self._thread.start()

    def wake(self) -> None:
        """Look soon: something happened there."""
        self._wake.set()

    def stop(self) -> None:
        """End it, and have Label Studio push no more."""
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def predict(self, samples: list[int]) -> Mapping[int, str]:
        """Return the classes that the network takes samples for; none unless people are to be shown them.

        Args:
            samples: ids.

        """
        if not self._predictions:
            return {}
        clerk = self._session.clerk
        guesses = self._session.do(lambda: clerk.networks.predictions(samples))
        return {sample: guess["label"] for sample, guess in guesses.items()}

    def step(self) -> None:
        """Hear what is new, then have tasks ready in view of it.

        Raises:
            PipelineError: the server refuses or does not answer.

        """
        self._hear(self._changed())
        self._show_classes()
        self._ready()

    def _work(self) -> None:
        away = False
        while not self._stopped.is_set():
            self._wake.wait((POLL_PUSHED if self.pushed else POLL) * (2 if away else 1))
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                self.step()
                if away:
                    self._news("Label Studio answers again")
                away = False
            except Unreachable as error:
                if not away:
                    self._warn(f"{error} Every answer that it has is taken in once it does")
                away = True
            except (PipelineError, RunFailedError) as error:
                self._once(str(error))
            except Exception as error:  # what it sends may be anything; the session goes on, and so does this
                self._once(f"Label Studio: {type(error).__name__}: {error}")

    def _changed(self) -> set[int]:
        """Read the tasks that changed since the last time, or all of them, and return their samples."""
        now, samples = time.monotonic(), set[int]()
        if self._mark and now - self._read_whole < WHOLE:
            samples, page = self._read(self._mark, FEW)
            if self._fits(page) or now - self._read_whole < POLL_PUSHED:
                return samples
        before = set(self._tasks)
        self._present.clear()
        samples |= self._read("", PAGE)[0]
        self._read_whole = now
        for number in before - self._present:  # what was said of a task that is gone stays said
            self._by_sample[self._tasks.pop(number)["data"]["sample_id"]].discard(number)
        return samples

    def _read(self, mark: str, size: int) -> tuple[set[int], Mapping[str, Any]]:
        """Read the tasks that changed at some time or later; return their samples, and the last page."""
        samples, newest, page = set[int](), self._mark, dict[str, Any]()
        for page in self._project.latest(size):
            changed = [str(each.get("updated_at", "")) for each in page["tasks"]]
            for each, when in zip(page["tasks"], changed, strict=True):
                if when >= mark:
                    samples |= self._keep(each)
            newest = max([newest, *changed])
            if any(when < mark for when in changed):
                break
        self._mark = newest
        return samples, page

    def _fits(self, page: Mapping[str, Any]) -> bool:
        """Tell whether the project has as many tasks and annotations as are known."""
        annotations = [each for kept in self._tasks.values() for each in kept["annotations"]]
        counted = sum(isinstance(each, dict) and not each.get("was_cancelled") for each in annotations)
        return bool(self._foreign) or (page.get("total"), page.get("total_annotations")) == (len(self._tasks), counted)

    def _keep(self, each: dict[str, Any]) -> set[int]:
        """Remember a task, as far as it is one of ours, and return its sample."""
        number, data, annotations = int(each["id"]), each.get("data"), each.get("annotations")
        self._present.add(number)
        sample = data.get("sample_id") if isinstance(data, dict) and data.get("run_id") == self._run_id else None
        if isinstance(sample, bool) or not isinstance(sample, int) or not isinstance(annotations, list):
            self._foreign.add(number)
            self._once(f"Label Studio: task {number} is not one of this run: nothing of it is taken in")
            return set()
        kept = {"id": number, "data": data, "annotations": annotations}
        if self._tasks.get(number) == kept:
            return set()
        self._tasks[number] = kept
        self._by_sample.setdefault(sample, set()).add(number)
        return {sample}

    def _hear(self, samples: set[int]) -> None:
        """Bring the record to what is said there now of samples, in the order in which it was said."""
        said = {sample: self._words(sample) for sample in samples}
        last = {sample: max((word.time or "" for word in each.values()), default="") for sample, each in said.items()}
        for sample in sorted(said, key=lambda each: (last[each], each)):
            each = said[sample]
            try:
                heard = self._session.do(partial(self._outside.hear, sample, each))
            except DeskError as error:
                self._tasks_again(sample, error)
                continue
            if heard:
                self._seen |= dict.fromkeys(each, time.monotonic())

    def _tasks_again(self, sample: int, error: DeskError) -> None:
        """Forget a sample's tasks where it could not be heard for now, so that it is heard the next time."""
        self._once(f"Label Studio: {error}")
        if error.status == 503:
            for number in self._by_sample.get(sample, ()):
                self._tasks[number]["annotations"] = []
            self._mark = ""

    def _words(self, sample: int) -> dict[str, Word]:
        """Return what everybody says of a sample there."""
        found = dict[str, Word]()
        for row in words(self._tasks[number] for number in sorted(self._by_sample.get(sample, ()))):
            try:
                if row.fault:
                    raise DeskError(row.fault, 400)
                if (word := _word(row)) is not None:
                    found[checked("annotator", row.cells["annotator"]) or NOBODY] = word
            except DeskError as error:
                self._once(f"Label Studio: {row.where}: {error}; it is not taken in")
        return found

    def _show_classes(self) -> None:
        """Let classes that were added on the page be chosen there."""
        if (classes := self._session.clerk.classes) != self._classes:
            self._project.show(classes)
            self._classes = classes

    def _ready(self) -> None:
        """Import what is to be asked next and does not lie ready there yet."""
        lately = sum(time.monotonic() - seen < LATELY for seen in self._seen.values())
        count = AHEAD + max(0, lately - 1) + len(self._unshown)
        wanted = self._session.do(lambda: self._outside.ahead(count))
        addresses = {sample: self._address(sample) for sample in wanted}
        shown = {sample: address for sample, address in addresses.items() if address is not None}
        if shown and not self._checked:
            self._project.require_picture(next(iter(shown.values())))  # before anybody is shown an empty frame
            self._checked = True
        for sample, address in shown.items():
            self._moved(sample, address)
        missing = [sample for sample in shown if not self._open(sample)]
        if not missing:
            return
        rounds = self._session.do(lambda: [self._session.clerk.pool.asked_in(sample) for sample in missing])
        guesses = self.predict(missing)
        made = [
            task(self._run_id, round_, wanted.index(sample) + 1, sample, shown[sample], guesses.get(sample))
            for sample, round_ in zip(missing, rounds, strict=True)
        ]
        numbers = self._project.add(made)
        if len(numbers) != len(made):
            self._mark = ""  # all tasks are read again
            return
        for number, each in zip(numbers, made, strict=True):
            self._keep({"id": number, "data": each["data"], "annotations": []})

    def _address(self, sample: int) -> str | None:
        """Return the address of a picture; None where there is none any more, which keeps nothing else waiting."""
        try:
            return self._images.address(sample)
        except PipelineError as error:
            self._unshown.add(sample)
            self._once(f"{error}; it is not asked about in Label Studio")
            return None

    def _open(self, sample: int) -> bool:
        """Tell whether a task of a sample waits there for somebody."""
        return bool(self._waiting(sample))

    def _waiting(self, sample: int) -> list[int]:
        """Return the tasks of a sample that nobody has answered."""
        return [number for number in self._by_sample.get(sample, ()) if not self._tasks[number]["annotations"]]

    def _moved(self, sample: int, address: str) -> None:
        """Lead the tasks of a sample to where its picture is now: an earlier start may have had another root."""
        for number in self._waiting(sample):
            data = self._tasks[number]["data"]
            if data.get("image") != address:
                self._tasks[number]["data"] = data | {"image": address}
                self._project.change(number, self._tasks[number]["data"])

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._warn(line)


def _word(row: Row) -> Word | None:
    """Return what a row says; None where it has no answer."""
    skipped, label = row.cells["status"] == "skipped", row.cells["label"]
    if not skipped and not label:
        return None
    seconds = float(row.cells["seconds"] or "nan")
    name = None if skipped else str(checked("label", label))
    return Word(name, seconds if 0 <= seconds < math.inf else None, row.cells["time"] or None)
