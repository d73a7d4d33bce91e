"""What runs achieved, read from grids and run directories, grouped into experiments and written as ``results.csv``."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from common.reading import parse_json, read_text
from pipeline.advise.advice import advice_of
from pipeline.advise.wording import lines_of
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.files import slug
from pipeline.plain import differences
from pipeline.report.labellers import Labellers, labellers_of
from pipeline.report.picks import Pick, Picks, first_by, picks_of
from pipeline.report.sources import EVERYTHING, Choice, Source, check_baseline, find_sources
from pipeline.run.believed import believed_rows
from pipeline.run.check_set import check_set_of
from pipeline.run.events import Event
from pipeline.run.hidden import hidden_labels
from pipeline.run.pool import INITIAL
from pipeline.run.reading import CONFIG, read_begun
from pipeline.run.rundir import cycle_path, read_config
from pipeline.run.stages.select import QUERY
from pipeline.run.summary import CycleRow, accuracy_curve


class Excluded(NamedTuple):
    """A run that the comparison leaves out.

    Args:
        path: its directory.
        reason: why, in one line.
        experiment: key of the experiment that it would belong to, if known.

    """

    path: Path
    reason: str
    experiment: str = ""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: its directory.
        config: its configuration.
        rows: one a cycle.
        picks: what was labelled, by who chose it.
        classes: names of the classes at the end.
        start: the first event: versions and the data set's hash.
        labellers: who labelled it; None where only simulated annotators did.
        advice: whether to go on, one fact a line, where people answered on the page.
        first_by: what chose the initial set; ``random`` where that was chance.
        hidden: labels that it read before anybody had given them.

    """

    path: Path
    config: RunConfig
    rows: tuple[CycleRow, ...]
    picks: Picks
    classes: tuple[str, ...]
    start: Event
    labellers: Labellers | None = None
    advice: tuple[tuple[str, str], ...] = ()
    first_by: str = "random"
    hidden: int = 0

    @property
    def strategy(self) -> str:
        """Its query strategy."""
        return self.config.query.strategy

    @property
    def measured(self) -> bool:
        """Whether its accuracy was measured: without test images it was not."""
        return bool(accuracy_curve(self.rows))

    @property
    def selection_seconds(self) -> list[float]:
        """Seconds that each query took: migration and scoring."""
        return [
            row.seconds.get("migrate", 0.0) + row.seconds["score"]
            for row in self.rows
            if row.seconds.get("score") is not None
        ]


