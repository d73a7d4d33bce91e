"""Whose turn is what: which image every annotator is shown, so that no two label the same one unawares."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pipeline import seeds
from pipeline.run.pool import Pool

Why = Literal["random", "typical", "network", "check", "disputed", "left", "undo", "overlap"]
LEASE = 600.0
"""Seconds after which an image that somebody was shown and did not answer may be shown to somebody else."""


@dataclass(frozen=True)
class Turn:
    """What an annotator is shown.

    Args:
        sample: which.
        why: it is their turn.
        milliseconds: that choosing it took; None where nothing was computed for it.
        following: samples that are likely to be shown next.

    """

    sample: int
    why: Why
    milliseconds: float | None = None
    following: tuple[int, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether an answer would be a label more; not where it is said again, or of what somebody labelled."""
        return self.why not in ("undo", "overlap")


@dataclass
class Desk:
    """What one annotator has before them.

    Args:
        turn: the image shown one at a time.
        grid: samples of the grid that is open.
        grid_label: the class that it shows.
        seen: when they last asked for anything, on a monotonic clock.

    """

    turn: Turn | None = None
    grid: tuple[int, ...] = ()
    grid_label: int = -1
    seen: float = field(default_factory=time.monotonic)


class Turns:
    """Who is shown what, and what may be shown to whom; nothing of it outlives the process.

    Args:
        pool: the state of the labelling.
        seed: of the run, which decides what everybody is asked about.
        overlap: share of the images that every annotator is asked about.

    """

    def __init__(self, pool: Pool, seed: int, overlap: float) -> None:
        self._pool, self._seed, self._overlap = pool, seed, overlap
        self._desks: dict[str, Desk] = {}
        self._reasked: dict[int, set[str]] = {}  # who was asked again about a disputed sample
        self._shared = dict[int, None]()  # samples that everybody is asked about, in the order in which they were
        self.put_off = set[int]()  # samples of grids that nobody confirmed: one at a time, they come last

    def of(self, annotator: str) -> Desk:
        """Return what an annotator has before them, and note that they are there."""
        desk = self._desks.setdefault(annotator, Desk())
        desk.seen = time.monotonic()
        return desk

    def current(self, annotator: str) -> Turn | None:
        """Return what an annotator is shown now and has not answered yet; None where they need something new."""
        turn = self.of(annotator).turn
        return turn if turn is not None and self._needed(turn, annotator) else None

    def known(self, annotator: str, adding: bool = True) -> Turn | None:
        """Return something that was asked before and that an annotator should be shown; None where there is nothing.

        Args:
            annotator: who.
            adding: whether it may be a label more, or only about one that somebody gave.

        """
        pool, taken = self._pool, self.taken(annotator)

        def free(samples: Iterable[int]) -> int | None:
            mine = (s for s in samples if s not in taken and not pool.said_anything(s, annotator))
            return next(mine, None)

        if adding:
            for disputed in pool.disputed:
                if disputed not in taken and annotator not in self._reasked.get(disputed, ()):
                    return Turn(disputed, "disputed")
            unanswered = (s for s in pool.open_samples if s not in self.put_off and s not in pool.disputed)
            if (left := free(unanswered)) is not None:
                return Turn(left, "left")
        if (shared := free(self._shared)) is not None:
            return Turn(shared, "overlap")
        return None

    def last_resort(self, annotator: str) -> Turn | None:
        """Return what was put off, where there is nothing else."""
        return next((Turn(sample, "left") for sample in self.put_off_for(annotator)), None)

    def put_off_for(self, annotator: str) -> list[int]:
        """Return what was put off and nobody else has before them, in the order in which it was asked."""
        if not self.put_off:
            return []
        taken = self.taken(annotator)
        return [s for s in self._pool.open_samples if s in self.put_off and s not in taken]

    def answered(self, sample: int, annotator: str) -> None:
        """Note that an annotator said something of a sample.

        Args:
            sample: which.
            annotator: who.

        """
        self.put_off.discard(sample)
        if sample in self._pool.disputed:
            self._reasked.setdefault(sample, set()).add(annotator)
        else:
            self._reasked.pop(sample, None)
        if self._overlap and seeds.generator(self._seed, sample, "annotator").random() < self._overlap:
            self._shared[sample] = None

    def differ(self, sample: int, annotator: str) -> None:
        """Have everybody asked again about a disputed sample but for whoever spoke of it last.

        Args:
            sample: which.
            annotator: who that was.

        """
        self._reasked[sample] = {annotator}

    def labels_to_come(self, annotator: str) -> int:
        """Return how many labels more there will be once everybody else has answered what they are shown."""
        shown = [(name, desk.turn) for name, desk in self._others(annotator)]
        return sum(turn is not None and turn.adds and self._needed(turn, name) for name, turn in shown)

    def _needed(self, turn: Turn, annotator: str) -> bool:
        pool, sample = self._pool, turn.sample
        if turn.why == "disputed":
            return sample in pool.disputed and annotator not in self._reasked.get(sample, ())
        if pool.said_anything(sample, annotator) or pool.left_out(sample):
            return False
        return turn.why in ("undo", "overlap") or sample in pool.open_samples

    def taken(self, annotator: str) -> set[int]:
        """Return the samples that others are shown and have not left lying about, and those of one's own grid."""
        taken = set(self.of(annotator).grid)
        for _, desk in self._others(annotator):
            taken.update(desk.grid)
            if desk.turn is not None:
                taken.add(desk.turn.sample)
        return taken

    def _others(self, annotator: str) -> list[tuple[str, Desk]]:
        """Whoever else is there."""
        now = time.monotonic()
        return [(name, desk) for name, desk in self._desks.items() if name != annotator and now - desk.seen < LEASE]
