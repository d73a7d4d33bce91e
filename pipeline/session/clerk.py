"""What is done at the desk, one request after another: check it, log it, and only then let anything depend on it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.annotators import Answer, FilesAnnotator, Skip, Undo
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.beginning import begin
from pipeline.run.context import RunContext
from pipeline.run.rounds import Rounds
from pipeline.run.rundir import RunDirectory
from pipeline.run.summary import read_rows, write_report
from pipeline.session.asking import LEFT_OUT, OPEN
from pipeline.session.checks import Checks
from pipeline.session.copies import Copies
from pipeline.session.desk import DeskError
from pipeline.session.finish import Products
from pipeline.session.grids import SPENT, Grids
from pipeline.session.looks import Looks
from pipeline.session.network import NetworkProcess
from pipeline.session.networks import Networks
from pipeline.session.sayings import Sayings
from pipeline.session.times import now
from pipeline.session.turns import Turn, Turns, Why
from trainer.data.labels import shown_apart, taken_for

PREFETCHED = 3
SHOWN_WARNINGS = 20


class Clerk:
    """Takes requests, all of them in one thread, which alone writes the record.

    Args:
        run: the open run directory.
        context: its constants.
        cache: folder of its decoded images.
        console: told of what should be looked at, one line each.
        news: told of what goes on, one line each.
        network: what a network lives in.
        tell: has a call made in the clerk's own thread, from any other.

    Raises:
        PipelineError: it is another run's data, or its record contradicts itself.

    """

    def __init__(
        self,
        run: RunDirectory,
        context: RunContext,
        cache: Path,
        console: Callable[[str], None],
        news: Callable[[str], None],
        network: type[NetworkProcess],
        tell: Callable[[Callable[[], None]], None],
    ) -> None:
        self.run, self.context, self.cache, self.network, self.tell = run, context, cache, network, tell
        self._console, self.news = console, news
        self._warnings: dict[str, int | None] = {}  # with the network that each is about, if any
        self.version = 0
        self.rounds = Rounds(run, context.data, FilesAnnotator())
        self.threads = begin(run, context)
        self.pool = self.rounds.pool
        if context.config.takes_given_labels:
            self.rounds.take_given()
        annotators = context.config.annotator
        self.turns = Turns(self.pool, context.config.seed, (annotators.overlap if annotators else None) or 0.0)
        self.sayings = Sayings(run.events)
        for sample, annotator in self.sayings.all():
            self.turns.answered(sample, annotator)
        for sample in self.pool.disputed:
            *_, last = self.sayings.votes.in_force(sample)
            self.turns.differ(sample, last)
        self.turns.put_off.update(self.sayings.grid_asked & set(self.pool.open_samples))
        self.checks = Checks(self)
        self.looks = Looks(self)
        self.networks = Networks(self)
        self.grids = Grids(self)
        self.copies = Copies(self)
        self.products = Products(self)
        self._catch_up()
        self.networks.go_on()

    def stop(self) -> None:
        """End the processes, and write the open round's questions."""
        self.networks.stop()
        self.products.stop()
        self._catch_up()

    def _catch_up(self) -> None:
        """Bring what is derived from the record up to date: a kill may have kept it from being written."""
        try:
            self.rounds.catch_up()
            if read_rows(self.run.path):
                write_report(self.run.path, draw=False)
        except (PipelineError, RunFailedError, OSError) as error:  # the record itself is whole
            self._console(str(error))

    @property
    def round(self) -> int:
        """The round that is open."""
        return self.pool.round

    def say(self, message: str) -> None:
        """Show something on the terminal alone: how a network was trained is nothing that people who label can mend.

        Args:
            message: one line.

        """
        self._console(message)

    def warn(self, message: str, network: int | None = None) -> None:
        """Show a warning on the terminal and on the page.

        Args:
            message: one line.
            network: that it is about.

        """
        if message not in self._warnings:
            self._warnings = dict([*self._warnings.items(), (message, network)][-SHOWN_WARNINGS:])
            self._console(message)
            self.version += 1

    def settled(self, cycle: int) -> None:
        """Show no more what went wrong with networks up to one that is there now; the terminal keeps it."""
        kept = self._warnings.items()
        self._warnings = {line: about for line, about in kept if about is None or about > cycle}

    @property
    def warnings(self) -> list[str]:
        """What the page shows of them, the latest last."""
        return list(self._warnings)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes now."""
        return self.rounds.classes

    @property
    def budget_left(self) -> int | None:
        """Labels that people may still give; None without a limit."""
        annotators = self.context.config.annotator
        if annotators is None or annotators.budget is None:
            return None
        return max(0, annotators.budget - self.sayings.labelled(self.pool))

    def record(self, since: int, late: Sequence[int] = ()) -> dict[int, int]:
        """Return what became of every sample that was asked about in a round or after it; the check set is left out.

        Args:
            since: the round.
            late: samples of earlier rounds, to have in it, too.

        """
        pool = self.pool
        asked = [*late, *(sample for round_, ids in pool.queries.items() if round_ >= since for sample in ids)]
        found = {sample: pool.current.get(sample, LEFT_OUT if self._settled(sample) else OPEN) for sample in asked}
        return found | dict.fromkeys(pool.check_set, LEFT_OUT)

    def _settled(self, sample: int) -> bool:
        return sample in self.pool.disputed or self.pool.left_out(sample)

    def question(self, annotator: str) -> dict[str, Any]:
        """Return what an annotator is to be shown now, the same until it is answered."""
        if self.products.finished:
            return self._nothing(annotator)
        turn = self.turns.current(annotator)
        if turn is None or (turn.adds and self.budget_left == 0):
            self.turns.of(annotator).turn = turn = self.next_turn(annotator)
        return self._shown(turn, annotator) if turn is not None else self._nothing(annotator)

    def next_turn(self, annotator: str) -> Turn | None:
        """Choose what an annotator is shown next, and log it where it is new; None where there is nothing now.

        Args:
            annotator: who.

        """
        left = self.budget_left
        adding = left is None or left > self.turns.labels_to_come(annotator)
        if (turn := self.turns.known(annotator, adding)) is not None or not adding:
            return turn
        new = self.checks.new_turn() or self.networks.new_turn()
        new = new or self.checks.new_turn(due=False, apart=self.networks.waiting)  # which is a matter of seconds
        return new or self.turns.last_resort(annotator)

    def _nothing(self, annotator: str) -> dict[str, Any]:
        if self.products.finished:
            return {"kind": "done", "reason": "finished", "text": "Every label is saved."}
        if self.budget_left == 0:
            return {"kind": "done", "reason": "budget", "text": SPENT}
        if self.networks.opening:
            return {"kind": "wait", "text": "The network is being opened."}
        if self.networks.waiting:
            return {"kind": "wait", "text": "The first images are being chosen."}
        if self.pool.open_samples:
            text = "Nothing is left for you: others are looking at what is not labelled yet."
            return {"kind": "done", "reason": "yours", "text": text}
        return {"kind": "done", "reason": "pool", "text": "Every image was asked about. Finish to get the products."}

    def _shown(self, turn: Turn, annotator: str) -> dict[str, Any]:
        sample = turn.sample
        votes = self.pool.votes(sample) if turn.why == "disputed" else {}
        return {
            "kind": "question",
            **self.named(sample),
            "asked_by": self.sayings.asked_by(sample),
            "why": self._why(turn),
            "said": [{"annotator": who, "label": self.classes[label]} for who, label in votes.items()],
            "milliseconds": None if turn.milliseconds is None else round(turn.milliseconds, 1),
            "prediction": self.networks.predictions([sample]).get(sample),
            "next": list(turn.following[:PREFETCHED]),
            "copies": 0 if turn.why in ("overlap", "disputed") else len(self.copies.of(sample, annotator)),
        }

    def _why(self, turn: Turn) -> Why:
        """Return why it is somebody's turn; what was left open is there for what it was asked for first."""
        if turn.why != "left":
            return turn.why
        if turn.sample in self.pool.check_set:
            return "check"
        return "typical" if turn.sample in self.sayings.votes.first else "left"

    def named(self, sample: int) -> dict[str, Any]:
        """Return what leads a person to a sample: its name, and its picture or its text."""
        data = self.context.data
        return {
            "sample": sample,
            "name": data.sample_path("train", sample),
            "text": data.sample_text("train", sample),
            "image": not data.pictures.holds_features,
        }

    def answer(self, annotator: str, sample: int, label: str, seconds: float | None) -> dict[str, Any]:
        """Record a label, and return the next question.

        Args:
            annotator: who says so.
            sample: id.
            label: name of the class.
            seconds: that it took.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        self.require_asked(sample)
        number = self.number_of(label)
        said = self.pool.votes(sample).get(annotator)
        turn = self.turns.of(annotator).turn
        again = turn is not None and turn.sample == sample and turn.why == "disputed"
        portion: list[Answer | Skip | Undo] = [Answer(sample, number, annotator, seconds, now())]
        if said is not None and said != number:
            if not again:
                raise DeskError(f"you called it {self.classes[said]!r} already: undo that first")
            portion.insert(0, Undo(sample, annotator))
        elif said is None and self.pool.skipped_by(sample, annotator):
            raise DeskError("you skipped it already: undo that first")
        self.take(portion)
        return self.question(annotator)

    def skip(self, annotator: str, sample: int, reason: str, seconds: float | None) -> dict[str, Any]:
        """Record that somebody will not label a sample, and return the next question.

        Args:
            annotator: who says so.
            sample: id.
            reason: in their words.
            seconds: that it took.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        self.require_asked(sample)
        if (said := self.pool.votes(sample).get(annotator)) is not None:
            raise DeskError(f"you called it {self.classes[said]!r} already: undo that first")
        self.take([Skip(sample, annotator, reason, seconds, now())])
        return self.question(annotator)

    def undo(self, annotator: str, sample: int | None) -> dict[str, Any]:
        """Withdraw what an annotator said, and return that sample as the question.

        Args:
            annotator: who.
            sample: id; None for what they said last.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        self.require_open()
        if sample is None:
            sample = self.sayings.last(annotator)
            if sample is None:
                raise DeskError("there is nothing of yours to undo")
        self.require_asked(sample)
        if not self.pool.said_anything(sample, annotator):
            others = ", ".join(self.pool.votes(sample))
            raise DeskError(f"only {others} can undo that" if others else "there is nothing of yours to undo there")
        self.take([Undo(sample, annotator)])
        self.turns.of(annotator).turn = Turn(sample, "undo")
        return self.question(annotator)

    def take(self, portion: Sequence[Answer | Skip | Undo], copies: Sequence[Answer] = ()) -> None:
        """Log a portion, and what was said of near-copies of its first sample; only then let anything depend on it.

        Args:
            portion: what was said, in order.
            copies: answers about near-copies of its first sample.

        """
        fresh = self.rounds.record(self.round, portion)
        for copy in copies:  # an event of its own, which says what it rests on
            fresh += self.rounds.record(self.round, [copy], copy_of=portion[0].sample)
        self.sayings.take(self.run.events)
        for each in (*portion, *copies):
            if not isinstance(each, Undo):
                self.turns.answered(each.sample, each.annotator)
        if fresh:
            self.version += 1
            self.networks.go_on()

    def log_query(self, ids: list[int], scores: list[float], network: int | None, **more: Any) -> None:
        """Log what is asked, before anybody is shown it.

        Args:
            ids: samples.
            scores: theirs.
            network: number of the one that chose them; None where chance did.
            **more: fields of the event.

        """
        self.run.append("query", cycle=self.round, ids=ids, scores=scores, network=network, **more)
        self.sayings.take(self.run.events)
        self.version += 1

    def add_class(self, name: str) -> None:
        """Add a class, after those there are."""
        if name in self.classes:
            raise DeskError(f"there is a class {name!r} already")
        if (meant := taken_for(name, self.classes)) is not None:
            raise DeskError(f"{shown_apart(meant, name)} differ in spelling alone: the first is a class already")
        if "," in name:
            raise DeskError("a comma stands between the names of classes (--classes): leave it out", 400)
        self.rounds.add_classes(self.round, [name])
        self.version += 1

    def history(self, annotator: str, limit: int) -> list[dict[str, Any]]:
        """Return what an annotator said, the latest first.

        Args:
            annotator: who.
            limit: how many at most.

        """
        trained, classes = self.networks.learned, self.classes
        said = [(sample, self.pool.votes(sample).get(annotator)) for sample in self.sayings.latest(annotator, limit)]
        return [
            {
                **self.named(sample),
                "said": None if label is None else classes[label],
                "annotator": annotator,
                "final": sample in trained,
                "copies": max(0, len(self.sayings.together(sample, annotator)) - 1),
            }
            for sample, label in said
        ]

    def finish(self) -> None:
        """Have a last network learn every label, and then the products made."""
        self.products.want()
        self.networks.go_on()
        self.version += 1

    def require_open(self) -> None:
        """Refuse what would leave a sample open that nobody is asked about any more.

        Raises:
            DeskError: labelling is finished.

        """
        if self.products.finished:
            raise DeskError(f"labelling is finished: to change anything, start 'pipeline label {self.run.path}' again")

    def require_asked(self, sample: int) -> None:
        """Refuse a sample that nobody was asked about.

        Args:
            sample: id.

        Raises:
            DeskError: it is one.

        """
        if self.pool.asked_in(sample) is None:
            raise DeskError(f"sample {sample} was never asked about", 404)

    def number_of(self, name: str) -> int:
        """Return the number of a class.

        Args:
            name: its name.

        Raises:
            DeskError: there is no such class.

        """
        if name not in self.classes:
            raise DeskError(f"label: expected one of {', '.join(self.classes) or 'no class yet'}; got {name!r}", 400)
        return self.classes.index(name)
