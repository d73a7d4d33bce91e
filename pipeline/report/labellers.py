"""Who labelled a run: what each annotator said and how long it took, and how far they agree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from pipeline.products.agreement import Agreement, Pair, pairs_of
from pipeline.run.events import Event
from pipeline.run.pool import Pool
from pipeline.run.votes import SIMULATED, Votes, classes_now

MOST_CLASSES = 12
"""Rows of a confusion table; of more classes, those about which the pair differed most."""


@dataclass(frozen=True)
class Person:
    """One annotator.

    Args:
        name: theirs.
        labels: samples that have their label.
        skips: samples that they skipped.
        undone: answers and skips that they withdrew.
        differing: samples on which somebody else said another class.
        seconds: median of an answer; None where nobody measured.

    """

    name: str
    labels: int
    skips: int
    undone: int
    differing: int
    seconds: float | None


@dataclass(frozen=True)
class Confusion:
    """What two annotators said of the samples that both labelled.

    Args:
        pair: the two.
        classes: names of the rows and columns that are shown.
        counts: of these.
        left_out: samples that are in no cell shown.

    """

    pair: Pair
    classes: tuple[str, ...]
    counts: list[list[int]]
    left_out: int

    @property
    def agreement(self) -> Agreement:
        """How far they agree."""
        return self.pair.agreement


@dataclass(frozen=True)
class Labellers:
    """Everyone who labelled a run.

    Args:
        people: in the order of their labels, most first.
        confusions: of every pair with a sample in common.
        disputed: samples that are disputed now.

    """

    people: tuple[Person, ...]
    confusions: tuple[Confusion, ...]
    disputed: int


def labellers_of(events: Sequence[Event], classes: Sequence[str]) -> Labellers | None:
    """Return who labelled a run; None where only simulated annotators did.

    Args:
        events: of the run.
        classes: names that the data has.

    """
    votes = Votes(events)
    says = [(who, say.label) for said in votes.says.values() for who, say in said.items()]
    names = {who for who, _ in says} | set(votes.undone)
    if all(name.startswith(SIMULATED) for name in names):
        return None
    labels = Counter(who for who, label in says if label is not None)
    skips = Counter(who for who, label in says if label is None)
    differing = Counter(who for sample in votes.differing for who in votes.independent[sample])
    people = [
        Person(
            who,
            labels[who],
            skips[who],
            votes.undone[who],
            differing[who],
            median(votes.answers[who]) if votes.answers.get(who) else None,
        )
        for who in sorted(names, key=lambda who: (-labels[who], who))
    ]
    shown = classes_now(classes, events)
    pairs = pairs_of(votes.independent, len(shown))
    disputed = Pool(0, events).disputed
    return Labellers(tuple(people), tuple(_confusion(pair, shown) for pair in pairs), len(disputed))


def _confusion(pair: Pair, classes: Sequence[str]) -> Confusion:
    counts = pair.counts
    used = counts.sum(axis=0) + counts.sum(axis=1)
    errors = used - 2 * np.diag(counts)
    best = np.lexsort((np.arange(len(used)), -used, -errors))
    keep = sorted(int(c) for c in best[:MOST_CLASSES] if used[c])
    cells = counts[np.ix_(keep, keep)]
    return Confusion(pair, tuple(classes[c] for c in keep), cells.tolist(), int(counts.sum() - cells.sum()))
