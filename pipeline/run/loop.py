"""The active-learning loop: train → migrate → score → query → label, again and again, resumable at every step."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.annotators import Annotator, FilesAnnotator, SimulatedAnnotator
from pipeline.annotators.plugins import is_plugin, load_annotator
from pipeline.errors import DivergedError, PipelineError, RunFailedError, TheirCodeError
from pipeline.foreign import blamed
from pipeline.progress import StageProgress
from pipeline.queries import QueryState
from pipeline.run.beginning import begin, draw_initial
from pipeline.run.context import RunContext
from pipeline.run.converged import unconverged
from pipeline.run.going_on import advice
from pipeline.run.hidden import COUNT, hidden_uses
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.reporter import Reporter
from pipeline.run.rounds import Rounds
from pipeline.run.rundir import RunDirectory, Stage
from pipeline.run.stages.binding import answers_sha256, inputs_sha256
from pipeline.run.stages.diagnostics import cautions, read_diagnostics
from pipeline.run.stages.migrate import VARIABLES, Porter, run_migrate
from pipeline.run.stages.score import (
    SCORES,
    draw_candidates,
    explaining,
    query_state,
    read_scores,
    run_score,
)
from pipeline.run.stages.sequential import (
    SEQUENTIAL,
    TimedSequentialQuery,
    query_sizes,
    write_sequential,
)
from pipeline.run.stages.train import (
    TRIALS,
    WEIGHTS,
    checkpoint_of,
    rate_left,
    read_summary,
    run_train,
    training_cautions,
)
from pipeline.run.summary import read_row, write_report
from trainer.threads import with_threads

StateOf = Callable[[StageProgress], QueryState]
"""Gives a cycle's state, which tells this progress how far it is where it is computed now."""
DRAWN_EVERY = 20.0
"""Seconds between two drawings of the learning curve of a run that goes on; the last one is always drawn."""


