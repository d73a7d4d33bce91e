"""The grid of a comparison: strategies × seeds, every cell an ordinary run that differs in nothing else."""

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from common.reading import why
from pipeline.config import RunConfig, validate
from pipeline.config.loading import from_anywhere
from pipeline.config.run import LATER
from pipeline.config.sections import DEFAULT_STRATEGY
from pipeline.errors import PipelineError
from pipeline.parsing import read_yaml, to_yaml
from pipeline.places import GRID
from pipeline.plain import differences
from pipeline.queries import STRATEGIES, resolve

EVERY = "all"
MOST_SEEDS = 1000
WHERE = (("data", "root"), ("data", "download"))
"""Fields of a run that say where its data lie: they may change when a grid goes on."""


class Cell(NamedTuple):
    """One run of a grid.

    Args:
        strategy: its query strategy.
        seed: of every random stream.
        config: the run's whole configuration.

    """

    strategy: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """The name of its run directory; a strategy of the user's own, ``my_module:Mine``, is ``my_module-Mine``."""
        return cell_name(self.strategy, self.seed)


def cell_name(strategy: str, seed: int) -> str:
    """Return the name of a cell's run directory.

    Args:
        strategy: its name.
        seed: the run's seed.

    """
    return re.sub(r"[^\w.]+", "-", strategy) + f"-seed{seed}"


@dataclass(frozen=True)
class Grid:
    """What is compared.

    Args:
        strategies: names of registered query strategies.
        seeds: seeds; every strategy runs at each.
        run: what all cells share, a plain ``RunConfig`` mapping without ``query.strategy`` and ``seed``.
        cpus_per_cell: threads that a cell computes with; its results are the same bit for bit at the same number alone.
        recorded: whether it was read from a directory: a user's own strategy may be gone since.
        optional: strategies that nobody named one by one, left out where data or network cannot serve them.

    Raises:
        PipelineError: no strategy or seed, one named twice, or a configuration that some strategy cannot run with.

    """

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    run: dict[str, Any]
    cpus_per_cell: int | None = None
    recorded: bool = field(default=False, compare=False)
    optional: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        _each_once("strategies", self.strategies)
        _each_once("seeds", self.seeds)
        for key, section in (("seed", self.run), ("strategy", self.run.get("query") or {})):
            if key in section:
                raise PipelineError(f"grid: expected a run without {key}, which each cell has of its own")
        _each_once("run directories", [cell.name for cell in self.cells()])

    @classmethod
    def of(
        cls, config: RunConfig, strategies: Iterable[str], seeds: Iterable[int], optional: Iterable[str] = ()
    ) -> "Grid":
        """Return the grid whose cells are ``config`` but for strategy and seed.

        Args:
            config: the run's configuration.
            strategies: their names.
            seeds: one network and data order each.
            optional: of the strategies, those that are left out where they do not go with the configuration.

        """
        run, every = shared(config), frozenset(optional)
        names = tuple(name for name in strategies if name not in every or _valid(run, name))
        return cls(names, tuple(seeds), run, optional=every)

    def cells(self) -> list[Cell]:
        """Return every cell, seed by seed, so that whole seeds are done first."""
        return [Cell(name, seed, self.config(name, seed)) for seed in self.seeds for name in self.strategies]

    def config(self, strategy: str, seed: int) -> RunConfig:
        """Return the configuration of one cell.

        Args:
            strategy: its name.
            seed: the run's seed.

        Raises:
            PipelineError: the strategy cannot run with what the cells share.

        """
        values = copy.deepcopy(self.run)
        values["seed"] = seed
        values["query"] = {**(values.get("query") or {}), "strategy": strategy}
        return validate(values, recorded=self.recorded)

    def resolved(self) -> dict[str, Any]:
        """Return what the cells share with every default written out."""
        return shared(self.config(self.strategies[0], self.seeds[0]))

    def with_field(self, section: str, key: str, value: Any) -> "Grid":
        """Return the grid with one field of its run replaced.

        Args:
            section: such as ``data``.
            key: the field.
            value: its new value.

        """
        run = self.resolved()
        run[section][key] = value
        return replace(self, run=run)

    def to_yaml(self) -> str:
        """Return what ``grid.yaml`` holds."""
        plain: dict[str, Any] = {"strategies": list(self.strategies), "seeds": list(self.seeds)}
        if self.cpus_per_cell is not None:
            plain["cpus_per_cell"] = self.cpus_per_cell
        return to_yaml({**plain, "run": self.resolved()})

    def extended(self, wanted: "Grid", where: Path) -> "Grid":
        """Return this grid with the strategies and seeds of another beside its own; import none of its strategies.

        Args:
            wanted: the grid asked for now; where it names no memory budget or number of threads, this grid's stay.
            where: this grid's directory, named in errors.

        Raises:
            PipelineError: the other grid's runs differ in a field, which is named.

        """
        mine, theirs = from_anywhere(self.resolved()), wanted.resolved()
        if theirs["kernel"]["memory_budget"] is None:
            theirs["kernel"]["memory_budget"] = mine["kernel"]["memory_budget"]
        for section, key in WHERE:
            mine[section][key] = theirs[section][key]
        for plain in (mine, theirs):
            if plain["train"]["learner"] == LATER["learner"]:  # saying so says nothing
                plain["train"]["learner"] = None
        if mine["query"]["initial"] is None and theirs["query"]["initial"] in ("auto", "random"):
            theirs["query"]["initial"] = None  # a grid of an older version drew at random
        if changed := differences(mine, theirs):
            raise PipelineError(
                f"{where} holds a grid of other runs ({'; '.join(changed)}): give the same options or another --out"
            )
        asked = wanted.cpus_per_cell
        if self.cpus_per_cell is not None and asked not in (None, self.cpus_per_cell):
            raise PipelineError(
                f"{where} was begun with {self.cpus_per_cell} CPUs a cell, which results depend on; got {asked}: "
                "leave --cpus-per-cell away, or name another --out"
            )
        strategies = tuple(dict.fromkeys([*self.strategies, *wanted.strategies]))
        seeds = tuple(dict.fromkeys([*self.seeds, *wanted.seeds]))
        return Grid(strategies, seeds, theirs, self.cpus_per_cell or asked, recorded=True)


