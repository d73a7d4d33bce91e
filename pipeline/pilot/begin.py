"""What a pilot runs: data, sizes and seeds chosen once, kept in ``pilot.json``, and found again when it goes on."""

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from common.reading import parse_json, read_text, why
from pipeline.config import RunConfig, load_config
from pipeline.config.loading import gather
from pipeline.errors import PipelineError
from pipeline.files import slug, write_json
from pipeline.interrupts import Interrupts
from pipeline.pilot.counting import Counts, count_labels
from pipeline.pilot.sizes import FEW_TEST, Sizes, check_classes, choose, fit, how_many_seeds
from pipeline.report.sources import RANDOM
from pipeline.report.statistics import seeds_needed
from pipeline.run.loading import load_data
from pipeline.sweep.calibrate import measure
from pipeline.sweep.engine import Engine, EngineOptions
from pipeline.sweep.estimate import Times
from pipeline.sweep.grid import Cell, Grid
from pipeline.sweep.process import Attempt, Task
from pipeline.sweep.session import Plan, make_plan
from trainer.data import DATASETS, DataSet, custom_kind
from trainer.data.suggest import suggested_size
from trainer.errors import TrainerError

RECORD, COMPARISON = "pilot.json", "comparison"

Plain = dict[str, Any]


class Asked(NamedTuple):
    """What the user gave, from which a pilot follows.

    Args:
        data: name of the data set, ``KIND:PATH`` with an absolute path for one's own.
        strategies: compared with ``random``.
        seeds: how many, where given.
        minutes: that it may take, where given.
        config_file: as of ``load_config``, like all that follow.
        fields: the other options by the field that they set.
        sets: settings.

    """

    data: str
    strategies: tuple[str, ...]
    seeds: int | None
    minutes: float | None
    config_file: Path | None
    fields: Plain
    sets: tuple[str, ...]

    def plain(self) -> Plain:
        """Return it as ``pilot.json`` keeps it: the same when the same is asked again."""
        fields = {name: value for name, value in self.fields.items() if value is not None}
        config = None if self.config_file is None else str(self.config_file.resolve())
        values = {**self._asdict(), "fields": fields, "config_file": config}
        return dict(json.loads(json.dumps(values)))

    def config(self, base: Mapping[str, Any]) -> RunConfig:
        """Return a run's configuration: what was given, else ``base``, else the defaults."""
        fields = {**self.fields, "query.strategy": RANDOM}
        return load_config(self.config_file, fields, self.sets, base)

    def given(self) -> Plain:
        """Return the fields that were given, as a nested mapping."""
        return gather(self.config_file, self.fields, self.sets)


@dataclass(frozen=True)
class Choice:
    """What was chosen for a pilot.

    Args:
        base: fields of a run that the user did not give.
        seeds: how many.
        notes: how it came about, a sentence each.

    """

    base: Plain
    seeds: int
    notes: tuple[str, ...] = ()

    def grid(self, asked: Asked) -> Grid:
        """Return the comparison."""
        return Grid.of(asked.config(self.base), (RANDOM, *asked.strategies), range(self.seeds))

    def load(self, asked: Asked) -> DataSet:
        """Load the data of all runs."""
        return load_data(self.grid(asked).cells()[0].config)


def data_set(source: str) -> str:
    """Return the data set that an argument names: a folder, an archive of arrays, or what ``--dataset`` takes.

    Args:
        source: what the user gave; paths become absolute, so that the pilot goes on from whatever directory.

    Raises:
        PipelineError: it names none.

    """
    path = Path(source).expanduser()
    if source in DATASETS:
        return source
    if kind := custom_kind(source):
        return f"{kind}:{Path(source.partition(':')[2]).expanduser().resolve()}"
    if path.is_dir():
        return f"folder:{path.resolve()}"
    if path.suffix == ".npz":
        return f"npz:{path.resolve()}"
    raise PipelineError(f"expected a folder of images, an .npz file or a data set, but {source} is none")


