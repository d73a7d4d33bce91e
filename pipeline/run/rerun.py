"""Run one stage again of a run from what is on disk, into a scratch directory, for debugging."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from common.files import sha256_of
from pipeline.errors import PipelineError
from pipeline.files import write_json_lines
from pipeline.run.context import RunContext
from pipeline.run.events import Event
from pipeline.run.identity import origin_cycle
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.recorded import open_recorded
from pipeline.run.rundir import check_unchanged, cycle_path, logged_stage, read_config, read_events
from pipeline.run.stages.migrate import VARIABLES, run_migrate
from pipeline.run.stages.score import SCORES, candidates_of, query_state, read_scores, run_score
from pipeline.run.stages.select import QUERY, query_rows
from pipeline.run.stages.sequential import SEQUENTIAL, query_sizes, read_sequential
from pipeline.run.stages.train import WEIGHTS, rate_left, run_train
from pipeline.run.threads import recorded_threads
from trainer.threads import with_threads

RESULTS = {"train": f"train/{WEIGHTS}", "migrate": f"migrate/{VARIABLES}", "score": f"score/{SCORES}", "select": QUERY}
LOGGED = {"train": WEIGHTS, "migrate": VARIABLES, "score": SCORES, "sequential": SEQUENTIAL}
"""The file of a stage whose hash the event log keeps."""


@dataclass(frozen=True)
class Rerun:
    """What re-running a stage did.

    Args:
        read: directories and files that it read.
        wrote: files that it wrote.
        same: whether the stage's result equals the run's own; None where the run has none.

    """

    read: list[Path]
    wrote: list[Path]
    same: bool | None


@dataclass
class _Sources:
    """Where a stage reads from; remembers what it read.

    Args:
        run: the run directory.
        events: of the run.
        stage: the stage that reads.
        cycle: its cycle.
        read: what was read so far.

    """

    run: Path
    events: list[Event]
    stage: str
    cycle: int
    read: list[Path] = field(default_factory=list)

    def __call__(self, name: str, cycle: int) -> Path:
        """Return a complete stage directory of the run.

        Args:
            name: of the stage.
            cycle: number of the cycle.

        Raises:
            PipelineError: it is missing, damaged or not what the log says.

        """
        path = logged_stage(self.run, self.events, cycle, name, LOGGED[name])
        if path is None:
            where = cycle_path(self.run, cycle) / name
            raise PipelineError(
                f"stage {self.stage} of cycle {self.cycle} reads {where}, which is missing or damaged, or not what the "
                f"run's log says: 'pipeline resume {self.run}' does it again"
            )
        self.read.append(path)
        return path

    def trained_before(self, cycle: int) -> Path | None:
        """Return the train stage that a cycle's began with: the last before it, for one on a page may have failed.

        Args:
            cycle: number of the cycle.

        """
        done = [e["cycle"] for e in self.events if e["event"] == "stage_done" and e["stage"] == "train"]
        return self("train", max(earlier)) if (earlier := [c for c in done if c < cycle]) else None

    def scored_before(self, cycle: int) -> Path | None:
        """Return the last score stage before a cycle's, which holds what the strategy remembers.

        Args:
            cycle: number of the cycle.

        """
        done = [e["cycle"] for e in self.events if e["event"] == "stage_done" and e["stage"] == "score"]
        return self("score", max(earlier)) if (earlier := [c for c in done if c < cycle]) else None


def rerun(
    run: Path,
    stage: str,
    cycle: int,
    into: Path,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Rerun:
    """Run one stage of one cycle again; the run itself is only read.

    Args:
        run: the run directory.
        stage: ``train``, ``migrate``, ``score`` or ``select``.
        cycle: number of the cycle.
        into: an existing, empty directory outside of the run.
        trust_code: whether code that the run's configuration names may run.
        say: told, one line each, what code runs.

    Raises:
        PipelineError: the run has not got far enough, or what the stage reads is missing, damaged or changed.
        RunFailedError: the stage itself failed.

    """
    config, events = read_config(run), read_events(run)
    if not events:
        raise PipelineError(f"{run} has no events yet: start it with 'pipeline resume {run}'")
    context = open_recorded(run, config, events, trust_code, say)
    check_unchanged(events[0], config, context.dataset_sha256)
    pool = Pool(len(context.data.train), events)
    if cycle < origin_cycle(events):
        raise PipelineError(f"cycle {cycle} was done by the run that {run} was forked from: name that run")
    last = None if config.paged else config.cycles - 1  # on a page a run has no end
    if config.paged and stage == "select":
        raise PipelineError(f"{run}: on a page every question was chosen by itself: the run's log has them")
    done = sum(event["event"] == "cycle_done" for event in events)
    reached = pool.round if last is None else min(done, last)
    if cycle > reached or not pool.complete(INITIAL):
        raise PipelineError(f"the run has no labels for cycle {cycle} yet: it has reached cycle {reached}")
    if stage != "train" and cycle == last:
        raise PipelineError(
            f"cycle {cycle} is the run's last one: it is trained and never scored, so there is no {stage}"
        )
    sources = _Sources(run, events, stage, cycle, [run / "config.yaml", run / "events.jsonl"])
    result = into / Path(RESULTS[stage]).name
    if stage == "select":
        write_json_lines(
            result, query_rows(context.data, events[0]["run_id"], cycle, *_chosen(context, cycle, sources))
        )
    else:
        with with_threads(recorded_threads(config, events)):
            _compute(context.of_cycle(pool, cycle), pool, stage, cycle, sources, into, rate_left(events, cycle))
    recorded = cycle_path(run, cycle) / RESULTS[stage]
    same = sha256_of(recorded) == sha256_of(result) if recorded.is_file() else None
    return Rerun(sources.read, sorted(path for path in into.rglob("*") if path.is_file()), same)


def _chosen(context: RunContext, cycle: int, sources: _Sources) -> tuple[list[int], list[float]]:
    """Return the samples that a cycle asked for, in order, with their scores."""
    query = context.config.query
    if len(query_sizes(context.strategy, query)) == 1:
        chosen = read_scores(sources("score", cycle)).select(query.answers)
        return chosen.indices.tolist(), chosen.scores.tolist()
    queries = read_sequential(sources("sequential", cycle))
    return [sample for ids, _ in queries for sample in ids], [score for _, scores in queries for score in scores]


def _compute(
    context: RunContext, pool: Pool, stage: str, cycle: int, sources: _Sources, into: Path, max_lr: float | None
) -> None:
    labelled = pool.labelled(cycle)
    if stage == "train":
        previous = sources.trained_before(cycle)
        run_train(context, cycle, labelled, previous, into, max_lr=max_lr)
        return
    trained = sources("train", cycle)
    if stage == "migrate":
        run_migrate(context, labelled, trained, into)
        return
    port = sources("migrate", cycle) if context.strategy.needs_port else None
    scored = sources("score", cycle) if context.config.paged else None
    candidates = candidates_of(context.config, pool, cycle, scored)
    before = sources.scored_before(cycle) if context.strategy.remembers else None
    state = query_state(context, cycle, labelled, candidates, trained, port, remembered=before)
    run_score(context, cycle, state, into)
