"""Ask a strategy, and check what it says before anything depends on it."""

import json
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, get_args

import numpy as np

from common.settings import SettingsChanged, kept
from linearize import LinearizeError
from pipeline.errors import TheirCodeError
from pipeline.foreign import line_of, place_of
from pipeline.queries.base import Covariance, QueryStrategy, SequentialQuery
from pipeline.queries.selection import Selection, select_top
from pipeline.queries.state import LookAheadOptions, QueryState
from trainer.errors import TrainerError

MEMORY = 2**24
"""Characters of what a strategy remembers, which every cycle writes and reads again."""


def validated_query(strategy: QueryStrategy, state: QueryState, n: int) -> Selection:
    """Let a strategy choose ``n`` candidates.

    Args:
        strategy: who chooses.
        state: what it may look at.
        n: how many.

    Raises:
        TheirCodeError: the strategy raised an error, or returned something else than its contract says; one line that
            names the strategy.
        LinearizeError, TrainerError: the network that it asked about is at fault.

    """
    candidates = state.candidates.copy()
    with _blamed(strategy):
        selection = strategy.query(state, n)
    if fault := _fault(selection, candidates, n) or _fault_of_memory(selection.memory, strategy.remembers):
        raise TheirCodeError(f"strategy {strategy.name!r}: {fault}: return what select_top makes")
    return select_top(candidates, selection.candidate_scores, n)._replace(
        figures=selection.figures, memory=selection.memory
    )


class ValidatedSequentialQuery:
    """The queries of one cycle one after another, each checked.

    Args:
        strategy: who chooses.
        state: of the cycle.

    Raises:
        TheirCodeError: as of ``validated_query``; so do both methods.
        LinearizeError, TrainerError: likewise.

    """

    def __init__(self, strategy: QueryStrategy, state: QueryState) -> None:
        self._strategy, self._rng = strategy, state.rng
        self._seed = int(deepcopy(state.rng).integers(2**63))
        self._left, self._done = set(map(int, state.candidates)), 0
        self._passed: set[int] = set()  # samples left out that the query does not know of
        self.following: list[int] = []  # likely to be chosen after what was chosen last
        with _blamed(strategy):
            self._query: SequentialQuery = strategy.sequential_query(state)

    def choose(self, n: int) -> tuple[list[int], list[float]]:
        """Return the next ``n`` samples to ask about, fewer where fewer are left, with their scores, best first."""
        n = min(n, len(self._left))
        if not n:
            return [], []
        stream = np.random.SeedSequence([self._seed, self._done])  # a resumed query draws the same
        self._rng.bit_generator.state = type(self._rng.bit_generator)(stream).state
        with _blamed(self._strategy):
            chosen = self._query.choose(n + len(self._passed))
            ids, scores = np.asarray(chosen.ids), np.asarray(chosen.scores, np.float64)
            if self._passed:
                kept = np.flatnonzero(~np.isin(ids, list(self._passed)))[:n]
                ids, scores = ids[kept], scores[kept]
        if ids.shape != (n,) or scores.shape != (n,) or not np.isfinite(scores).all():
            got = f"{list(ids.shape)} and {list(scores.shape)}"
            raise TheirCodeError(f"strategy {self._strategy.name!r}: expected {n} ids with finite scores, got {got}")
        if len(set(ids.tolist())) != n or not self._left.issuperset(ids.tolist()):
            raise TheirCodeError(
                f"strategy {self._strategy.name!r}: expected candidates that were not asked about, each once, got "
                f"{ids.tolist()}"
            )
        coming = np.asarray(getattr(chosen, "following", ())).tolist()
        self.following = [sample for sample in coming if sample in self._left]
        return ids.tolist(), scores.tolist()

    def fork(self) -> "ValidatedSequentialQuery | None":
        """Return an independent query in the same state; None where the strategy's cannot."""
        fork = getattr(self._query, "fork", None)
        if fork is None:
            return None
        other = copy(self)
        other._left, other._passed = set(self._left), set(self._passed)
        with _blamed(self._strategy):
            other._query = fork()
        return other

    def outputs(self) -> np.ndarray | None:
        """Return what the query expects of each candidate, ``[U, C]``; None where it does not say."""
        outputs = getattr(self._query, "outputs", None)
        if outputs is None:
            return None
        with _blamed(self._strategy):
            return np.asarray(outputs())

    def observe(self, sample: int, label: int) -> None:
        """Take an answer into account.

        Args:
            sample: the candidate's id.
            label: its class.

        """
        with _blamed(self._strategy):
            self._query.observe(sample, label)
        self._left.discard(sample)
        self._done += 1

    def leave_out(self, sample: int) -> None:
        """Choose from now on without a sample that got no answer.

        Args:
            sample: the candidate's id.

        """
        leave_out = getattr(self._query, "leave_out", None)
        if leave_out is None:
            self._passed.add(sample)
        else:
            with _blamed(self._strategy):
                leave_out(sample)
        self._left.discard(sample)
        self._done += 1