def find_place(out: Path | None, asked: Asked) -> tuple[Path, Choice | None]:
    """Return the pilot's directory, and what was chosen where it was begun.

    Args:
        out: what ``--out`` names.
        asked: what the user gave.

    Raises:
        PipelineError: the directory holds something else, or a pilot that something else was asked of.

    """
    if out is None:
        first = f"pilot-{slug(asked.data)}"
        names = (first if number == 1 else f"{first}-{number}" for number in itertools.count(1))
        for path in (Path("runs") / name for name in names):
            if not path.exists():
                return path, None
            if (path / RECORD).is_file() and (found := _recorded(path, asked)) is not None:
                return path, found
    assert out is not None  # the loop above has no end
    if (out / RECORD).is_file():
        if (found := _recorded(out, asked)) is None:
            raise PipelineError(
                f"{out} holds a pilot that was begun with other options: give the same or another --out"
            )
        return out, found
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PipelineError(
            f"--out: expected a new or empty directory or one with a {RECORD}, but {out} is not: name another"
        )
    kind, _, folder = asked.data.partition(":")
    if kind == "folder" and out.resolve().is_relative_to(folder):
        raise PipelineError(f"--out: expected a directory outside of the images' folder, got {out}: name another")
    return out, None


def _recorded(path: Path, asked: Asked) -> Choice | None:
    """Return what was chosen for the pilot in a directory; None where it was asked otherwise."""
    try:
        plain = parse_json(read_text(path / RECORD))
        if plain["asked"] != asked.plain():
            return None
        chosen = plain["chosen"]
        data = {
            key: chosen[key] for key in ("test_fraction", "stratified", "image_size") if chosen.get(key) is not None
        }
        return Choice(_base(asked, data, _sizes(chosen)), int(plain["seeds"]), tuple(plain["notes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = why(error) if isinstance(error, OSError) else error
        raise PipelineError(f"{path / RECORD} is damaged ({reason}): begin another pilot (--out)") from error


def record(path: Path, asked: Asked, choice: Choice) -> None:
    """Keep what was chosen.

    Args:
        path: the pilot's directory, made where it is new.
        asked: what the user gave.
        choice: what was chosen.

    """
    path.mkdir(parents=True, exist_ok=True)
    chosen = {**choice.base["data"], **choice.base["query"], "cycles": choice.base["cycles"]}
    del chosen["name"]
    write_json(
        path / RECORD, {"asked": asked.plain(), "chosen": chosen, "seeds": choice.seeds, "notes": list(choice.notes)}
    )


def _sizes(chosen: Plain) -> Plain:
    return {"query": {key: int(chosen[key]) for key in ("n_init", "size")}, "cycles": int(chosen["cycles"])}


def _base_of(asked: Asked) -> Plain:
    """Return what a pilot's runs are before its data is seen: every labelled image is one to choose."""
    own = {"test_fraction": 0.0, "stratified": True} if custom_kind(asked.data) else {}
    return _base(asked, own, {})


def _base(asked: Asked, data: Plain, sizes: Plain) -> Plain:
    """Let every run begin with labels drawn at random, so that what they begin with is no part of the comparison."""
    query = {"initial": RANDOM, **sizes.get("query", {})}
    return {"data": {"name": asked.data, **data}, **sizes, "query": query}


def choose_for(
    asked: Asked, path: Path, where: EngineOptions, trust_code: bool, say: Callable[[str], None]
) -> tuple[Choice, DataSet]:
    """Choose sizes and seeds from the data and, where minutes are given, from what a run takes; return the data, too.

    Args:
        asked: what the user gave.
        path: the pilot's directory.
        where: how the runs will be computed.
        trust_code: whether code that the options name may run.
        say: told what is done and chosen.

    Raises:
        PipelineError: the data is missing, too little of it is labelled, or the time is too short.
        RunFailedError: a run that was measured failed.

    """
    seeds = how_many_seeds(asked.strategies, asked.seeds)
    base, given = _base_of(asked), asked.given()
    if asked.data.startswith("folder:") and (size := _image_size(asked, base)):
        base["data"]["image_size"] = size
        say(f"the network sees every image at {size} pixels (--image-size)")
    counts = count_labels(asked.config(base))
    sizes = _sized(asked, counts, given)
    data = counts.data
    if "test_fraction" in base["data"] and not counts.test:
        base["data"]["test_fraction"] = round(sizes.test / counts.labelled, 4)
        data = None  # its halves are others now
    base |= {"query": {**base["query"], "n_init": sizes.n_init, "size": sizes.query}, "cycles": sizes.cycles}
    choice = Choice(base, seeds)
    data = data or choice.load(asked)
    if asked.minutes is not None:
        plan = make_plan(choice.grid(asked), path / COMPARISON, where, trust_code, data)
        choice = _within(asked, choice, sizes, plan, say)
    return choice, data


def _image_size(asked: Asked, base: Plain) -> str | None:
    """Return the size at which images of several sizes are read, where none was given."""
    config = asked.config(base)
    if config.data.backbone is not None:  # which sees them at a size of its own
        return None
    options = config.data.image_options
    try:
        size = suggested_size(Path(asked.data.removeprefix("folder:")), options)
    except TrainerError as error:
        raise PipelineError(str(error)) from error
    return None if size is None else f"{size[0]}x{size[1]}"


def _sized(asked: Asked, counts: Counts, given: Plain) -> Sizes:
    """Return the sizes for a data set whose test images are those that it has itself, or that the user asked for."""
    name = asked.data.partition(":")[2] or asked.data
    check_classes(name, counts.of)
    query = given.get("query", {})
    fixed = {"n_init": query.get("n_init"), "query": query.get("size"), "cycles": given.get("cycles")}
    fixed = {key: value for key, value in fixed.items() if value is not None}
    return choose(name, counts.labelled, counts.test, sum(number > 0 for number in counts.of.values()), fixed)


def _within(asked: Asked, choice: Choice, sizes: Sizes, plan: Plan, say: Callable[[str], None]) -> Choice:
    """Return the choice with as many seeds and cycles as fit into the minutes."""
    began = time.monotonic()
    try:
        with Interrupts("interrupted; nothing was written"):
            times = _measured(plan.grid, sizes, plan.engine, plan.trust_code, say)
    finally:
        plan.engine.close()
    start = fmean(times.overheads) if times.overheads else 0.0

    def seconds(seeds: int, cycles: int) -> float:
        cells = [Cell(name, 0, plan.grid.config(name, 0)) for name in plan.grid.strategies]
        cells = [cell._replace(config=cell.config.model_copy(update={"cycles": cycles})) for cell in cells]
        each = sum(start + (times.cell_seconds(cell, 0) or 0.0) for cell in cells)
        return time.monotonic() - began + seeds * each / min(plan.engine.jobs, seeds * len(cells))

    fewest = choice.seeds if asked.seeds is not None else seeds_needed(len(asked.strategies))
    minutes = float(asked.minutes or 0)
    fitted = fit(seconds, minutes, choice.seeds, sizes.cycles, fewest, keep="cycles" in asked.given())
    text = f"about {fitted.minutes:.0f} of {minutes:g} minutes, measured on this machine"
    if (fitted.seeds, fitted.cycles) == (choice.seeds, sizes.cycles):
        say(text)
        return choice
    fewer = f"{fitted.seeds} seeds of {fitted.cycles} cycles in place of {choice.seeds} of {sizes.cycles}"
    return replace(
        choice,
        base={**choice.base, "cycles": fitted.cycles},
        seeds=fitted.seeds,
        notes=(f"To fit into {minutes:g} minutes it has {fewer}.",),
    )


def _measured(grid: Grid, sizes: Sizes, engine: Engine, trust_code: bool, say: Callable[[str], None]) -> Times:
    """Measure the first and the last query of each strategy in a temporary directory."""
    times = Times()

    def run_task(task: Task) -> Attempt:
        return next(attempt for attempt in engine.run([task]) if attempt is not None)

    for name in grid.strategies:
        say(f"measuring the first and the last query of {name} in a temporary directory")
        cell = Cell(name, 0, grid.config(name, 0))
        measure(cell, times, engine.cpus, trust_code, run_task=run_task)
        labels = sizes.n_init + sizes.query * (sizes.cycles - 2)
        query = cell.config.query.model_copy(update={"n_init": labels})
        late = cell._replace(config=cell.config.model_copy(update={"query": query}))
        measure(late, times, engine.cpus, trust_code, sizes.cycles - 2, run_task=run_task)
    return times


def announced(choice: Choice, asked: Asked, data: tuple[int, int]) -> Sequence[str]:
    """Say what will run.

    Args:
        choice: what was chosen.
        asked: what the user gave.
        data: images to choose among and for testing.

    """
    config = choice.grid(asked).cells()[0].config
    query, pool, test = config.query, *data
    runs = choice.seeds * (1 + len(asked.strategies))
    lines = [
        f"{pool:,} images to choose among, {test:,} others to test on; {query.n_init} labels to begin with, "
        f"{config.cycles - 1} times {query.size} more; {choice.seeds} seeds of each strategy: {runs} runs",
        *choice.notes,
    ]
    if test < FEW_TEST:
        lines.append(f"{test} test images are few: at least {FEW_TEST} would make a firmer answer")
    return lines
