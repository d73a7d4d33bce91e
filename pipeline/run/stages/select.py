"""Stage ``select``: what a person is asked to label, as ``query.jsonl``."""

from collections.abc import Sequence
from typing import Any

from trainer.data import DataSet

QUERY = "query.jsonl"


def query_rows(
    data: DataSet, run_id: str, cycle: int, ids: Sequence[int], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """Return one row a sample, in rank order.

    Args:
        data: the run's.
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
            "path": data.sample_path("train", sample),
            "rank": rank,
            "score": score,
            "classes": list(data.classes),
        }
        for rank, (sample, score) in enumerate(zip(ids, scores, strict=True), start=1)
    ]
