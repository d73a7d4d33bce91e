"""What is derived from a run's log and stages, made again and compared: questions, answers, metrics, products."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.files import sha256_of
from pipeline.products.make import CONTENTS, PRODUCTS
from pipeline.run.began import faults_of_beginning
from pipeline.run.pool import INITIAL
from pipeline.run.reading import cycle_path
from pipeline.run.round_files import LABELS, answer_rows, question_rows
from pipeline.run.stages.score import SCORES, read_scores
from pipeline.run.stages.select import QUERY
from pipeline.run.stages.train import read_summary
from pipeline.run.summary import metrics_csv, read_rows
from pipeline.verify.findings import DAMAGE, Findings
from pipeline.verify.record import Record
from trainer.data import DataSet


def check_derived(record: Record, data: DataSet, found: Findings) -> None:
    """Check everything that could be made again from the log and the stages.

    Args:
        record: of the run.
        data: its data.
        found: takes in what is wrong.

    """
    for round_ in record.pool.queries:
        if round_ != INITIAL:
            _check_round(record, data, round_, found)
    for cycle, stage in record.log.done:
        directory = cycle_path(record.run, cycle) / stage
        if stage == "train" and directory.is_dir():
            with found.reading(directory):
                _check_summary(record, cycle, directory, found)
        if stage == "score" and directory.is_dir() and not record.config.paged:
            with found.reading(directory):
                _check_chosen(record, cycle, directory, found)
    for path, fault in faults_of_beginning(record.run, data):
        found.fault(path, f"{fault}: move it elsewhere, and {record.again}")
    with found.reading(record.run / "metrics.csv"):
        _check_metrics(record, found)
    with found.reading(record.run / PRODUCTS):
        _check_products(record, found)
    _check_curve(record, record.run / "report" / "learning_curve.png", found)


def _check_round(record: Record, data: DataSet, round_: int, found: Findings) -> None:
    """Compare a round's files; those of a round that is open are written at its end."""
    folder = cycle_path(record.run, round_)
    closed = record.pool.closed(round_)
    with found.reading(folder / QUERY):
        rows = question_rows(data, record.run_id, record.pool, round_)
        _compare(record, folder / QUERY, _lines(rows), found, last=not closed)
    if closed:
        last = not any(later > round_ for later in record.pool.queries) and not record.finished
        with found.reading(folder / LABELS):
            rows = answer_rows(data, record.classes, record.events, round_)
            _compare(record, folder / LABELS, _lines(rows), found, last=last)


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _compare(record: Record, path: Path, expected: str, found: Findings, *, last: bool) -> None:
    """Compare a file with what it should say; one that a kill kept from being written may say less.

    Args:
        record: of the run.
        path: of the file.
        expected: its content.
        found: takes in what is wrong.
        last: whether it is the one written last.

    """
    found.count("derived files")
    if _is_no_file(path, found):
        return
    text = path.read_bytes().decode() if path.is_file() else None
    if text == expected:
        return
    if last and (text is None or expected.startswith(text)):
        found.note(path, f"is behind the log, as a kill leaves it: {record.again}")
    elif text is None:
        found.fault(path, f"is missing: {record.again}")
    else:
        found.fault(path, f"does not say what the log and the stages say: {record.again}")


def _is_no_file(path: Path, found: Findings) -> bool:
    """Tell whether something else lies in the place of a file, which no rename would replace."""
    there = path.exists() and not path.is_file()
    if there:
        found.fault(path, "expected a file, but it is a folder or a device: move it elsewhere")
    return there


def _check_summary(record: Record, cycle: int, directory: Path, found: Findings) -> None:
    summary, labels = read_summary(directory), len(record.pool.labelled(cycle))
    if summary["n_labeled"] != labels:
        found.fault(
            directory / "summary.json", f"says {summary['n_labeled']} labels, but the log has {labels} for this cycle"
        )
    classes = [*record.data.classes, *record.pool.classes_before(cycle)] if record.data is not None else []
    if summary.get("classes", classes) != classes:
        found.fault(directory / "summary.json", "names other classes than the data and the log have")


def _check_chosen(record: Record, cycle: int, directory: Path, found: Findings) -> None:
    """Check that a batch that was asked for is the one that its scores rank highest."""
    asked, done = record.pool.queries.get(cycle), record.log.done
    if asked is None or (cycle, "sequential") in done:
        return
    if sum(event["event"] == "query" and event["cycle"] == cycle for event in record.events) != 1:
        return  # one by one: the scores are of the first question alone
    scores = read_scores(directory)
    chosen = scores.select(len(asked))
    if chosen.indices.tolist() != asked or chosen.scores.tolist() != record.pool.scores[cycle]:
        found.fault(directory / SCORES, f"ranks other samples than cycle {cycle} asked for")


def _check_metrics(record: Record, found: Findings) -> None:
    path = record.run / "metrics.csv"
    try:
        rows = read_rows(record.run)
    except DAMAGE:
        if found.faults:  # of the stage that cannot be read
            return
        raise
    found.count("derived files")
    if _is_no_file(path, found):
        return
    text = path.read_bytes().decode() if path.is_file() else None
    if text == metrics_csv(record.config, rows) or (text is None and not rows):
        return
    older = {metrics_csv(record.config, rows[:n]) for n in range(len(rows))}
    if not record.finished and (text is None or text in older):
        found.note(path, f"is behind the log, as a kill leaves it: {record.again}")
    else:
        found.fault(
            path,
            f"does not say what the stages say: {record.again}" if text is not None else f"is missing: {record.again}",
        )


def _check_products(record: Record, found: Findings) -> None:
    """Check the products that lie in the run against their list; they may be older than the log."""
    folder = record.run / PRODUCTS
    if not (folder / CONTENTS).is_file():
        return
    contents = json.loads((folder / CONTENTS).read_bytes())
    if contents["run"] != record.run_id:
        found.fault(folder, "are the products of another run: 'pipeline products' makes them again")
    for name, digest in contents["files"].items():
        found.count("derived files")
        if not (folder / name).is_file():
            found.fault(folder / name, "is missing: 'pipeline products' makes it again")
        elif sha256_of(folder / name) != digest:
            found.fault(folder / name, "is not the one that was made: 'pipeline products' makes it again")


def _check_curve(record: Record, path: Path, found: Findings) -> None:
    from PIL import Image

    if not path.exists():
        return
    found.count("derived files")
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError) as error:
        found.fault(path, f"is no picture ({' '.join(str(error).split())}): {record.again}")
