"""``labels.csv``: one row for each sample that anybody said something of; ``folder:PATH`` reads it back."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from common.cells import safe_path, safe_text
from pipeline.products.tables import write_table
from pipeline.run.pool import GIVEN, INITIAL
from pipeline.run.votes import Say, Votes
from trainer.data import DataSet

NAME = "labels.csv"
COLUMNS = (
    "path",
    "label",
    "sample_id",
    "status",
    "annotators",
    "votes",
    "seconds",
    "time",
    "round",
    "asked_by",
)
RANDOM, COPY, CHECK = "random", "copy", "check"
SKIPPED = "(skipped)"


def write_labels(
    path: Path,
    data: DataSet,
    classes: Sequence[str],
    votes: Votes,
    known: Mapping[int, int],
    checked: Collection[int] = (),
    *,
    random: bool = False,
) -> Counter[str]:
    """Write the labels of a run, and return how many samples have each status, those for testing as ``test``.

    Of images in files that are held out for testing there are rows as well, and a column ``split``: without them the
    list, put into the folder, would take their labels away.  Labels of the check set are for testing there, too.
    Where near-copies were labelled with others, a column ``copy_of`` says with which.

    Args:
        path: the file.
        data: the run's.
        classes: names of all classes, added ones too.
        votes: what was said.
        known: the label that counts, by sample.
        checked: samples of the check set.
        random: whether the run draws all its questions at random.

    """
    tests = range(len(data.test)) if data.root is not None else range(0)
    counts = Counter(test=len(tests))
    if checked:
        counts["check"] = len(checked)
    rows = _rows(data, classes, votes, known, random, checked, counts)
    columns = (*COLUMNS, "copy_of") if votes.copies else COLUMNS
    if not tests and not (checked and data.root is not None):
        write_table(path, columns, rows)
        return counts
    given: Iterator[tuple[object, ...]] = (
        (safe_path(data.sample_path("test", i)), safe_text(classes[label]), "", "labeled", GIVEN, "", "", "", "", GIVEN)
        for i, label in zip(tests, data.labels("test"), strict=True)
    )
    given = ((*row, "") if votes.copies else row for row in given)
    mine = ((*row, "test" if row[2] in checked and row[1] else "train") for row in rows)
    write_table(path, (*columns, "split"), chain(mine, ((*row, "test") for row in given)))
    return counts


def _rows(
    data: DataSet,
    classes: Sequence[str],
    votes: Votes,
    known: Mapping[int, int],
    random: bool,
    checked: Collection[int],
    counts: Counter[str],
) -> Iterator[tuple[object, ...]]:
    for sample in sorted(votes.says):
        if not (said := votes.in_force(sample)):
            continue
        status, label = status_of(said, known.get(sample))
        counts[status] += 1
        last = next(reversed(said.values()))
        seconds = votes.seconds.get(sample)
        copied = next((votes.copies[sample, who] for who in said if (sample, who) in votes.copies), None)
        if copied is not None:
            counts[COPY] += 1
        yield (
            safe_path(data.sample_path("train", sample)),
            "" if label is None else safe_text(classes[label]),
            sample,
            status,
            safe_text("; ".join(said)),
            safe_text(_votes(said, classes)),
            "" if seconds is None else f"{seconds:.6g}",
            last.time or "",
            "initial" if last.round == INITIAL else last.round,
            COPY if copied is not None else CHECK if sample in checked else _asked_by(sample, said, votes, random),
            *(("" if copied is None else copied,) if votes.copies else ()),
        )


def status_of(said: Mapping[str, Say], known: int | None) -> tuple[str, int | None]:
    """Return ``labeled``, ``skipped`` or ``disputed``, and the label that counts, if any.

    Args:
        said: of a sample, at least one word.
        known: the label that the run trains on.

    """
    if all(say.label is None for say in said.values()):
        return "skipped", None
    return ("disputed", None) if known is None else ("labeled", known)


def _votes(said: Mapping[str, Say], classes: Sequence[str]) -> str:
    """Who said what, where not all said the same."""
    if len({say.label for say in said.values()}) == 1:
        return ""
    names = {who: SKIPPED if say.label is None else classes[say.label] for who, say in said.items()}
    return "; ".join(f"{who}: {name}" for who, name in names.items())


def _asked_by(sample: int, said: Mapping[str, Say], votes: Votes, random: bool) -> object:
    if GIVEN in said:
        return GIVEN
    if sample in votes.first:
        return votes.first[sample]
    network = votes.asked_by.get(sample)
    return RANDOM if random or network is None else network
