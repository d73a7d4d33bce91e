"""Stage ``select``: what a person is asked to label, as ``query.jsonl``."""

from collections.abc import Sequence
from typing import Any

from pipeline.workbench import Workbench

QUERY = "query.jsonl"


def query_rows(
    bench: Workbench, run_id: str, cycle: int, ids: Sequence[int], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """Return one row a sample, in rank order.

    Args:
        bench: the run's constants.
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
            "path": bench.data.sample_path("train", sample),
            "rank": rank,
            "score": score,
            "classes": list(bench.data.classes),
        }
        for rank, (sample, score) in enumerate(zip(ids, scores, strict=True), start=1)
    ]
