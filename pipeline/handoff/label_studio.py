"""Label Studio's exports as rows: JSON, JSON_MIN and CSV.

Of the three JSON alone says everything. A skip is an annotation with ``was_cancelled`` there and missing in the other
two. ``annotations[].prediction`` repeats what was predicted, whether or not anybody looked, and drafts are no answers:
neither is read.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.handoff.base import Asked, Given, Handed, Row
from pipeline.handoff.label_studio_tasks import CHOICES, write_tasks
from pipeline.handoff.table import header_of, rows_of

ONLY_JSON = (
    "skips are missing in this export of Label Studio, and what was skipped stays open: export as JSON to take them in"
)
USER = "label-studio-{}"
"""What a person is called of whom Label Studio gives a number."""
_MINIMAL = {"annotation_id", "annotator"}
_CELLS = ("sample_id", "run_id", "label", "annotator", "lead_time", "updated_at")


class LabelStudio:
    """Label Studio's files."""

    name = "label-studio"
    title = "Label Studio"

    def reads(self, given: Given) -> bool:
        """Tell whether a file is a list of tasks, or a table with numbers of annotations."""
        if given.is_zip:
            return False
        if given.start == "[":
            return True
        return given.start != "{" and "annotation_id" in header_of(given)[1]

    def read(self, given: Given) -> Handed:
        """Return what every annotator last said of every sample.

        Args:
            given: one of the three exports.

        Raises:
            PipelineError: it is none of them.

        """
        if given.start != "[":
            return Handed(_latest(map(_of_table, rows_of(given, ("sample_id",)))), (ONLY_JSON,))
        tasks = given.json
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise PipelineError(f"{given.path}: expected a list of tasks, as Label Studio exports them as JSON")
        if any(_MINIMAL & set(task) for task in tasks):
            return Handed(_latest(map(_of_minimal, tasks)), (ONLY_JSON,))
        return Handed(words(tasks))

    def write(self, asked: Asked, out: Path) -> list[str]:
        """Write tasks, the labelling configuration and, unless they are served from elsewhere, the pictures."""
        return write_tasks(asked, out)


def words(tasks: Iterable[dict[str, Any]]) -> list[Row]:
    """Return what every annotator last said of every sample.

    Args:
        tasks: as Label Studio's JSON export and its interface give them, with their annotations.

    """
    return _latest(row for task in tasks for row in _of_task(task))


def _of_task(task: dict[str, Any]) -> Iterator[Row]:
    where = f"task {_short(task.get('id'))}"
    data, annotations = task.get("data"), task.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        yield Row(where, {}, "expected data and a list of annotations, as in Label Studio's export as JSON")
        return
    for annotation in annotations:
        if not isinstance(annotation, dict):
            yield Row(where, {}, f"expected an annotation, got {_short(annotation)}")
            continue
        try:
            cells = _identity(data) | _of_annotation(annotation)
        except PipelineError as error:
            yield Row(where, {}, f"annotation {_short(annotation.get('id'))}: {error}")
            continue
        yield Row(where, cells)


def _of_annotation(annotation: dict[str, Any]) -> dict[str, str]:
    skipped = annotation.get("was_cancelled")
    if skipped not in (None, True, False):
        raise PipelineError(f"was_cancelled: expected true or false, got {_short(skipped)}")
    return {
        "label": "" if skipped else _choice(annotation.get("result")),
        "status": "skipped" if skipped else "",
        "annotator": _annotator(annotation.get("completed_by")),
        "seconds": _number("lead_time", annotation.get("lead_time")),
        "time": _time(annotation.get("updated_at") or annotation.get("created_at")),
    }


