"""A round of labelling as files that people read, ``query.jsonl`` and ``labels.jsonl``: derived from the log alone."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.run.events import Event
from pipeline.run.pool import Pool, annotators_of
from pipeline.run.stages.select import query_rows
from trainer.data import DataSet

LABELS = "labels.jsonl"


def question_rows(data: DataSet, run_id: str, pool: Pool, round_: int) -> list[dict[str, Any]]:
    """Return what a round asks, one row a sample in rank order.

    Args:
        data: the run's.
        run_id: names the run.
        pool: the state of its labelling.
        round_: that has asked something.

    """
    return query_rows(data, run_id, round_, pool.queries[round_], pool.scores[round_])


def answer_rows(data: DataSet, classes: Sequence[str], events: Iterable[Event], round_: int) -> list[dict[str, Any]]:
    """Return what came back in a round, one row a label or skip; what was taken back is not among it.

    Args:
        data: the run's.
        classes: names of all classes, added ones too.
        events: the run's log.
        round_: which.

    """
    rows = list[dict[str, Any]]()
    for event in events:
        if event.get("cycle") == round_ and event["event"] == "undo":
            taken = {(sample, event["annotator"]) for sample in event["ids"]}
            rows = [row for row in rows if (row["sample_id"], row["annotator"]) not in taken]
        if event.get("cycle") == round_ and event["event"] in ("label", "skip"):
            rows += _said(data, classes, event)
    return rows


def _said(data: DataSet, classes: Sequence[str], event: Event) -> list[dict[str, Any]]:
    skipped = event["event"] == "skip"
    pairs = [(sample, None) for sample in event["ids"]] if skipped else event["labels"]
    more = {"reason": "reasons"} if skipped else {"seconds": "seconds", "time": "time"}
    return [
        {
            "sample_id": sample,
            "path": data.sample_path("train", sample),
            "label": None if label is None else classes[label],
            "annotator": annotators_of(event)[n] or "simulated",  # logs of older versions do not say
            "status": "skipped" if skipped else "labeled",
            **{name: event[key][n] for name, key in more.items() if key in event},
        }
        for n, (sample, label) in enumerate(pairs)
    ]
