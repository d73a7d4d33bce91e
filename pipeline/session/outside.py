"""What people say and are asked in another tool, of which the desk learns only how it stands there now."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipeline.annotators import Answer, Said, Skip, Undo
from pipeline.session.desk import DeskError

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

QUEUE = "(another tool)"
"""Stands, among those who are shown something, for what lies ready in the other tool."""


class Word(NamedTuple):
    """What one annotator says of a sample.

    Args:
        label: name of the class; None for a skip.
        seconds: that it took; None where nobody measured.
        time: when, in ISO 8601; None where that is not known.

    """

    label: str | None
    seconds: float | None = None
    time: str | None = None


class Outside:
    """The clerk's dealings with another tool; all of them in the clerk's thread.

    Args:
        clerk: whose.
        theirs: tells whether an annotator of the record speaks in that tool.

    """

    def __init__(self, clerk: "Clerk", theirs: Callable[[str], bool]) -> None:
        self._clerk, self._theirs = clerk, theirs

    def ahead(self, count: int) -> list[int]:
        """Return the samples that are to lie ready there, in the order in which they were asked.

        What lies ready is shown to nobody on the page, and what somebody is shown on the page does not lie ready.

        Args:
            count: how many, as far as there are so many and the budget allows.

        """
        clerk = self._clerk
        if clerk.products.finished:
            return []
        desk, pool = clerk.turns.of(QUEUE), clerk.pool
        ready = [sample for sample in desk.grid if sample in pool.open_samples]
        most = count if clerk.budget_left is None else min(count, clerk.budget_left)
        while len(ready) < most:
            desk.grid = tuple(ready)
            turn = clerk.next_turn(QUEUE)
            if turn is None or turn.sample in ready:
                break
            ready.append(turn.sample)
            if turn.why == "disputed":
                clerk.turns.answered(turn.sample, QUEUE)  # it is asked about once more, and not for ever
        desk.grid = tuple(ready)
        return ready[:most]

    def hear(self, sample: int, words: Mapping[str, Word]) -> bool:
        """Bring the record to what is said of a sample there now: new answers, corrections, and what was withdrawn.

        Args:
            sample: that the other tool shows.
            words: what everybody says of it there, by annotator.

        Returns:
            Whether anything was new.

        Raises:
            DeskError: the sample was never asked about, or a class is written in two ways.

        """
        clerk = self._clerk
        if clerk.pool.asked_in(sample) is None:
            raise DeskError(f"sample {sample} was never asked about in this run", 404)
        known = clerk.sayings.votes.in_force(sample)
        said = list[Said](Undo(sample, who) for who in known if self._theirs(who) and who not in words)
        for who, word in words.items():
            if word.label is not None and word.label not in clerk.classes:
                clerk.add_class(word.label)
            label = None if word.label is None else clerk.classes.index(word.label)
            if who in known and known[who].label == label:
                continue
            if who in known:
                said.append(Undo(sample, who))
            said.append(
                Skip(sample, who, "", word.seconds, word.time)
                if label is None
                else Answer(sample, label, who, word.seconds, word.time)
            )
        if said:
            clerk.take(said)
        desk = clerk.turns.of(QUEUE)  # where it is still open, it is chosen anew
        desk.grid = tuple(each for each in desk.grid if each != sample)
        return bool(said)
