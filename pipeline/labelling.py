"""Labels by files: what a run asks, and a tool's file of answers taken into the run, whole or not at all."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from common.naming import one_of
from pipeline.annotators import Answer, Said, Skip, Undo
from pipeline.errors import PipelineError
from pipeline.handoff.base import Handed
from pipeline.handoff.names import Names, plain
from pipeline.page.fields import checked
from pipeline.run.events import Event
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.reading import logged_stage
from pipeline.run.rounds import Rounds
from pipeline.run.stages.score import SCORES, read_scores
from trainer.data import DataSet
from trainer.data.labels import shown_apart, taken_for

ANNOTATOR = "files"
"""Who answered, where a file does not say."""
LABELLED, SKIPPED = ("", "labeled", "labelled"), ("skipped", "skip")
MOST_SHOWN = 20
"""Bad rows that a refusal lists; the others are counted."""


class Taken(NamedTuple):
    """What a file of answers brought.

    Args:
        labels: new ones.
        skips: new ones.
        known: rows that said what was known already, or what was corrected since.
        left: samples of the round that still have no answer.
        changed: of the new ones, those that replace what the same annotator had said before.

    """

    labels: int
    skips: int
    known: int
    left: int
    changed: int = 0


def open_round(pool: Pool) -> int:
    """Return the round that asks now.

    Args:
        pool: of the run.

    Raises:
        PipelineError: none does.

    """
    round_ = max(pool.queries, default=None)
    if round_ is None or pool.closed(round_):
        raise PipelineError("the run asks nothing now: expected a run that waits for labels; 'pipeline resume' goes on")
    return round_


def open_questions(pool: Pool) -> list[int]:
    """Return what a run asks now and nobody has answered, with what people answered differently, in rank order.

    Args:
        pool: of the run.

    Raises:
        PipelineError: the run asks nothing.

    """
    return pool.unanswered(open_round(pool))


def predicted(run: Path, events: Sequence[Event], round_: int, classes: Sequence[str]) -> dict[int, str]:
    """Return what the network that asks takes its candidates for; nothing where none asks, or it did not score them.

    Args:
        run: the run directory; it is only read.
        events: of the run.
        round_: that asks.
        classes: names of all classes.

    """
    stage = logged_stage(run, events, round_, "score", SCORES) if round_ != INITIAL else None
    if stage is None:
        return {}
    scores = read_scores(stage)
    return {int(sample): classes[label] for sample, label in zip(scores.candidates, scores.pseudo_labels, strict=True)}


def take_in(
    rounds: Rounds, data: DataSet, path: Path, handed: Handed, annotator: str = ANNOTATOR, *, new_classes: bool = False
) -> Taken:
    """Record the answers of a file: all of them, or none where a row is wrong; the same file again changes nothing.

    Args:
        rounds: of the open run.
        data: its data.
        path: of the file, for messages.
        handed: what it says; rows without a label are not answered.
        annotator: who answered, where the file does not say.
        new_classes: whether labels that are no class yet become classes, in the order in which they come.

    Raises:
        PipelineError: rows are wrong; the message lists them.

    """
    pool = rounds.pool
    round_ = open_round(pool)
    said, wrong, rows = list[Said](), list[str](), 0
    reader = _Reader(rounds, data, round_, annotator, new_classes)
    for where, cells, fault in handed.rows:
        try:
            if fault:
                raise PipelineError(fault)
            one = reader.read(cells)
            rows += one is not None
            said += one or ()
        except PipelineError as error:
            wrong.append(f"{where}: {error}")
    if wrong:
        more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        lines = "\n  ".join([*wrong[:MOST_SHOWN], *more])
        raise PipelineError(f"{path}: nothing was taken in, for {len(wrong)} of its rows are wrong\n  {lines}")
    rounds.add_classes(round_, reader.added)
    fresh = rounds.record(round_, said)
    labels, skips, changed = (sum(isinstance(one, kind) for one in fresh) for kind in (Answer, Skip, Undo))
    return Taken(labels, skips, rows - labels - skips, len(open_questions(pool)), changed)


class _Reader:
    """Turns rows into answers, and remembers what other rows said."""

    def __init__(self, rounds: Rounds, data: DataSet, round_: int, annotator: str, new_classes: bool) -> None:
        pool = rounds.pool
        self._annotator, self._round, self._pool, self._new_classes = annotator, round_, pool, new_classes
        self._run_id, self._votes, self._names = rounds.run_id, rounds.votes(), Names(data)
        self.added: list[str] = []
        self._asked = {sample for earlier, ids in pool.queries.items() if earlier <= round_ for sample in ids}
        self._by_path = {plain(data.sample_path("train", sample)): sample for sample in self._asked}
        self._labels = {name: label for label, name in enumerate(rounds.classes)}
        self._before: dict[tuple[int, str], str] = {}

    def read(self, row: Mapping[str, str]) -> list[Said] | None:
        """Return what a row says, with what it takes back; nothing where that is known, None where it is not answered.

        Args:
            row: its cells by column.

        Raises:
            PipelineError: what is wrong with it.

        """
        if (run := row.get("run_id", "")) not in ("", self._run_id):
            raise PipelineError(f"run_id: expected an answer to this run ({self._run_id}), got one to {run[:60]!r}")
        sample = self._sample(row)
        label, status = row.get("label", ""), row.get("status", "").casefold()
        who = checked("annotator", row.get("annotator", "") or self._annotator)
        if status not in (*LABELLED, *SKIPPED):
            raise PipelineError(f"status: expected labeled, skipped or nothing, got {row['status']!r}")
        said = "skipped" if status in SKIPPED else label
        if not said:
            return None
        if (before := self._before.setdefault((sample, who), said)) != said:
            raise PipelineError(f"sample {sample}: expected one answer of {who}, got {before!r} and {said!r}")
        if status in SKIPPED and label:
            raise PipelineError(f"sample {sample}: expected a label or a skip, got both")
        number, time = None if status in SKIPPED else self._label(label), row.get("time") or None
        seconds = _seconds(row.get("seconds", ""))
        if number is None:
            return self._corrected(sample, who, None, Skip(sample, who, "", seconds, time), label)
        return self._corrected(sample, who, number, Answer(sample, number, who, seconds, time), label)

    def _corrected(self, sample: int, who: str, label: int | None, said: Answer | Skip, name: str) -> list[Said]:
        """Return an answer, after what it corrects: a tool that says when people spoke says which word is the last."""
        earlier = self._votes.in_force(sample).get(who)
        if earlier is None:
            return [said]
        if earlier.label == label:
            return []
        if said.time is not None:
            now, then = (datetime.fromisoformat(time) for time in (said.time, earlier.time or said.time))
            return [] if earlier.time is not None and now <= then else [Undo(sample, who), said]
        if label is not None and self._pool.said(sample, who, self._round) is not None:
            first = next(name for name, number in self._labels.items() if number == earlier.label)
            raise PipelineError(f"sample {sample}: {who} called it {first!r} in this round, and now {name!r}")
        return [said]

    def _label(self, label: str) -> int:
        if label not in self._labels:
            if (meant := taken_for(label, [*self._labels])) is not None:
                raise PipelineError(f"label: {shown_apart(meant, label)} differ in spelling alone; spell both alike")
            if not self._new_classes:
                raise PipelineError(f"label: {one_of(label, self._labels)} (if it is a class, too: --new-classes)")
            self._labels[checked("label", label)] = len(self._labels)
            self.added.append(label)
        return self._labels[label]

    def _sample(self, row: Mapping[str, str]) -> int:
        given, path = row.get("sample_id", ""), row.get("path", "")
        if given and not (given.isascii() and given.isdigit() and len(given) < 20):
            raise PipelineError(f"sample_id: expected a whole number, got {given[:60]!r}")
        if path and plain(path) not in self._by_path:
            raise PipelineError(f"path: the run never asked for {path!r}")
        found = {"sample_id": int(given)} if given else {}
        if path:
            found["path"] = self._by_path[plain(path)]
        if picture := row.get("picture", ""):
            found["picture"] = self._names.of_picture(picture)
        if stem := row.get("stem", ""):
            found["stem"] = self._names.of_stem(stem)
        if not found:
            raise PipelineError("expected a sample_id or a path, got neither")
        sample = next(iter(found.values()))
        if sample not in self._asked:
            [key, *_] = found
            raise PipelineError(f"{key}: the run never asked for {sample if key == 'sample_id' else row[key]}")
        for key, other in found.items():
            if other != sample:
                raise PipelineError(f"sample {sample} is not {row[key]!r}, which is sample {other}")
        return sample


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise PipelineError(f"seconds: expected a number of at least 0, got {text!r}")
    return seconds
