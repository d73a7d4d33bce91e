"""Which runs a report is made of: those that directories hold, as far as their strategies were asked for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.naming import did_you_mean
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.places import require_report
from pipeline.run.rundir import CONFIG, EVENTS, read_config
from pipeline.sweep.grid import GRID, read_grid

RANDOM = "random"
"""The baseline unless another is chosen."""


@dataclass(frozen=True)
class Choice:
    """What a report was asked to compare.

    Args:
        baseline: the strategy that the others are compared with; None for random, wherever it takes part.
        strategies: those that take part, in order; None for all.

    Raises:
        PipelineError: no strategy is named, one twice, or a baseline that is not among them.

    """

    baseline: str | None = None
    strategies: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.strategies is None:
            return
        listed = ", ".join(self.strategies)
        if not all(self.strategies):
            raise PipelineError(f"--strategies: expected names with commas such as random,margin, got {listed!r}")
        if twice := [name for name in dict.fromkeys(self.strategies) if self.strategies.count(name) > 1]:
            raise PipelineError(f"--strategies: expected each once, but {', '.join(twice)} is listed more than once")
        if self.baseline is not None and self.baseline not in self.strategies:
            raise PipelineError(
                f"--baseline: expected one of --strategies ({listed}), got {self.baseline}: name it there too"
            )

    @classmethod
    def of(cls, baseline: str | None, strategies: str | None) -> "Choice":
        """Return the choice that the two options of the command make.

        Args:
            baseline: what ``--baseline`` names.
            strategies: what ``--strategies`` names.

        """
        named = None if strategies is None else tuple(name.strip() for name in strategies.split(","))
        return cls(None if baseline is None else baseline.strip(), named)

    @property
    def reference(self) -> str:
        """The baseline's name, chosen or not."""
        return self.baseline or RANDOM

    def place(self, strategy: str) -> tuple[bool, int]:
        """Return what to sort runs by: the baseline first, the others as named; without names, as they come."""
        return strategy != self.reference, self.strategies.index(strategy) if self.strategies else 0


EVERYTHING = Choice()


class Source(NamedTuple):
    """A run that the report was asked for.

    Args:
        path: its directory.
        config: its configuration; None when it cannot be read.
        trouble: why it cannot be read.

    """

    path: Path
    config: RunConfig | None
    trouble: str = ""

    @property
    def strategy(self) -> str | None:
        """Its query strategy, if known."""
        return self.config.query.strategy if self.config else None

    @property
    def started(self) -> bool:
        """Whether it has logged anything."""
        return (self.path / EVENTS).is_file()


class Sources(NamedTuple):
    """Runs to read.

    Args:
        runs: those of the strategies asked for, and those whose strategy cannot be read.
        left_out: strategies with a run in the directories that were not asked for.

    """

    runs: tuple[Source, ...]
    left_out: tuple[str, ...]


def find_sources(directories: Iterable[Path], choice: Choice = EVERYTHING) -> Sources:
    """Find the runs that directories hold, each once.

    Args:
        directories: each made by ``pipeline compare`` or ``pipeline run``.
        choice: the strategies asked for.

    Raises:
        PipelineError: a directory is neither, or a strategy that was asked for has no run in any.

    """
    runs = tuple(_once(directories))
    if choice.strategies is None:
        return Sources(runs, ())
    held = [*dict.fromkeys(source.strategy for source in runs if source.strategy and source.started)]
    if missing := [name for name in choice.strategies if name not in held]:
        raise PipelineError(
            f"--strategies: expected strategies with a run here ({', '.join(held) or 'there are none'}), "
            f"but {', '.join(missing)} {'has' if len(missing) == 1 else 'have'} none: name some of those"
            f"{did_you_mean(missing[0], held)}"
        )
    asked = tuple(source for source in runs if source.strategy is None or source.strategy in choice.strategies)
    return Sources(asked, tuple(name for name in held if name not in choice.strategies))


def _once(directories: Iterable[Path]) -> Iterator[Source]:
    """Yield every run of the directories once."""
    seen: set[Path] = set()
    for directory in directories:
        for source in _expand(directory):
            if source.path.resolve() not in seen:
                seen.add(source.path.resolve())
                yield source


def _expand(directory: Path) -> Iterator[Source]:
    if (directory / GRID).is_file():
        for cell in read_grid(directory).cells():
            yield Source(directory / cell.name, cell.config)
    elif (directory / CONFIG).is_file():
        try:
            yield Source(directory, read_config(directory))
        except PipelineError as error:
            yield Source(directory, None, str(error))
    else:
        require_report(directory)


def check_baseline(choice: Choice, finished: Sequence[str]) -> None:
    """Check that a baseline that was chosen takes part.

    Args:
        choice: what was asked for.
        finished: strategies with a finished run that takes part.

    Raises:
        PipelineError: the baseline has none.

    """
    if choice.baseline is not None and choice.baseline not in finished:
        raise PipelineError(
            f"--baseline: expected a strategy with a finished run here ({', '.join(finished)}), "
            f"but {choice.baseline} has none: name one of those"
            f"{did_you_mean(choice.baseline, finished)}"
        )