def _choice(result: Any) -> str:
    """Return the class that was chosen; empty where none was."""
    if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
        raise PipelineError(f"result: expected a list, got {_short(result)}")
    choices = [part for part in result if part.get("type") == "choices"]
    ours = [part for part in choices if part.get("from_name") == CHOICES] or choices
    if not ours:
        return ""
    value = ours[0].get("value")
    chosen = value.get("choices") if isinstance(value, dict) else None
    if len(ours) > 1 or not isinstance(chosen, list) or len(chosen) != 1 or not isinstance(chosen[0], str):
        raise PipelineError(f"expected one choice, got {_short([part.get('value') for part in ours])}")
    return chosen[0].strip()


def _of_minimal(task: dict[str, Any]) -> Row:
    where = f"task {_short(task.get('id'))}"
    try:
        cells = _identity(task) | {
            "label": _one_label(task.get(CHOICES)),
            "annotator": _annotator(task.get("annotator")),
            "seconds": _number("lead_time", task.get("lead_time")),
            "time": _time(task.get("updated_at")),
        }
    except PipelineError as error:
        return Row(where, {}, str(error))
    return Row(where, cells)


def _of_table(row: Row) -> Row:
    cells = {name: row.cells.get(name, "") for name in _CELLS}
    try:
        cells |= {
            "label": _one_label(cells["label"]),
            "annotator": _annotator(cells["annotator"]),
            "seconds": cells.pop("lead_time"),
            "time": _time(cells.pop("updated_at")),
            **_identity(cells),
        }
    except PipelineError as error:
        return row._replace(fault=str(error))
    return row._replace(cells=cells)


def _one_label(value: Any) -> str:
    """Return the class of a flat export, where several choices are an object, or its text in CSV."""
    value = "" if value is None else value
    if not isinstance(value, str) or value.startswith('{"choices"'):
        raise PipelineError(f"expected one choice, got {_short(value)}")
    return value.strip()


def _identity(data: dict[str, Any]) -> dict[str, str]:
    sample, run = data.get("sample_id"), data.get("run_id")
    if isinstance(sample, bool) or not isinstance(sample, int | str) or sample == "":
        raise PipelineError(
            f"data.sample_id: expected the number of a sample, got {_short(sample)}: was the task made by "
            "'pipeline export --format label-studio'?"
        )
    if not isinstance(run, str) or not run:
        raise PipelineError(f"data.run_id: expected the run that the task is of, got {_short(run)}")
    return {"sample_id": str(sample), "run_id": run}


def _annotator(who: Any) -> str:
    """Return who answered, by the same name in every export: Label Studio's number, as an integer or in an object."""
    if isinstance(who, dict):
        who = who.get("id")
    if who is None or who == "":
        return ""
    if isinstance(who, bool) or not isinstance(who, int | str):
        raise PipelineError(f"annotator: expected a number or an object with one, got {_short(who)}")
    return USER.format(who) if isinstance(who, int) or (who.isascii() and who.isdigit()) else who


def _number(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PipelineError(f"{name}: expected seconds, got {_short(value)}")
    return str(value)


def _time(value: Any) -> str:
    """Return a time in UTC, so that two can be compared; empty where there is none."""
    if value is None or value == "":
        return ""
    try:
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError) as error:
        raise PipelineError(f"updated_at: expected a time in ISO 8601, got {_short(value)}") from error


def _latest(rows: Iterable[Row]) -> list[Row]:
    """Of several answers of one annotator about one sample, keep the latest; what has no answer is not said."""
    kept = dict[tuple[str, str], Row]()
    faulty = list[Row]()
    for row in rows:
        key = (row.cells.get("sample_id", ""), row.cells.get("annotator", ""))
        if row.fault:
            faulty.append(row)
        elif key not in kept or _when(row) >= _when(kept[key]):
            kept[key] = row
    return [*faulty, *kept.values()]


def _when(row: Row) -> datetime:
    text = row.cells.get("time", "")
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _short(value: Any) -> str:
    """Show what came, in few letters."""
    if isinstance(value, list | dict):
        parts: Sequence[Any] = list(islice(value.items() if isinstance(value, dict) else value, 4))
        text = repr(dict(parts) if isinstance(value, dict) else parts)
    else:
        text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
