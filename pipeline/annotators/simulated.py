"""An annotator that knows the data set's own labels; the one object of a run that may read the pool's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipeline import seeds
from pipeline.annotators.base import Answer, Question, Skip

NAME = "simulated"
Fate = Literal["answers", "skips", "late", "missing"]


@dataclass(frozen=True)
class Habits:
    """What a simulated annotator does beside answering correctly at once; shares of the samples, from 0 to 1.

    Args:
        noise: labelled with a wrong class, every other one as often.
        skip: skipped.
        disagree: labelled in two ways by two annotators; a third then says what is right.
        late: answered when the next question is asked, one round later as a rule.
        missing: never answered.

    """

    noise: float = 0.0
    skip: float = 0.0
    disagree: float = 0.0
    late: float = 0.0
    missing: float = 0.0


class SimulatedAnnotator:
    """Answers from the data set's labels, with stated habits; the same sample has the same fate in every run of a seed.

    Args:
        labels: class of every training sample ``[N]``.
        num_classes: C.
        habits: that it has; none by default: at once and correctly.
        seed: of the run.

    """

    def __init__(self, labels: np.ndarray, num_classes: int, habits: Habits | None = None, seed: int = 0) -> None:
        self._labels, self._classes, self._habits, self._seed = labels, num_classes, habits or Habits(), seed

    def ask(self, question: Question) -> Iterable[Sequence[Answer | Skip]]:
        """Answer all that it will answer now, in one portion.

        Args:
            question: what is asked.

        """
        said: list[Answer | Skip] = []
        for item in question.open:
            if self._fate(item.sample) == "late":
                said.append(Answer(item.sample, self._label(item.sample), NAME))
        for item in question.items:
            sample, fate = item.sample, self._fate(item.sample)
            if question.disputed:
                said.append(Answer(sample, self.truth(sample), f"{NAME} 3"))
            elif fate == "skips":
                said.append(Skip(sample, NAME, "simulated"))
            elif fate == "answers":
                said.append(Answer(sample, self._label(sample), NAME))
                if self._draws(sample).disagree < self._habits.disagree and self._classes > 1:
                    said.append(Answer(sample, self._other(sample, self._label(sample)), f"{NAME} 2"))
        if said:
            yield said

    def truth(self, sample: int) -> int:
        """Return a sample's own class."""
        return int(self._labels[sample])

    def _fate(self, sample: int) -> Fate:
        u, habits = self._draws(sample).fate, self._habits
        if u < habits.missing:
            return "missing"
        if u < habits.missing + habits.late:
            return "late"
        return "skips" if u < habits.missing + habits.late + habits.skip else "answers"

    def _label(self, sample: int) -> int:
        truth = self.truth(sample)
        return self._other(sample, truth) if self._draws(sample).noise < self._habits.noise else truth

    def _other(self, sample: int, label: int) -> int:
        """One of the other classes, each as likely; the same one where there is no other."""
        return (label + 1 + int(self._draws(sample).other * (self._classes - 1))) % self._classes

    def _draws(self, sample: int) -> "_Draws":
        return _Draws(*seeds.generator(self._seed, sample, "annotator").random(4).tolist())


class _Draws(NamedTuple):
    """Numbers from [0, 1) that depend on the run's seed and the sample alone."""

    fate: float
    noise: float
    other: float
    disagree: float