def covariance_of(strategy: QueryStrategy, options: LookAheadOptions, answers: int, candidates: int) -> Covariance:
    """Ask a strategy how much of the kernel it needs.

    Args:
        strategy: who is asked.
        options: what the run asks of strategies that look ahead.
        answers: that a cycle asks for.
        candidates: U.

    Raises:
        TheirCodeError: it raised an error, or said something else; one line that names it.

    """
    with _blamed(strategy):
        said = strategy.covariance(options, answers, candidates)
    if not isinstance(said, str) or said not in get_args(Covariance):
        expected = ", ".join(repr(value) for value in get_args(Covariance))
        raise TheirCodeError(f"strategy {strategy.name!r}: covariance: expected one of {expected}, got {said!r:.100}")
    return said


@contextmanager
def _blamed(strategy: QueryStrategy) -> Iterator[None]:
    """Turn whatever a strategy raises into one line that names it."""
    try:
        with kept():
            yield
    except (LinearizeError, TrainerError):
        raise
    except (Exception, SystemExit) as error:
        what = line_of(error) if isinstance(error, SettingsChanged) else f"{line_of(error)}{_place(error)}"
        raise TheirCodeError(f"strategy {strategy.name!r} failed: {what}") from error


def _place(error: BaseException) -> str:
    """The line of somebody else's code, or of the strategy's own file, at which an error came up."""
    if place := place_of(error):
        return f" ({place})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    there = [frame for frame in frames if frame.filename == frames[0].filename]
    return f" ({Path(there[-1].filename).name}, line {there[-1].lineno})" if there else ""


def _fault(selection: Any, candidates: np.ndarray, n: int) -> str | None:
    """What is wrong with a selection, in half a line."""
    if not isinstance(selection, Selection):
        return f"expected a Selection, got {type(selection).__name__}"
    indices = np.asarray(selection.indices)
    if indices.shape != (n,):
        return f"expected {n} samples, got {list(indices.shape)}"
    if len(np.unique(indices)) != n:
        return "a sample is chosen twice"
    if foreign := sorted(set(indices.tolist()) - set(candidates.tolist())):
        return f"sample {foreign[0]} is not among the candidates"
    try:
        ranked = select_top(candidates, selection.candidate_scores, n)
    except ValueError as error:
        return f"candidate_scores: {error}"
    if not np.array_equal(ranked.indices, indices):
        return "its candidate_scores rank other samples, or in another order, than it chose"
    if not np.array_equal(ranked.scores, np.asarray(selection.scores)):
        return "its scores are not those that candidate_scores has for the chosen"
    return _fault_of_figures(selection.figures)


def _fault_of_memory(memory: Any, remembers: bool) -> str | None:
    if memory is not None and not remembers:
        return "memory: expected remembers = True with it"
    try:
        written = json.dumps(memory, allow_nan=False)
        if len(written) > MEMORY:
            return f"memory: expected at most {MEMORY:,} characters of JSON, got {len(written):,}"
        same = json.loads(written) == memory
    except (TypeError, ValueError, RecursionError):
        same = False
    return None if same else f"memory: expected what JSON gives back as it was, got {memory!r:.200}"


def _fault_of_figures(figures: Any) -> str | None:
    if figures is None:
        return None
    if not isinstance(figures, dict) or not all(isinstance(name, str) for name in figures):
        return f"figures: expected a dict of numbers by name, got {figures!r}"
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"figures: expected finite numbers, got {value!r} for {name!r}"
    return None
