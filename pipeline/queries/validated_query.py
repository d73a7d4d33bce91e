"""Ask a strategy, and check what it says before anything depends on it."""

import math
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from linearize import LinearizeError
from pipeline.errors import RunFailedError
from pipeline.queries.base import QueryState, QueryStrategy, Selection, select_top
from trainer.errors import TrainerError


def validated_query(strategy: QueryStrategy, state: QueryState, n: int) -> Selection:
    """Let a strategy choose ``n`` candidates.

    Raises:
        RunFailedError: the strategy raised an error, or returned something else than its contract says; one line that
            names the strategy.
        LinearizeError, TrainerError: the network that it asked about is at fault.

    """
    candidates = state.candidates.copy()
    try:
        selection = strategy.query(state, n)
    except (LinearizeError, TrainerError):
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}{_place(error)}"
        raise RunFailedError(f"strategy {strategy.name!r} failed: {what}") from error
    if fault := _fault(selection, candidates, n):
        raise RunFailedError(f"strategy {strategy.name!r}: {fault}: return what select_top makes")
    return select_top(candidates, selection.candidate_scores, n)._replace(figures=selection.figures)


def _place(error: BaseException) -> str:
    """The line of the strategy's own file at which an error came up."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the call in this file
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


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


def _fault_of_figures(figures: Any) -> str | None:
    if figures is None:
        return None
    if not isinstance(figures, dict) or not all(isinstance(name, str) for name in figures):
        return f"figures: expected a dict of numbers by name, got {figures!r}"
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"figures: expected finite numbers, got {value!r} for {name!r}"
    return None
