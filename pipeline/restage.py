"""Re-run one stage of a run from what is on disk, into a scratch directory, for debugging."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline import seeds
from pipeline.errors import PipelineError
from pipeline.files import sha256_of, write_json_lines
from pipeline.pool import Pool
from pipeline.queries import get_strategy
from pipeline.rundir import read_config, read_events
from pipeline.stages.migrate import VARIABLES, run_migrate
from pipeline.stages.score import SCORES, read_scores, run_score
from pipeline.stages.store import read_manifest
from pipeline.stages.train import WEIGHTS, run_train
from pipeline.workbench import Workbench, open_workbench

RESULTS = {"train": WEIGHTS, "migrate": VARIABLES, "score": SCORES, "select": "query.jsonl"}


@dataclass
class Restaged:
    """What re-running a stage did.

    Args:
        read: directories and files that it read.
        wrote: files that it wrote.
        same: whether the stage's result equals the run's own; None where the run has none.

    """

    read: list[Path] = field(default_factory=list)
    wrote: list[Path] = field(default_factory=list)
    same: bool | None = None


def restage(run: Path, stage: str, cycle: int, into: Path) -> Restaged:
    """Run one stage of one cycle again; the run itself is only read.

    Args:
        run: the run directory.
        stage: ``train``, ``migrate``, ``score`` or ``select``.
        cycle: number of the cycle.
        into: an existing, empty directory outside of the run.

    Raises:
        PipelineError: the run has not got far enough, or what the stage reads is missing or damaged.
        RunFailedError: the stage itself failed.

    """
    config, events = read_config(run), read_events(run)
    directory = run / "cycles" / f"{cycle:03d}"
    result = Restaged(read=[run / "config.yaml", run / "events.jsonl"])

    def needed(path: Path) -> Path:
        if read_manifest(path) is None:
            raise PipelineError(f"stage {stage} of cycle {cycle} reads {path}, which is missing or damaged")
        result.read.append(path)
        return path

    if stage == "select":
        scores = read_scores(needed(directory / "score"))
        rows = [
            {"cycle": cycle, "sample_id": sample, "rank": rank, "score": score}
            for rank, (sample, score) in enumerate(
                zip(scores.selected.tolist(), scores.selected_scores.tolist(), strict=True), start=1
            )
        ]
        write_json_lines(into / RESULTS[stage], rows)
        queries = [event["ids"] for event in events if event["event"] == "query" and event["cycle"] == cycle]
        result.same = queries[0] == scores.selected.tolist() if queries else None
    else:
        bench = open_workbench(config)
        pool = Pool(len(bench.data.train), events)
        if not any(round_ == cycle - 1 for round_ in pool.answers):
            raise PipelineError(
                f"the run has no labels for cycle {cycle} yet: it has reached cycle {max(pool.answers, default=-1) + 1}"
            )
        _run(bench, pool, stage, cycle, directory, needed, into)
        own = directory / stage / RESULTS[stage]
        result.same = sha256_of(own) == sha256_of(into / RESULTS[stage]) if own.is_file() else None
    result.wrote = sorted(path for path in into.rglob("*") if path.is_file())
    return result


def _run(bench: Workbench, pool: Pool, stage: str, cycle: int, directory: Path, needed, into: Path) -> None:  # type: ignore[no-untyped-def]
    labelled = pool.labelled(cycle)
    if stage == "train":
        warm = cycle > 0 and bench.config.start == "warm"
        previous = needed(directory.with_name(f"{cycle - 1:03d}") / "train") if warm else None
        run_train(bench, cycle, labelled, previous, into)
    elif stage == "migrate":
        run_migrate(bench, labelled, needed(directory / "train"), into)
    else:
        rng = seeds.generator(bench.config.seed, cycle, "subset")
        candidates = pool.candidates(cycle, bench.config.query.subset, rng)
        looks_ahead = get_strategy(bench.config.query.strategy).needs_port
        port = needed(directory / "migrate") if looks_ahead else None
        run_score(bench, cycle, labelled, candidates, needed(directory / "train"), port, into)
