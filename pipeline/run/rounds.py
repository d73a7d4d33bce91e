"""Rounds of labelling: what is asked, what comes back, and the end, after which nothing of a round changes."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.annotators import Annotator, Answer, Item, Question, Said, Skip, Undo
from pipeline.errors import PipelineError, RunFailedError, TheirCodeError
from pipeline.files import write_json_lines, write_json_lines_anew
from pipeline.run.pool import GIVEN, INITIAL, Pool
from pipeline.run.round_files import LABELS, answer_rows, question_rows
from pipeline.run.rundir import RunDirectory
from pipeline.run.stages.select import QUERY
from pipeline.run.votes import Votes
from trainer.data import DataSet


class Rounds:
    """The dialogue of a run with its annotator, all of it through the event log.

    Args:
        run: the open run directory.
        data: the run's.
        annotator: who answers.

    """

    def __init__(self, run: RunDirectory, data: DataSet, annotator: Annotator) -> None:
        self._run, self._data, self._annotator = run, data, annotator

    @property
    def pool(self) -> Pool:
        """The state of the labelling."""
        return self._run.pool(len(self._data.train))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: the data's, then those added while labelling."""
        return (*self._data.classes, *self.pool.added_classes)

    @property
    def run_id(self) -> str:
        """Names the run."""
        return self._run.run_id

    def votes(self) -> Votes:
        """Return who said what so far."""
        return Votes(self._run.events)

    def add_classes(self, round_: int, names: Sequence[str]) -> None:
        """Log classes that are known from now on; the networks after this round have them.

        Args:
            round_: that is open.
            names: theirs.

        """
        for name in names:
            self._run.append("class_added", cycle=round_, name=name)

    def take_given(self) -> list[int]:
        """Log the labels that came with the data, once, as asked for and answered before anything else.

        Returns:
            The samples that have one.

        """
        ids = self._data.labelled_ids.tolist()
        if ids and INITIAL not in self.pool.queries:
            self._run.append("query", cycle=INITIAL, ids=ids, scores=[0.0] * len(ids))
        if self.pool.closed(INITIAL):
            return ids
        if left := [sample for sample in self.pool.unanswered(INITIAL) if self._data.train.labels[sample] >= 0]:
            labels = self._data.labels("train", left).tolist()
            self.record(INITIAL, [Answer(*pair, GIVEN) for pair in zip(left, labels, strict=True)])
        return ids

    def ask(self, round_: int, samples: Sequence[int] | None = None) -> None:
        """Have what is left of a round's questions answered, each portion of answers recorded before the next.

        What comes back in more than one way is asked for once more.

        Args:
            round_: number of the cycle whose network asks; -1 for the initial set.
            samples: of the round's, which to ask for; all by default.

        Raises:
            TheirCodeError: the annotator broke its contract.

        """
        if self.pool.closed(round_):
            return
        pool, wanted = self.pool, None if samples is None else set(samples)

        def left() -> list[int]:
            return [sample for sample in pool.unanswered(round_) if wanted is None or sample in wanted]

        if fresh := [sample for sample in left() if sample not in pool.disputed]:
            self._put(self._question(round_, fresh))
        if disputed := [sample for sample in left() if sample in pool.disputed]:
            self._put(self._question(round_, disputed, disputed=True))

    def close(self, round_: int) -> None:
        """End a round: what is left unanswered stays open, and what was answered is what the next network learns.

        Args:
            round_: its number.

        Raises:
            RunFailedError: the run has no label at all.

        """
        pool = self.pool
        if round_ == INITIAL and not pool.known():
            raise RunFailedError(
                f"none of the {len(pool.asked(INITIAL))} samples of the initial set got a label, so nothing can be "
                "trained on: label some of them, or start with more (--n-init)"
            )
        if not pool.closed(round_):
            left, skipped = pool.unanswered(round_), sorted(pool.skipped.get(round_, ()))
            self._run.append(
                "round_closed", cycle=round_, answered=len(pool.answers(round_)), skipped=skipped, left=left
            )

    def write(self, round_: int) -> None:
        """Write a round's questions and what came back as files that people read.

        Args:
            round_: its number; nothing is written of the initial set.

        """
        if round_ != INITIAL:
            self.write_query(round_)
            rows = answer_rows(self._data, self.classes, self._run.events, round_)
            write_json_lines(self._run.cycle_path(round_) / LABELS, rows)

    def write_query(self, round_: int) -> None:
        """Write a round's questions.

        Args:
            round_: its number.

        """
        pool = self.pool
        if round_ != INITIAL and round_ in pool.queries:
            rows = question_rows(self._data, self._run.run_id, pool, round_)
            write_json_lines(self._run.cycle_path(round_) / QUERY, rows)

    def catch_up(self) -> None:
        """Write the files of every round that do not say what the log says: a kill kept them from being written."""
        for round_ in sorted(self.pool.queries.keys() - {INITIAL}):
            rows = {QUERY: question_rows(self._data, self._run.run_id, self.pool, round_)}
            if self.pool.closed(round_):
                rows[LABELS] = answer_rows(self._data, self.classes, self._run.events, round_)
            folder = self._run.cycle_path(round_)
            folder.mkdir(parents=True, exist_ok=True)  # the network of an open round may be in the making
            for name, lines in rows.items():
                write_json_lines_anew(folder / name, lines)

    def _question(self, round_: int, samples: Sequence[int], *, disputed: bool = False) -> Question:
        def items(of: Iterable[int]) -> tuple[Item, ...]:
            return tuple(Item(sample, self._data.sample_path("train", sample)) for sample in of)

        left = [] if disputed else self.pool.open(round_)
        return Question(round_, items(samples), self.classes, items(left), disputed)

    def _put(self, question: Question) -> None:
        asked = {item.sample for item in (*question.items, *question.open)}
        for portion in self._annotator.ask(question):
            said = list(portion)
            for each in said:
                self._check(each, asked)
            try:
                self.record(question.round, said)
            except PipelineError as error:  # it contradicts itself, which no log does
                raise TheirCodeError(f"annotator: {error}") from error

    def record(self, round_: int, said: Sequence[Said], *, copy_of: int | None = None) -> list[Said]:
        """Log what is new of a portion: what it takes back, its skips, then its labels, in one event each.

        Where a process dies between them, the labels are asked for again.

        Args:
            round_: in which it came.
            said: of samples that were asked for.
            copy_of: the sample whose label its answers were given with, as near-copies of it.

        Returns:
            What nobody had said before.

        """
        undone = [each for each in dict.fromkeys(said) if isinstance(each, Undo)]
        for each in undone:
            self._run.append("undo", cycle=round_, ids=[each.sample], annotator=each.annotator)
        fresh = [each for each in dict.fromkeys(said) if not isinstance(each, Undo) and not self._known(each)]
        skips = [each for each in fresh if isinstance(each, Skip)]
        answers = [each for each in fresh if isinstance(each, Answer)]
        if skips:
            ids, reasons = [each.sample for each in skips], [each.reason for each in skips]
            self._run.append(
                "skip", cycle=round_, ids=ids, reasons=reasons, annotator=_annotators(skips), **_measured(skips)
            )
        if answers:
            labels = [[each.sample, each.label] for each in answers]
            more = _measured(answers) | ({} if copy_of is None else {"copy_of": copy_of})
            self._run.append("label", cycle=round_, labels=labels, annotator=_annotators(answers), **more)
        return [*undone, *fresh]

    def _known(self, said: Answer | Skip) -> bool:
        if isinstance(said, Skip):
            return self.pool.skipped_by(said.sample, said.annotator)
        return self.pool.said(said.sample, said.annotator) == said.label

    def _check(self, said: Said, asked: set[int]) -> None:
        """Refuse what nobody asked for, before anything of its portion is recorded."""
        classes = len(self.classes)
        if not isinstance(said, Said) or said.sample not in asked:
            raise TheirCodeError(f"annotator: expected answers, skips or undos of the samples asked for, got {said!r}")
        if isinstance(said, Answer) and not (type(said.label) is int and 0 <= said.label < classes):
            raise TheirCodeError(f"annotator: expected a label from 0 to {classes - 1}, got {said!r}")
        if isinstance(said, Undo) and not self.pool.said_anything(said.sample, said.annotator):
            raise TheirCodeError(f"annotator: expected an undo of something said before, got {said!r}")


def _measured(said: Sequence[Answer] | Sequence[Skip]) -> dict[str, list[Any]]:
    """Times, where any was measured."""
    values = {name: [getattr(each, name, None) for each in said] for name in ("seconds", "time")}
    return {name: each for name, each in values.items() if any(value is not None for value in each)}


def _annotators(said: Sequence[Answer] | Sequence[Skip]) -> str | list[str]:
    """Who said it: one name where it was one."""
    names = [each.annotator for each in said]
    return names[0] if len(set(names)) == 1 else names
