"""What is labelled, what was asked and what is left: always derived from the events, never stored."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PipelineError
from pipeline.run.events import Event

INITIAL = -1
"""The round of the initial set; round c ≥ 0 is the query that follows the training of cycle c."""


@dataclass(frozen=True)
class Labelled:
    """A labelled set in the order in which its labels came.

    Args:
        ids: data-set-absolute ``[L]``.
        labels: class indices ``[L]``.

    """

    ids: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Pool:
    """The state of one run's labelling, which goes on event by event.

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
        self.answers: dict[int, dict[int, int]] = {}
        self.skipped: dict[int, set[int]] = {}
        self._asked: dict[int, set[int]] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take the log's next event in; those that say nothing of labels change nothing.

        Args:
            event: with its fields.

        Raises:
            PipelineError: it contradicts those before it.

        """
        if event["event"] == "query":
            self._query(event["cycle"], event["ids"], event["scores"])
        elif event["event"] == "label":
            answers = self.answers.setdefault(event["cycle"], {})
            for sample, label in event["labels"]:
                if sample not in self._asked.get(event["cycle"], ()):
                    raise PipelineError(f"sample {sample} was labelled in round {event['cycle']} without being queried")
                if answers.setdefault(sample, label) != label:
                    raise PipelineError(
                        f"sample {sample} of round {event['cycle']} has two labels, {answers[sample]} and {label}"
                    )
        elif event["event"] == "skip":
            self.skipped.setdefault(event["cycle"], set()).update(event["ids"])

    def _query(self, round_: int, ids: list[int], scores: list[float]) -> None:
        asked = self._asked.setdefault(round_, set())
        if twice := asked.intersection(ids):
            raise PipelineError(f"sample {min(twice)} was queried twice in round {round_}")
        asked.update(ids)
        self.queries.setdefault(round_, []).extend(ids)
        self.scores.setdefault(round_, []).extend(scores)

    def asked(self, round_: int) -> set[int]:
        """Return what a round asked for so far."""
        return set(self._asked.get(round_, ()))

    def labelled(self, cycle: int) -> Labelled:
        """Return the labelled set that cycle ``cycle`` trains on: the initial set and the answers of earlier rounds."""
        pairs = [pair for round_, answers in sorted(self.answers.items()) if round_ < cycle for pair in answers.items()]
        ids, labels = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return Labelled(ids, labels)

    def complete(self, round_: int) -> bool:
        """Tell whether everything that a round asked for was labelled or skipped."""
        return round_ in self.queries and not self.unanswered(round_)

    def unanswered(self, round_: int) -> list[int]:
        """Return the samples of a round that were asked for and neither labelled nor skipped, in rank order."""
        done = {*self.answers.get(round_, {}), *self.skipped.get(round_, ())}
        return [sample for sample in self.queries[round_] if sample not in done]

    def candidates(self, cycle: int, subset: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the candidate subset of a cycle uniformly from what is unlabelled before that cycle's query.

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
        taken[self.labelled(cycle).ids] = True
        for round_, samples in self.skipped.items():
            if round_ < cycle:
                taken[list(samples)] = True
        order = rng.permutation(self.size)
        return order[~taken[order]][:subset]
