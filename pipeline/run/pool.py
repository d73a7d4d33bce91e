"""What is labelled, what was asked and what is left: always derived from the events, never stored."""

from collections import Counter
from collections.abc import Callable, Iterable, KeysView
from dataclasses import dataclass

import numpy as np

from common.arrays import read_only
from pipeline.errors import PipelineError
from pipeline.run.events import Event

INITIAL = -1
"""The round of the initial set; round c ≥ 0 is the query that follows the training of cycle c."""

GIVEN = "given"
"""The annotator of labels that came with the data."""


@dataclass(frozen=True)
class Labelled:
    """A labelled set in the order in which its labels came.

    Args:
        ids: data-set-absolute ``[L]``.
        labels: class indices ``[L]``.

    """

    ids: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Let nobody who is shown it change it."""
        for name in ("ids", "labels"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.ids)


class Pool:
    """The state of one run's labelling, which goes on event by event.

    A label belongs to the round in which it came, whichever round asked for it, and to the training after that.  A
    round is closed by its ``round_closed`` or, in the logs of older versions, by the training that followed; nothing
    that comes later changes what was known by then.  Each annotator has one say a sample, the last one, until an
    ``undo`` withdraws it; a sample on which no class has more votes than every other is disputed, and no label of the
    set.  A sample that one annotator skips and another labels has that label; the skip stands in the log.
    The check set is asked about like others, but its labels are no label of any round: nothing is trained on them.

    Args:
        size: number of training samples in the data set.
        events: the run's log so far.

    Raises:
        PipelineError: the log contradicts itself.

    """

    def __init__(self, size: int, events: Iterable[Event] = ()) -> None:
        self.size = size
        self.queries: dict[int, list[int]] = {}
        self.scores: dict[int, list[float]] = {}
        self.skipped: dict[int, set[int]] = {}
        self.disputed: set[int] = set()
        self.added_classes: list[str] = []
        self._added_in: list[int] = []  # the rounds in which they were
        self.current: dict[int, int] = {}  # every label that counts now, by sample
        self.check_set: dict[int, int] = {}  # the round in which each sample of it was drawn
        self.kept: dict[int, int] = {}  # labels that somebody stands by although they look wrong, by sample
        self.checked: dict[int, int] = {}  # every label of the check set that counts now, by sample
        self._decided: dict[int, dict[int, int | None]] = {}  # by round; None where a label is withdrawn
        self._votes: dict[int, dict[str, tuple[int, int]]] = {}  # by sample and annotator: round and label
        self._skips: dict[int, dict[str, int]] = {}  # by sample and annotator: round
        self._asked: dict[int, int] = {}  # the round that asked for a sample
        self._open: dict[int, int] = {}  # those of them that have neither a label nor a skip, in order
        self._closed = INITIAL - 1
        self._takers: dict[str, Callable[[Event, int], None]] = {
            "query": self._query,
            "label": self._label,
            "skip": self._skip,
            "undo": self._undo,
            "class_added": self._class_added,
            "check_drawn": self._check_drawn,
            "kept": self._kept,
            "round_closed": self._close,
            "stage_done": self._stage_done,
        }
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take the log's next event in; those that say nothing of labels change nothing.

        Args:
            event: with its fields.

        Raises:
            PipelineError: it contradicts those before it.

        """
        self.check(event)
        take = self._takers.get(event["event"])
        if take is not None:
            take(event, event.get("cycle", INITIAL))

    def _query(self, event: Event, round_: int) -> None:
        asked = dict.fromkeys(event["ids"], round_)
        self._asked |= asked
        self._open |= asked
        self.queries.setdefault(round_, []).extend(event["ids"])
        self.scores.setdefault(round_, []).extend(event["scores"])

    def _label(self, event: Event, round_: int) -> None:
        for (sample, label), annotator in zip(event["labels"], annotators_of(event), strict=True):
            self._votes.setdefault(sample, {})[annotator] = (round_, label)
            self._decide(round_, sample)

    def _skip(self, event: Event, round_: int) -> None:
        self.skipped.setdefault(round_, set()).update(event["ids"])
        for sample, annotator in zip(event["ids"], annotators_of(event), strict=True):
            self._skips.setdefault(sample, {})[annotator] = round_
            self._open.pop(sample, None)

    def _undo(self, event: Event, round_: int) -> None:
        for sample in event["ids"]:
            self._withdraw(round_, sample, event["annotator"])

    def _class_added(self, event: Event, round_: int) -> None:
        self.added_classes.append(event["name"])
        self._added_in.append(round_)

    def _check_drawn(self, event: Event, round_: int) -> None:
        self.check_set |= dict.fromkeys(event["ids"], round_)

    def _kept(self, event: Event, round_: int) -> None:
        self.kept |= dict(event["labels"])

    def _close(self, event: Event, round_: int) -> None:
        self._closed = max(self._closed, round_)

    def _stage_done(self, event: Event, round_: int) -> None:
        if event["stage"] == "train":
            self._closed = max(self._closed, round_ - 1)

    def check(self, event: Event) -> None:
        """Refuse an event that contradicts those before it, before it is logged.

        Args:
            event: with its fields.

        Raises:
            PipelineError: a sample is asked for twice, labelled or skipped without being asked for, labelled in two
                ways by one annotator in one round, or the round is closed; or nothing was said that is to be undone.

        """
        kind, round_ = event["event"], event.get("cycle", INITIAL)
        if kind not in ("query", "label", "skip", "undo", "check_drawn"):
            return
        if self.closed(round_):
            raise PipelineError(f"{named(round_)} is closed: expected no {kind} of it any more")
        if kind == "check_drawn":
            self._check_draw(event)
        elif kind == "query":
            self._check_query(event, round_)
        elif kind == "undo":
            self._check_undo(event)
        else:
            self._check_said(event, round_)

    def _check_query(self, event: Event, round_: int) -> None:
        if twice := [sample for sample in event["ids"] if sample in self._asked]:
            raise PipelineError(
                f"sample {twice[0]} was asked for in {named(self._asked[twice[0]])} and again in {named(round_)}"
            )
        if len(set(event["ids"])) != len(event["ids"]):
            raise PipelineError(f"a sample was asked for twice in {named(round_)}")
        if strange := [sample for sample in event["ids"] if (sample in self.check_set) != ("check" in event)]:
            what = (
                "of the check set was chosen to be trained on" if strange[0] in self.check_set else "is of no check set"
            )
            raise PipelineError(f"sample {strange[0]} {what} in {named(round_)}")

    def _check_draw(self, event: Event) -> None:
        if twice := [sample for sample in event["ids"] if sample in self._asked or sample in self.check_set]:
            raise PipelineError(f"sample {twice[0]} was drawn for the check set after it was asked for or drawn")

    def _check_undo(self, event: Event) -> None:
        for sample in event["ids"]:
            if not self.said_anything(sample, event["annotator"]):
                raise PipelineError(f"sample {sample}: {event['annotator']} said nothing that could be undone")

    def _check_said(self, event: Event, round_: int) -> None:
        kind = event["event"]
        for sample in event["ids"] if kind == "skip" else [sample for sample, _ in event["labels"]]:
            if self._asked.get(sample, round_ + 1) > round_:
                raise PipelineError(f"sample {sample} got a {kind} in {named(round_)} without being asked for")
        said = dict[tuple[int, str], int]()
        for (sample, label), annotator in zip(event.get("labels", ()), annotators_of(event), strict=False):
            earlier, before = self._votes.get(sample, {}).get(annotator, (None, None))
            known = said.setdefault((sample, annotator), label) if earlier != round_ else before
            if known != label:
                raise PipelineError(f"sample {sample} of {named(round_)} has two labels, {known} and {label}")

    def _withdraw(self, round_: int, sample: int, annotator: str) -> None:
        """Take back what an annotator last said; what closed rounds knew of it stays."""
        if self._votes.get(sample, {}).pop(annotator, None) is not None:
            self._decide(round_, sample)
        else:
            skipped_in = self._skips[sample].pop(annotator)
            if skipped_in not in self._skips[sample].values() and not self.closed(skipped_in):
                self.skipped[skipped_in].discard(sample)
            if sample not in self._counting(sample) and not self._skips[sample]:
                self._open[sample] = self._asked[sample]

    def _decide(self, round_: int, sample: int) -> None:
        """Count the votes on a sample; it is open again where there is none, and disputed where no class leads."""
        counts = Counter(label for _, label in self._votes[sample].values()).most_common(2)
        tie = len(counts) == 2 and counts[0][1] == counts[1][1]
        decided = None if tie or not counts else counts[0][0]
        if sample not in self.check_set:
            self._decided.setdefault(round_, {})[sample] = decided
        (self.disputed.add if tie else self.disputed.discard)(sample)
        if decided is not None:
            self._counting(sample)[sample] = decided
            self._open.pop(sample, None)
            return
        self._counting(sample).pop(sample, None)
        if tie or not self._skips.get(sample):
            self._open[sample] = self._asked[sample]

    def _counting(self, sample: int) -> dict[int, int]:
        """The labels among which one of this sample is."""
        return self.checked if sample in self.check_set else self.current

    def said(self, sample: int, annotator: str, round_: int | None = None) -> int | None:
        """Return the label that an annotator last gave a sample, if any.

        Args:
            sample: which.
            annotator: who.
            round_: where it must have come in this round.

        """
        when, label = self._votes.get(sample, {}).get(annotator, (None, None))
        return label if round_ in (None, when) else None

    def said_anything(self, sample: int, annotator: str) -> bool:
        """Tell whether a label or a skip of an annotator is in force for a sample.

        Args:
            sample: which.
            annotator: who.

        """
        return annotator in self._votes.get(sample, {}) or annotator in self._skips.get(sample, {})

    def skipped_by(self, sample: int, annotator: str) -> bool:
        """Tell whether a skip of an annotator is in force for a sample.

        Args:
            sample: which.
            annotator: who.

        """
        return annotator in self._skips.get(sample, {})

    def votes(self, sample: int) -> dict[str, int]:
        """Return the labels in force for a sample, by annotator."""
        return {annotator: label for annotator, (_, label) in self._votes.get(sample, {}).items()}

    def left_out(self, sample: int) -> bool:
        """Tell whether somebody skipped a sample and nobody labelled it."""
        return bool(self._skips.get(sample)) and not self._votes.get(sample)

    def asked_in(self, sample: int) -> int | None:
        """Return the round that asked for a sample; None where none did."""
        return self._asked.get(sample)

    @property
    def round(self) -> int:
        """The round that is open now: the one after the last that was closed."""
        return self._closed + 1

    def closed(self, round_: int) -> bool:
        """Tell whether nothing can be said in a round any more."""
        return round_ <= self._closed

    def asked(self, round_: int) -> set[int]:
        """Return what a round asked for so far."""
        return set(self.queries.get(round_, ()))

    def answers(self, round_: int) -> dict[int, int]:
        """Return the labels that came in a round, for whichever round asked, in order; withdrawn ones left out."""
        return {sample: label for sample, label in self._decided.get(round_, {}).items() if label is not None}

    def touched(self, round_: int) -> bool:
        """Tell whether a round changed any label, or added or withdrew one."""
        return bool(self._decided.get(round_))

    def classes_before(self, cycle: int) -> tuple[str, ...]:
        """Return the names of the classes that were added before a cycle's training."""
        return tuple(name for name, added in zip(self.added_classes, self._added_in, strict=True) if added < cycle)

    def labelled(self, cycle: int) -> Labelled:
        """Return the labelled set that cycle ``cycle`` trains on: what was known when the round before it closed."""
        pairs = list(self._known(cycle - 1).items())
        ids, labels = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return Labelled(ids, labels)

    def known(self) -> dict[int, int]:
        """Return every label that counts now, by sample, in the order in which they came."""
        return self._known(max(self._decided, default=INITIAL))

    def _known(self, round_: int) -> dict[int, int]:
        """Every label that counts at the end of a round."""
        known = dict[int, int]()
        for earlier in sorted(self._decided):
            if earlier <= round_:
                for sample, label in self._decided[earlier].items():
                    known.pop(sample, None)
                    if label is not None:
                        known[sample] = label
        return known

    @property
    def open_samples(self) -> KeysView[int]:
        """What was asked for and has neither a label nor a skip, or is disputed, in the order in which it was."""
        return self._open.keys()

    def complete(self, round_: int) -> bool:
        """Tell whether a round is closed, or everything that it asked for was labelled or skipped."""
        return self.closed(round_) or (round_ in self.queries and not self.unanswered(round_))

    def unanswered(self, round_: int) -> list[int]:
        """Return the samples of a round that were asked for and have neither a label nor a skip yet, in rank order."""
        return [sample for sample, asked in self._open.items() if asked == round_]

    def open(self, round_: int) -> list[int]:
        """Return what rounds before this one asked for and nobody has labelled or skipped yet, in order."""
        return [sample for sample, asked in self._open.items() if asked < round_]

    def candidates(self, cycle: int, subset: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the candidate subset of a cycle uniformly from what no earlier round asked for, the check set left out.

        The order of the whole data set is drawn first and labelled samples are passed over, so that every strategy at
        one seed sees the same subset but for what it has labelled itself.

        Args:
            cycle: the cycle whose network scores them.
            subset: U, the number of candidates wanted.
            rng: the cycle's ``subset`` stream.

        Returns:
            Data-set-absolute ids ``[min(U, what is left)]`` in the order drawn.

        """
        taken = np.zeros(self.size, dtype=bool)
        taken[[sample for sample, round_ in self._asked.items() if round_ < cycle]] = True
        taken[[sample for sample, round_ in self.check_set.items() if round_ <= cycle]] = True
        order = rng.permutation(self.size)
        return order[~taken[order]][:subset]


def named(round_: int) -> str:
    """Return what a message calls a round."""
    return "the initial round" if round_ == INITIAL else f"round {round_}"


def annotators_of(event: Event) -> list[str]:
    """Return who said each entry of a ``label`` or ``skip`` event; nobody in the logs of older versions.

    Args:
        event: with its fields.

    """
    names, entries = event.get("annotator", ""), event["labels"] if event["event"] == "label" else event["ids"]
    return [names] * len(entries) if isinstance(names, str) else list(names)
