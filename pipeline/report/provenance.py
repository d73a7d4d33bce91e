"""Where results come from: machine, versions, dates, and the commands that make them again."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import AnnotatorSection, RunConfig, validate
from pipeline.errors import PipelineError
from pipeline.machine import spell_hardware
from pipeline.parsing import to_yaml
from pipeline.report.results import Experiment, Run
from pipeline.report.sources import EVERYTHING, Choice
from pipeline.run.rundir import CONFIG, EVENTS, read_config
from pipeline.sweep.grid import GRID, read_grid

ELSEWHERE = ("data.name", "model.name", "query.strategy", "query.learner", "seed", "data.download", "model.init_sha256")
"""Fields that the options of a command state apart, or need not."""
STAND_IN = "random"
"""A strategy for the default configuration, which needs one."""
REPORTING = ("scipy", "matplotlib", "Jinja2")


class Versions(NamedTuple):
    """Versions of the packages that the runs recorded.

    Args:
        packages: ``name version``; several versions where runs differ.
        differing: names of packages in whose version runs differ.

    """

    packages: tuple[str, ...]
    differing: tuple[str, ...]


def versions_of(runs: Iterable[Run]) -> Versions:
    """Collect the versions that runs wrote into their first event."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for name, number in run.start.get("versions", {}).items():
            found.setdefault(name, set()).add(str(number))
    packages = tuple(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in found.items())
    return Versions(packages, tuple(name for name, numbers in found.items() if len(numbers) > 1))


def reporting_versions() -> tuple[str, ...]:
    """Return the versions of what computed and drew the report."""
    return tuple(f"{name} {version(name)}" for name in REPORTING)


def machines_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """Name the machines on which runs began, each once; empty where runs of older versions kept no record."""
    return tuple(dict.fromkeys(spell_hardware(facts) for run in runs if (facts := run.start.get("hardware"))))


def dates_of(experiment: Experiment) -> str:
    """Say when the runs were begun and ended, by the dates of their files."""
    begun = min((run.path / CONFIG).stat().st_mtime for run in experiment.runs)
    ended = max((run.path / EVENTS).stat().st_mtime for run in experiment.runs)
    first, last = (datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC") for moment in (begun, ended))
    return f"{first} to {last}"


def commands(directories: Sequence[Path], choice: Choice = EVERYTHING) -> list[str]:
    """Return the commands that make the runs of the directories again, and the report with what it was asked for.

    Args:
        directories: of runs and comparisons.
        choice: what was asked for.

    """
    grids = [directory for directory in directories if (directory / GRID).is_file()]
    remake = [
        *map(_remake_grid, grids),
        *_remake_runs([directory for directory in directories if directory not in grids]),
    ]
    chosen = [] if choice.strategies is None else ["--strategies", ",".join(choice.strategies)]
    chosen += [] if choice.baseline is None else ["--baseline", choice.baseline]
    return [*remake, shlex.join(["pipeline", "report", *map(str, directories), *chosen])]


def _remake_grid(directory: Path) -> str:
    grid = read_grid(directory)
    threads = [] if grid.cpus_per_cell is None else ["--cpus-per-cell", str(grid.cpus_per_cell)]
    options = [*threads, *options_of(grid.cells()[0].config), "--out", str(directory)]
    return _compare(grid.strategies, grid.seeds, options)


def _compare(strategies: Sequence[str], seeds: Sequence[int], options: Sequence[str]) -> str:
    names = ",".join(strategies)
    return shlex.join(["pipeline", "compare", "--strategies", names, "--seeds", spell_seeds(seeds), *options])


def _remake_runs(directories: Sequence[Path]) -> Iterator[str]:
    """Yield one command for runs that are every strategy at every seed of some settings, else one a run."""
    groups: dict[tuple[str, ...], dict[tuple[str, int], Path]] = {}
    for directory in directories:
        try:
            config = read_config(directory)
        except PipelineError:
            yield f"# {directory}: its configuration cannot be read"
        else:
            groups.setdefault(tuple(options_of(config)), {})[config.query.strategy, config.seed] = directory
    for options, cells in groups.items():
        strategies, seeds = (list(dict.fromkeys(values)) for values in zip(*cells, strict=True))
        if len(strategies) > 1 and len(cells) == len(strategies) * len(seeds):
            yield _compare(strategies, sorted(seeds), options)
            continue
        for (strategy, seed), directory in cells.items():
            arguments = ["--strategy", strategy, "--seed", str(seed), *options, "--out", str(directory)]
            yield shlex.join(["pipeline", "run", *arguments])


def spell_seeds(seeds: Sequence[int]) -> str:
    """Return seeds as ``--seeds`` takes them, such as ``0-5,9``; their order is kept."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def options_of(config: RunConfig) -> list[str]:
    """Return the options that lead from the defaults to a configuration, but for strategy and seed."""
    from pipeline.options import RUN_OPTIONS

    flags = {path: flag for flag, path, _, _ in RUN_OPTIONS}
    names = {"data": {"name": config.data.name}, "model": {"name": config.model.name, "options": config.model.options}}
    learner = {"train": {"learner": config.train.learner}}  # type: ignore[attr-defined]  # which has its own defaults
    default = validate({**names, **learner, "query": {"strategy": STAND_IN}}).model_dump(mode="json")
    default["model"]["options"], default["train"]["learner"] = {}, None
    if config.annotator is not None:
        default["annotator"] = AnnotatorSection().model_dump() | {"name": None}  # said, so that there is one
    arguments = ["--dataset", config.data.name, "--model", config.model.name]
    for path, value in _leaves(config.model_dump(mode="json")):
        if path in ELSEWHERE or value == _at(default, path):
            continue
        if path in flags and value is not None and not isinstance(value, list):
            arguments += [flags[path], str(value)]
        else:
            arguments += ["--set", f"{path}={_as_yaml(value)}"]
    return arguments


def _leaves(plain: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _at(plain: Any, path: str) -> Any:
    for part in path.split("."):
        plain = plain.get(part) if isinstance(plain, dict) else None
    return plain


def _as_yaml(value: Any) -> str:
    return to_yaml(value, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()
