"""Stage ``select``: what a person is asked to label, as ``query.jsonl``."""

from collections.abc import Sequence
from typing import Any

from pipeline.run.context import RunContext

QUERY = "query.jsonl"


def query_rows(
    context: RunContext, run_id: str, cycle: int, ids: Sequence[int], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """Return one row a sample, in rank order.

    Args:
        context: the run's constants.
        run_id: names the run.
        cycle: number of the cycle.
        ids: samples asked for ``[n]``, best first.
        scores: their scores ``[n]``.

    """
    return [
        {
            "run_id": run_id,
            "cycle": cycle,
            "sample_id": sample,
            "path": context.data.sample_path("train", sample),
            "rank": rank,
            "score": score,
            "classes": list(context.data.classes),
        }
        for rank, (sample, score) in enumerate(zip(ids, scores, strict=True), start=1)
    ]