@dataclass(frozen=True)
class Experiment:
    """Finished runs that differ in nothing but strategy and seed.

    Args:
        key: digest of what they share.
        runs: the baseline's first, the others as they came or as they were named.
        choice: what the report was asked to compare.
        left_out: strategies whose runs the directories hold but the report was not asked for.
        title: names data set, network and, where another experiment has the same, what differs.
        slug: begins the names of its files.

    """

    key: str
    runs: tuple[Run, ...]
    choice: Choice = EVERYTHING
    left_out: tuple[str, ...] = ()
    title: str = ""
    slug: str = ""
    _cells: dict[tuple[str, int], Run] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        cells: dict[tuple[str, int], Run] = {}
        for run in self.runs:
            twin = cells.setdefault((run.strategy, run.config.seed), run)
            if twin is not run:
                raise PipelineError(
                    f"expected one run of {run.strategy} with seed {run.config.seed}, but {twin.path} and {run.path} "
                    "are the same experiment: leave one of them out"
                )
        object.__setattr__(self, "_cells", cells)

    @property
    def config(self) -> RunConfig:
        """The configuration of one of the runs."""
        return self.runs[0].config

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: of the run that has most, as some may have been added to it."""
        return max((run.classes for run in self.runs), key=len)

    @property
    def baseline(self) -> str:
        """The strategy that the others are compared with, whether it has a finished run or not."""
        return self.choice.reference

    @property
    def strategies(self) -> list[str]:
        """Strategies with a finished run, the baseline first."""
        return list(dict.fromkeys(run.strategy for run in self.runs))

    def of(self, strategy: str) -> dict[int, Run]:
        """Return a strategy's runs by seed, in the order of the seeds."""
        return {seed: run for (name, seed), run in sorted(self._cells.items()) if name == strategy}


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of.

    Args:
        directories: as given.
        experiments: with at least one finished run each.
        excluded: runs that cannot take part.
        choice: what was asked for.
        left_out: strategies that have runs but were not asked for.

    """

    directories: tuple[Path, ...]
    experiments: tuple[Experiment, ...]
    excluded: tuple[Excluded, ...]
    choice: Choice = EVERYTHING
    left_out: tuple[str, ...] = ()


def read_results(directories: Sequence[Path], choice: Choice = EVERYTHING) -> Results:
    """Read the finished runs of grids and run directories.

    Args:
        directories: each made by ``pipeline compare`` or ``pipeline run``.
        choice: the strategies and the baseline that were asked for.

    Raises:
        PipelineError: a directory is neither, no run is finished, one cell occurs twice, there is no such strategy, or
            one of several runs has no test images to be compared on.

    """
    groups: dict[str, list[Run]] = {}
    excluded: list[Excluded] = []
    sources, left_out = find_sources(directories, choice)
    for source in sources:
        found = _read_run(source)
        if isinstance(found, Run):
            groups.setdefault(shared_key(found.config, found.start["dataset_sha256"]), []).append(found)
        else:
            excluded.append(found)
    if not groups:
        reasons = "; ".join(f"{entry.path}: {entry.reason}" for entry in excluded[:3])
        raise PipelineError(
            f"expected at least one finished run, but none of {len(excluded)} is ({reasons}): let them finish first"
        )
    _require_accuracy([run for runs in groups.values() for run in runs])
    check_baseline(choice, [*dict.fromkeys(run.strategy for runs in groups.values() for run in runs)])
    experiments = [  # sorting is stable: what is equal stays as it came
        Experiment(key, tuple(sorted(runs, key=lambda run: choice.place(run.strategy))), choice, left_out)
        for key, runs in groups.items()
    ]
    return Results(tuple(directories), tuple(_titled(experiments)), tuple(excluded), choice, left_out)


def _require_accuracy(runs: Sequence[Run]) -> None:
    """Refuse to compare runs whose accuracy nobody knows; one alone is reported with what there is."""
    blind = [str(run.path) for run in runs if not run.measured]
    if blind and len(runs) > 1:
        raise PipelineError(
            f"expected runs with test images, on which accuracy can be compared, but {', '.join(blind)} had none: "
            f"report on each alone, such as with 'pipeline report {blind[0]}'"
        )


def shared_key(config: RunConfig, dataset_sha256: str) -> str:
    """Return a digest of what an experiment's runs share: the data and all scientific fields but strategy and seed.

    Args:
        config: the run's configuration.
        dataset_sha256: digest of the data set's content.

    """
    shared = json.dumps([_shared_settings(config), dataset_sha256], sort_keys=True)
    return hashlib.sha256(shared.encode()).hexdigest()[:8]


def _read_run(source: Source) -> Run | Excluded:
    """Read a run, or say why it is left out; a run must be finished to take part."""
    path = source.path
    if source.config is None:
        return Excluded(path, source.trouble)
    if not (path / CONFIG).exists():
        return Excluded(path, "not started")
    try:
        config, events = read_config(path), read_begun(path)
        if not events:
            return Excluded(path, "not started")
        if reason := _unfinished(config, events):
            return Excluded(path, reason)
        rows = believed_rows(path, config, events)
        classes = _classes(path, rows, events)
        who = labellers_of(events, classes)
        told = _advice(rows, events, classes) if config.paged else ()
        first, hidden = first_by(events), hidden_labels(events)
        return Run(path, config, tuple(rows), picks_of(events), classes, events[0], who, told, first, hidden)
    except (PipelineError, OSError, ValueError, KeyError, TypeError) as error:
        return Excluded(path, f"damaged: {' '.join(str(error).split())}")


def _advice(rows: Sequence[CycleRow], events: list[Event], classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    advice = advice_of(rows, max(2, len(classes)), check_set_of(events))
    return tuple(lines_of(advice, "not claimed, for nothing measures it"))


def _unfinished(config: RunConfig, events: list[Event]) -> str:
    """Say why a run is not finished; empty when it is."""
    if any(event["event"] == "finished" for event in events):
        return ""
    if events and events[-1]["event"] == "failed":
        return f"failed in cycle {events[-1]['cycle']}: {events[-1]['reason']}"
    done = sum(event["event"] == "cycle_done" for event in events)
    return f"unfinished: {done} {'networks' if config.paged else f'of {config.cycles} cycles'}"


def _classes(path: Path, rows: Sequence[CycleRow], events: list[Event]) -> tuple[str, ...]:
    """Return the names of the classes at the end; runs of older versions have them in what they asked."""
    if rows and rows[-1].classes:
        return rows[-1].classes
    queries = cycle_path(path, 0) / QUERY
    if queries.is_file():
        return tuple(map(str, parse_json(read_text(queries).partition("\n")[0])["classes"]))
    seen = [label for event in events if event["event"] == "label" for _, label in event["labels"]]
    return tuple(map(str, range(1 + max(seen))))


def _titled(experiments: list[Experiment]) -> Iterator[Experiment]:
    """Give every experiment a title and a name for its files that no other has."""
    slugs = [f"{slug(e.config.data.name)}-{slug(e.config.model.name)}" for e in experiments]
    for experiment, name in zip(experiments, slugs, strict=True):
        config = experiment.config
        names = (config.data.name, config.model.name)
        twins = [e for e in experiments if (e.config.data.name, e.config.model.name) == names and e is not experiment]
        changed = {change.partition(":")[0] for twin in twins for change in _settings_changed(config, twin.config)}
        extra = [f"{path} {_value_at(config, path)}" for path in sorted(changed)]
        if twins and not extra:
            extra = [f"data {experiment.runs[0].start['dataset_sha256'][:8]}"]
        unique = name if slugs.count(name) == 1 else f"{name}-{experiment.key}"
        yield replace(experiment, title=", ".join([*names, *extra]), slug=unique)


def _settings_changed(mine: RunConfig, theirs: RunConfig) -> list[str]:
    return differences(_shared_settings(mine), _shared_settings(theirs))


def _shared_settings(config: RunConfig) -> dict[str, Any]:
    """Return the scientific fields but seed and strategy, with the learner that it needs."""
    plain = config.scientific()
    del plain["seed"], plain["query"]["strategy"]
    plain["query"].pop("learner", None)
    return plain


def _value_at(config: RunConfig, path: str) -> Any:
    value: Any = config.scientific()
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def initial_set(run: Run) -> tuple[Pick, ...]:
    """Return what a run was given before its first training."""
    return run.picks.asked.get(INITIAL, ())
