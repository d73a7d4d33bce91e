"""The active-learning loop: train → migrate → score → query → label, again and again, resumable at every step."""

from pathlib import Path
from typing import Protocol

from pipeline import seeds
from pipeline.errors import PipelineError, RunFailedError
from pipeline.files import write_json_lines
from pipeline.machine import hardware
from pipeline.oracle import Oracle, SimulatedOracle
from pipeline.pool import INITIAL, Pool
from pipeline.queries import get_strategy
from pipeline.report import CycleRow, read_row, write_report
from pipeline.rundir import RunDirectory, environment_versions
from pipeline.stages.migrate import VARIABLES, run_migrate
from pipeline.stages.progress import StageProgress
from pipeline.stages.score import SCORES, cautions, draw_candidates, read_diagnostics, read_scores, run_score
from pipeline.stages.select import QUERY, query_rows
from pipeline.stages.train import WEIGHTS, run_train
from pipeline.workbench import Workbench

UNFIT = 0.5
"""A residual per sample above which the labelled images were not learned at all: one that always says 0 has 1."""


class Reporter(Protocol):
    """Whoever watches a run."""

    def stage(self, cycle: int, name: str) -> StageProgress:
        """Announce that a stage begins and return its progress callback."""
        ...

    def row(self, row: CycleRow) -> None:
        """Show what a finished cycle achieved."""
        ...

    def warn(self, message: str) -> None:
        """Show a warning."""
        ...


class ActiveLearningLoop:
    """One run, from wherever its events say that it stands.

    Args:
        run: the open run directory.
        bench: configuration and data.
        reporter: told of stages, rows and warnings.
        oracle: who labels; the data set's own labels by default.

    """

    def __init__(self, run: RunDirectory, bench: Workbench, reporter: Reporter, oracle: Oracle | None = None) -> None:
        if run.config != bench.config:
            raise PipelineError(f"{run.path}: its configuration changed while it was being opened: try again")
        self.run = run
        self.bench = bench
        self.config = bench.config
        self.reporter = reporter
        self.oracle = oracle or SimulatedOracle(bench.data.labels("train"))

    def __call__(self) -> None:
        """Run every step that has not been done; repeat none that has.

        Raises:
            RunFailedError: a stage failed; the ``failed`` event is logged and no query is made from that stage.

        """
        versions = environment_versions() | self.bench.sources
        facts = {"dataset_sha256": self.bench.data.fingerprint(), "versions": versions, "hardware": hardware()}
        self.run.start(facts)
        self._initial_set()
        for cycle in range(self.config.cycles):
            try:
                self._cycle(cycle, last=cycle == self.config.cycles - 1)
            except RunFailedError as error:
                failure = {"cycle": cycle, "reason": str(error)}
                if not {"event": "failed", **failure}.items() <= self.run.events[-1].items():
                    self.run.log.append("failed", **failure)
                raise
        write_report(self.run.path)
        if not self.run.has("finished"):
            self.run.log.append("finished")

    def _pool(self) -> Pool:
        return self.run.pool(len(self.bench.data.train))

    def _initial_set(self) -> None:
        pool = self._pool()
        if INITIAL not in pool.queries:
            rng = seeds.generator(self.config.seed, 0, "initial")
            ids = rng.choice(pool.size, size=self.config.query.n_init, replace=False)
            self.run.log.append("query", cycle=INITIAL, ids=ids.tolist(), scores=[0.0] * len(ids))
        self._label(INITIAL)

    def _cycle(self, cycle: int, last: bool) -> None:
        self._train(cycle)
        if not last:
            if get_strategy(self.config.query.strategy).needs_port:
                self._migrate(cycle)
            self._score(cycle)
            self._query(cycle)
            self._label(cycle)
        if not self.run.has("cycle_done", cycle=cycle):
            self.run.log.append("cycle_done", cycle=cycle)
            write_report(self.run.path)  # only now: on resume, later cycles are not yet checked
        row = read_row(self.run.path, cycle)
        self.reporter.row(row)
        if not row.converged:
            self.reporter.warn(self._not_converged(row))

    def _not_converged(self, row: CycleRow) -> str:
        looks_ahead = get_strategy(self.config.query.strategy).needs_port
        rate = self.config.train_options.max_lr
        caution = "; look-ahead scores assume about 0" if looks_ahead else ""
        another = f"a lower train.max_lr (it was {rate:g})" if row.residual_rms > UNFIT else "another train.max_lr"
        return (
            f"cycle {row.cycle}: training stopped at the epoch limit with a residual of {row.residual_rms:.3f} per "
            f"sample (tolerance {self.config.train_options.tolerance:g}){caution}: "
            f"try more --epochs or {another} in the next run"
        )

    def _train(self, cycle: int) -> None:
        labelled = self._pool().labelled(cycle)
        previous = self.run.stage_path(cycle - 1, "train") if cycle else None

        def build(into: Path) -> None:
            run_train(self.bench, cycle, labelled, previous, into, self.reporter.stage(cycle, "train"))

        self.run.ensure_stage(cycle, "train", WEIGHTS, build)

    def _migrate(self, cycle: int) -> None:
        labelled = self._pool().labelled(cycle)
        trained = self.run.stage_path(cycle, "train")

        def build(into: Path) -> None:
            self.reporter.stage(cycle, "migrate")
            run_migrate(self.bench, labelled, trained, into)

        self.run.ensure_stage(cycle, "migrate", VARIABLES, build)

    def _score(self, cycle: int) -> None:
        pool = self._pool()
        candidates = draw_candidates(self.config, pool, cycle)
        trained = self.run.stage_path(cycle, "train")
        port = self.run.stage_path(cycle, "migrate")

        def build(into: Path) -> None:
            progress = self.reporter.stage(cycle, "score")
            run_score(self.bench, cycle, pool.labelled(cycle), candidates, trained, port, into, progress)

        self.run.ensure_stage(cycle, "score", SCORES, build)
        for caution in cautions(read_diagnostics(self.run.stage_path(cycle, "score"))):
            self.reporter.warn(f"cycle {cycle}: {caution}")

    def _query(self, cycle: int) -> None:
        if not self.run.has("query", cycle=cycle):  # what was asked stands, whatever happens to the scores
            chosen = read_scores(self.run.stage_path(cycle, "score")).select(self.config.query.size)
            self.run.log.append("query", cycle=cycle, ids=chosen.indices.tolist(), scores=chosen.scores.tolist())
        pool = self._pool()
        rows = query_rows(self.bench, self.run.run_id, cycle, pool.queries[cycle], pool.scores[cycle])
        write_json_lines(self.run.cycle_path(cycle) / QUERY, rows)

    def _label(self, round_: int) -> None:
        asked = self._pool().unanswered(round_)
        if asked:
            self.run.log.append("label", cycle=round_, labels=[list(pair) for pair in self.oracle.answer(asked)])
        if round_ == INITIAL:
            return
        answers = self._pool().answers.get(round_, {})
        rows = [
            {"sample_id": sample, "label": self.bench.data.classes[label], "annotator": "data set", "status": "labeled"}
            for sample, label in answers.items()
        ]
        write_json_lines(self.run.cycle_path(round_) / "labels.jsonl", rows)