class ActiveLearningLoop:
    """One run, from wherever its events say that it stands.

    Args:
        run: the open run directory.
        context: configuration and data.
        reporter: told of stages, rows and warnings.
        annotator: who labels; by default the simulated one, with the configuration's habits.

    """

    def __init__(
        self, run: RunDirectory, context: RunContext, reporter: Reporter, annotator: Annotator | None = None
    ) -> None:
        if run.config != context.config:
            raise PipelineError(f"{run.path}: its configuration changed while it was being opened: try again")
        self.run = run
        self.context = context
        self.config = context.config
        self.reporter = reporter
        self.rounds = Rounds(run, context.data, annotator or configured(context))
        self.porter = Porter()
        self._drawn, self._undrawn = time.monotonic(), False

    def __call__(self) -> None:
        """Run every step that has not been done; repeat none that has.

        Raises:
            RunFailedError: a stage failed; the ``failed`` event is logged and no query is made from that stage.

        """
        threads = begin(self.run, self.context)
        with with_threads(threads):
            self._go_on()

    def _go_on(self) -> None:
        try:
            self._initial_set()
        except TheirCodeError as error:
            error.args = (f"{error}{advice(self.run.path, {}, again=False, theirs=True)}",)
            raise
        for cycle in range(self.config.cycles):
            try:
                with blamed(f"cycle {cycle}"):
                    self._cycle(cycle, last=cycle == self.config.cycles - 1)
            except RunFailedError as error:
                if self._undrawn:
                    write_report(self.run.path)
                failure: dict[str, Any] = {"cycle": cycle, "reason": str(error)}
                if isinstance(error, DivergedError):
                    failure["max_lr"] = error.max_lr  # resumed, the cycle goes on below it
                again = {"event": "failed", **failure}.items() <= self.run.events[-1].items()
                if not again:
                    self.run.append("failed", **failure)
                theirs = isinstance(error, TheirCodeError)
                error.args = (f"{error}{advice(self.run.path, failure, again=again, theirs=theirs)}",)
                raise
        write_report(self.run.path)
        if not self.run.has("finished"):
            self.run.append("finished")

    def _pool(self) -> Pool:
        return self.run.pool(len(self.context.data.train))

    def _context(self, cycle: int) -> RunContext:
        return self.context.of_cycle(self._pool(), cycle)

    def _initial_set(self) -> None:
        given = self.rounds.take_given() if self.config.takes_given_labels else []
        draw_initial(self.run, self._pool(), self.context, given)
        for use in hidden_uses(self.config):
            self.reporter.warn(use)
        self._label(INITIAL)

    def _cycle(self, cycle: int, last: bool) -> None:
        self._train(cycle)
        if not last:
            self._ask(cycle)
        if not self.run.has("cycle_done", cycle=cycle):
            self.run.append("cycle_done", cycle=cycle)
            draw = time.monotonic() - self._drawn >= DRAWN_EVERY
            write_report(self.run.path, draw=draw)  # only now: on resume, later cycles are not yet checked
            self._drawn, self._undrawn = (time.monotonic() if draw else self._drawn), not draw
        row = read_row(self.run.path, cycle)
        self.reporter.row(row)
        for caution in training_cautions(self.run.stage_path(cycle, "train")):
            self.reporter.warn(f"cycle {cycle}: {caution}")
        if said := unconverged(self.context, row, self.run.stage_path(cycle, "train")):
            self.reporter.warn(said)

    def _ask(self, cycle: int) -> None:
        """Choose what to label in view of the cycle's network, and have it labelled."""
        if self.context.strategy.needs_port:
            self._migrate(cycle)
        state = self._state_of(cycle)
        self._score(cycle, state)
        if len(self._query_sizes) > 1:
            self._sequential(cycle, state)
        else:
            self._query(cycle)
            self._label(cycle)

    def _state_of(self, cycle: int) -> StateOf:
        """Return what computes a cycle's state when first asked for, and keeps it for as long as it is kept itself.

        Each stage draws from the beginning of the state's random stream, whichever stages were done before.
        """
        made: list[QueryState] = []
        stream = dict[str, Any]()

        def state(progress: StageProgress) -> QueryState:
            if made:
                made[0].rng.bit_generator.state = stream
            else:
                pool = self._pool()
                candidates = draw_candidates(self.config, pool, cycle)
                trained, port = (self.run.stage_path(cycle, stage) for stage in ("train", "migrate"))
                ported = port if self.context.strategy.needs_port else None
                labelled, scored = pool.labelled(cycle), self._remembered(cycle)
                before = None if scored is None else self.run.stage_path(scored, "score")
                made.append(
                    query_state(
                        self._context(cycle), cycle, labelled, candidates, trained, ported, progress, remembered=before
                    )
                )
                stream.update(made[0].rng.bit_generator.state)
            return made[0]

        return state

    @property
    def _query_sizes(self) -> tuple[int, ...]:
        return query_sizes(self.context.strategy, self.config.query)

    def _train(self, cycle: int) -> None:
        labelled = self._pool().labelled(cycle)
        previous = self.run.stage_path(cycle - 1, "train") if cycle else None
        kept = checkpoint_of(self.run.cycle_path(cycle))

        def build(into: Path) -> None:
            progress, rate = self.reporter.stage(cycle, "train"), rate_left(self.run.events, cycle)
            run_train(self._context(cycle), cycle, labelled, previous, into, progress, rate, kept)

        made_from = self._made_from(cycle, previous=cycle - 1 if cycle else None)  # cold, its learning rate
        self.run.ensure_stage(cycle, "train", WEIGHTS, made_from, build)
        kept.remove()

    def _migrate(self, cycle: int) -> None:
        labelled = self._pool().labelled(cycle)
        trained = self.run.stage_path(cycle, "train")

        def build(into: Path) -> None:
            self.reporter.stage(cycle, "migrate")
            run_migrate(self._context(cycle), labelled, trained, into, self.porter)

        self.run.ensure_stage(cycle, "migrate", VARIABLES, self._made_from(cycle, "train"), build)

    def _made_from(self, cycle: int, *stages: Stage, previous: int | None = None) -> dict[str, str]:
        """Return the hashes of what a stage of a cycle is made from: its labelled set and results of finished stages.

        Args:
            cycle: number of the cycle.
            *stages: of that cycle.
            previous: the cycle whose network it starts from.

        """
        results = {} if previous is None else {"previous": self.run.result_of(previous, "train")}
        results |= {stage: self.run.result_of(cycle, stage) for stage in stages}
        return inputs_sha256(self._pool().labelled(cycle), results, self._pool().classes_before(cycle))

    def _asked_from(self, cycle: int) -> dict[str, str]:
        """Return the hashes of what a cycle's questions are made from."""
        stages: tuple[Stage, ...] = ("train", "migrate") if self.context.strategy.needs_port else ("train",)
        made_from, scored = self._made_from(cycle, *stages), self._remembered(cycle)
        return made_from if scored is None else made_from | {"memory": self.run.result_of(scored, "score")}

    def _remembered(self, cycle: int) -> int | None:
        """Return the cycle whose score stage holds what the strategy remembers."""
        return cycle - 1 if self.context.strategy.remembers and cycle else None

    def _score(self, cycle: int, state: StateOf) -> None:
        def build(into: Path) -> None:
            run_score(self._context(cycle), cycle, state(self.reporter.stage(cycle, "score")), into)

        self.run.ensure_stage(cycle, "score", SCORES, self._asked_from(cycle), build)
        for caution in cautions(read_diagnostics(self.run.stage_path(cycle, "score"))):
            self.reporter.warn(f"cycle {cycle}: {caution}")

    def _sequential(self, cycle: int, state: StateOf) -> None:
        """Ask again and again without training; a resumed cycle first takes in the answers that there are."""
        if self.run.find_stage(cycle, "sequential", SEQUENTIAL, self._said_from(cycle)) is None:
            seconds = self._ask_one_by_one(cycle, state)

            def build(into: Path) -> float:
                write_sequential(into, [e for e in self.run.events if e["event"] == "query" and e["cycle"] == cycle])
                return seconds

            self.run.ensure_stage(cycle, "sequential", SEQUENTIAL, self._said_from(cycle), build)
        self.rounds.write(cycle)
        self.rounds.close(cycle)

    def _said_from(self, cycle: int) -> dict[str, str]:
        """Return the hashes of what a cycle's questions and answers one by one are made from: the answers, too."""
        pool = self._pool()
        return self._asked_from(cycle) | {"answers": answers_sha256(pool.queries.get(cycle, ()), pool.answers(cycle))}

    def _ask_one_by_one(self, cycle: int, state: StateOf) -> float:
        """Ask and take in, and return the seconds of it: not of waiting for answers, nor of linearising once more."""
        progress = self.reporter.stage(cycle, "sequential")
        with explaining(cycle):
            query = TimedSequentialQuery(self.context.strategy, state(progress))
            try:
                self._ask_in_turn(cycle, query, progress)
            except BaseException:  # once a round: a file for every answer would take longer than the next question
                self.rounds.write(cycle)
                raise
        return query.seconds

    def _ask_in_turn(self, cycle: int, query: TimedSequentialQuery, progress: StageProgress) -> None:
        pool, observed = self._pool(), 0
        for size in self._query_sizes:
            if len(pool.queries.get(cycle, ())) == observed:
                ids, scores = query.choose(size)
                if not ids:  # the candidates are used up
                    return
                self.run.append(
                    "query", cycle=cycle, ids=ids, scores=scores, **({} if observed else self._hidden(cycle))
                )
            asked = pool.queries[cycle][observed : observed + size]
            self.rounds.ask(cycle, asked)
            answers = pool.answers(cycle)
            for sample in asked:
                if sample in answers:
                    query.observe(sample, answers[sample])
                else:  # skipped, or left for later: the next question is chosen without it
                    query.leave_out(sample)
            observed += len(asked)
            progress(observed, self.config.query.answers)

    def _query(self, cycle: int) -> None:
        if not self.run.has("query", cycle=cycle):  # what was asked stands, whatever happens to the scores
            chosen = read_scores(self.run.stage_path(cycle, "score")).select(self.config.query.answers)
            ids, scores = chosen.indices.tolist(), chosen.scores.tolist()
            self.run.append("query", cycle=cycle, ids=ids, scores=scores, **self._hidden(cycle))

    def _hidden(self, cycle: int) -> dict[str, int]:
        """Return how many labels that nobody had given were read for a cycle's query; nothing where none were."""
        read = len(read_scores(self.run.stage_path(cycle, "score")).candidates) if self.config.query.balanced else 0
        if cycle == 0 and self.config.query.initial_models:
            read += int(read_summary(self.run.stage_path(cycle, "train"))[TRIALS][COUNT])
        return {COUNT: read} if read else {}

    def _label(self, round_: int) -> None:
        self.rounds.write_query(round_)
        self.rounds.ask(round_)
        self.rounds.close(round_)
        self.rounds.write(round_)


def configured(context: RunContext) -> Annotator:
    """Return the annotator that a run's configuration names.

    Args:
        context: its constants.

    """
    data, config = context.data, context.config
    if config.annotator is not None and is_plugin(config.annotator.name):
        root = None if data.root is None else str(data.root)
        return load_annotator(config.annotator.name, {"classes": data.classes, "root": root, "seed": config.seed})
    if not config.simulated:
        return FilesAnnotator()
    habits = None if config.annotator is None else config.annotator.habits
    return SimulatedAnnotator(data.labels("train"), data.num_classes, habits, config.seed)
