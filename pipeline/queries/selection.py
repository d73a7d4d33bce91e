"""What a strategy returns: what to label next, and the scores that say so."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import PipelineError


class Selection(NamedTuple):
    """What to label next.

    Args:
        indices: data-set-absolute ids in rank order ``[n]``, no id twice.
        scores: their scores ``[n]``; higher is queried first.
        candidate_scores: the scores of all candidates ``[U]``, in the order of ``QueryState.candidates``; ranking them
            gives ``indices`` again, which is what stage ``select`` does. A strategy that chooses a batch has no score
            of its own for each candidate; the first chosen then has n, the next n - 1, and those not chosen 0.
        figures: what the strategy has to say of its query, by name: finite numbers, kept in ``diagnostics.json``.
        memory: what a strategy with ``remembers = True`` is given back in the next cycle, as ``QueryState.memory``:
            whatever JSON has a form for.

    """

    indices: np.ndarray
    scores: np.ndarray
    candidate_scores: np.ndarray
    figures: dict[str, float] | None = None
    memory: Any = None


def check_count(candidates: np.ndarray, n: int) -> None:
    """Check that n of the candidates can be chosen.

    Args:
        candidates: ids ``[U]``.
        n: how many.

    Raises:
        PipelineError: they cannot.

    """
    if not 0 < n <= len(candidates):
        raise PipelineError(f"query: expected 1 to {len(candidates)} samples (the candidates left), got {n}")


def select_top(candidates: np.ndarray, scores: np.ndarray, n: int) -> Selection:
    """Select the ``n`` highest scores; equal scores in the candidates' (random) order.

    Args:
        candidates: ids ``[U]``.
        scores: ``[U]``.
        n: how many.

    Raises:
        PipelineError: n is larger than the number of candidates.
        ValueError: the scores are not one finite number a candidate.

    """
    check_count(candidates, n)
    scores = np.asarray(scores)
    if scores.shape != candidates.shape or scores.dtype.kind not in "biuf":
        got = f"{scores.dtype} {list(scores.shape)}"
        raise ValueError(f"expected one score for each of {len(candidates)} candidates, got {got}")
    if bad := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"expected finite scores, got {bad} of {len(candidates)} that are NaN or infinite")
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    ranked = np.argsort(-scores, kind="stable")[:n]
    return Selection(candidates[ranked], scores[ranked], scores)


def select_in_order(candidates: np.ndarray, order: np.ndarray) -> Selection:
    """Select a batch that was chosen as a whole; the scores say the order: n, n - 1, .., 1, and 0 for the rest.

    Args:
        candidates: ids ``[U]``.
        order: positions among the candidates ``[n]``, the first to be asked first.

    Raises:
        PipelineError: more positions than candidates, or none.
        ValueError: a position twice.

    """
    check_count(candidates, len(order))
    if len(set(map(int, order))) != len(order):
        raise ValueError("expected every candidate at most once, got a position twice")
    scores = np.zeros(len(candidates))
    scores[order] = np.arange(len(order), 0, -1)
    return select_top(candidates, scores, len(order))