def _valid(run: Mapping[str, Any], strategy: str) -> bool:
    """Return whether a strategy goes with what the cells share."""
    try:
        validate({**run, "query": {**run["query"], "strategy": strategy}})
    except PipelineError:
        return False
    return True


def shared(config: RunConfig) -> dict[str, Any]:
    """Return a configuration without what the cells of a grid differ in."""
    plain = config.model_dump(mode="json")
    del plain["seed"], plain["query"]["strategy"], plain["query"]["learner"]
    return plain


def read_grid(directory: Path) -> Grid:
    """Return the grid that a directory holds.

    Args:
        directory: the grid's.

    Raises:
        PipelineError: it holds none, or a damaged one.

    """
    path = directory / GRID
    try:
        plain = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(
            f"expected a grid directory with a readable {GRID}, but {path} is not ({why(error)})"
        ) from error
    needed = {"strategies": list, "seeds": list, "run": dict}
    if not isinstance(plain, Mapping) or any(not isinstance(plain.get(key), kind) for key, kind in needed.items()):
        raise PipelineError(
            f"{path} is damaged (expected lists strategies and seeds and a run): restore it from a copy"
        )
    try:
        return Grid(
            tuple(plain["strategies"]), tuple(plain["seeds"]), plain["run"], plain.get("cpus_per_cell"), recorded=True
        )
    except (PipelineError, TypeError) as error:
        raise PipelineError(f"{path} is damaged ({error}): restore it from a copy") from error


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as ``0-5`` or ``0,3,7-9``, in the order given.

    Args:
        text: what the user typed.

    Raises:
        PipelineError: it is no such list, a range runs backwards, or a seed is named twice.

    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not found:
            raise PipelineError(f"seeds: expected numbers and ranges such as 0-5 or 0,3,7-9, got {text!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise PipelineError(f"seeds: expected ranges that run upwards such as {last}-{first}, got {part.strip()!r}")
        if last - first >= MOST_SEEDS:
            raise PipelineError(f"seeds: expected at most {MOST_SEEDS} of them, got {part.strip()!r}")
        seeds += range(first, last + 1)
    _each_once("seeds", seeds)
    return tuple(seeds)


def parse_strategies(text: str) -> tuple[str, ...]:
    """Read strategies such as ``random,entropy``; ``all`` stands for every built-in one that is not named beside it.

    Args:
        text: what the user typed.

    Raises:
        PipelineError: one is not registered, or is named twice.

    """
    given = [name.strip() for name in text.split(",")]
    named = [name for name in given if name != EVERY]
    names = (*named, *(name for name in every_strategy() if name not in named)) if EVERY in given else tuple(given)
    for name in named:
        resolve(name)
    _each_once("strategies", names)
    return names


def every_strategy() -> tuple[str, ...]:
    """Return the built-in strategies, ``random`` and the default first, as ``all`` stands for them."""
    return tuple(dict.fromkeys(("random", DEFAULT_STRATEGY, *STRATEGIES)))


def unnamed(text: str | None) -> tuple[str, ...]:
    """Return the strategies that nobody named one by one: those that ``all`` stands for, where it is said.

    Args:
        text: what the user typed.

    """
    given = [name.strip() for name in (text or "").split(",")]
    return tuple(name for name in every_strategy() if name not in given) if EVERY in given else ()


def _each_once(what: str, values: Iterable[object]) -> None:
    listed = list(values)
    if not listed:
        raise PipelineError(f"{what}: expected at least one, got none")
    twice = sorted({str(value) for value in listed if listed.count(value) > 1})
    if twice:
        raise PipelineError(f"{what}: expected each once, but {', '.join(twice)} is listed more than once")
