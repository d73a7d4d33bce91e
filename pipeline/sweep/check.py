"""Checks, from what the cells logged, that the strategies of a seed had the same start, schedule and candidates."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pipeline.errors import PipelineError
from pipeline.run.events import Event
from pipeline.run.pool import INITIAL
from pipeline.run.rundir import cycle_path, read_events
from pipeline.run.stages.score import SCORES, read_scores
from pipeline.sweep.grid import Grid, cell_name


@dataclass(frozen=True)
class Trace:
    """What a cell's log says about the conditions that it ran under.

    Args:
        name: the cell's.
        path: its run directory.
        events: its log; not empty.

    """

    name: str
    path: Path
    events: list[Event]

    @property
    def strategy(self) -> str:
        """The cell's query strategy."""
        return str(self.events[0]["config"]["query"]["strategy"])

    @property
    def learner(self) -> str | None:
        """What its networks were trained by; None for ``supervised``."""
        config = self.events[0]["config"]
        return config["train"].get("learner") or config["query"].get("learner")

    @property
    def versions(self) -> dict[str, Any]:
        """What the run was computed with: packages, and files of the user's own."""
        return dict(self.events[0]["versions"])

    def find(self, event: str, **fields: Any) -> Event | None:
        """Return the first event with these fields.

        Args:
            event: its kind.
            **fields: its fields by name.

        """
        matching = (e for e in self.events if e["event"] == event and all(e.get(k) == v for k, v in fields.items()))
        return next(matching, None)

    def labelled_before(self, cycle: int) -> set[int]:
        """Return what was asked for before a cycle's candidates were drawn."""
        return {i for e in self.events if e["event"] == "query" and e["cycle"] < cycle for i in e["ids"]}

    def candidates(self, cycle: int) -> np.ndarray | None:
        """Return the candidates of a cycle in the order drawn, or None where it was not scored."""
        directory = cycle_path(self.path, cycle) / "score"
        try:
            return read_scores(directory).candidates if (directory / SCORES).is_file() else None
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            BadZipFile,
        ):
            return None  # damaged: the run itself does it again when it goes on


def mismatches(out: Path, grid: Grid) -> list[str]:
    """Compare the strategies of every seed, and name in one line each what was not the same for all.

    Compared are the data, the package versions and the shared configuration over all cells; the initial set with its
    labels, the first network's weights, where the same learner trained them, and the size of every query over the
    strategies of a seed; and the candidates of every cycle.  Those of two strategies are the first U samples of one
    random order that they had not labelled, so without what either had labelled one list begins with the other.

    Args:
        out: the grid's directory.
        grid: what it holds; cells that have logged nothing, or nothing legible, are passed over.

    """
    traces = {seed: [t for t in (_trace(out, cell_name(s, seed)) for s in grid.strategies) if t] for seed in grid.seeds}
    everyone = [trace for listed in traces.values() for trace in listed]
    found = [
        *_odd(everyone, "data set", lambda t: t.events[0]["dataset_sha256"]),
        *_odd(everyone, "set of package versions", lambda t: _flat(_packages(t))),
        *_odd(everyone, "shared configuration", lambda t: _flat(_shared(t.events[0]["config"]))),
    ]
    for name in grid.strategies:
        found += _odd(
            [t for t in everyone if t.strategy == name], f"file of {name}", lambda t: t.versions.get(t.strategy)
        )
    for listed in traces.values():
        found += _odd(listed, "initial set", lambda t: _ids(t.find("query", cycle=INITIAL)))
        found += _odd(listed, "labelling of the initial set", lambda t: _flat(t.find("label", cycle=INITIAL), "labels"))
        for learner in dict.fromkeys(trace.learner for trace in listed):
            found += _odd([t for t in listed if t.learner == learner], "hash of the first weights", _weights)
        for cycle in range(grid.resolved()["cycles"]):
            found += _odd(listed, f"number of labels asked for in cycle {cycle}", lambda t, c=cycle: _size(t, c))  # type: ignore[misc]
            found += _candidates(listed, cycle)
    return found


def _trace(out: Path, name: str) -> Trace | None:
    try:
        events = read_events(out / name)
    except (PipelineError, OSError):
        return None
    return Trace(name, out / name, events) if events else None


def _odd(traces: Sequence[Trace], what: str, of: Callable[[Trace], Hashable | None]) -> Iterator[str]:
    """Name the traces whose value is not that of most; a trace without one says nothing."""
    values = {trace.name: value for trace in traces if (value := of(trace)) is not None}
    counts = Counter(values.values()).most_common()
    if len(counts) > 1:
        others = [name for name, value in values.items() if value != counts[0][0]]
        like = next(name for name, value in values.items() if value == counts[0][0])
        yield f"{', '.join(others)}: the {what} is not that of {like}"


def _candidates(traces: Sequence[Trace], cycle: int) -> Iterator[str]:
    drawn = [(trace, ids) for trace in traces if (ids := trace.candidates(cycle)) is not None]
    for (a, mine), (b, theirs) in combinations(drawn, 2):
        left = mine[~np.isin(mine, list(b.labelled_before(cycle)))]
        right = theirs[~np.isin(theirs, list(a.labelled_before(cycle)))]
        both = min(len(left), len(right))
        if len(mine) != len(theirs) or not np.array_equal(left[:both], right[:both]):
            yield f"the candidates of {a.name} and {b.name} in cycle {cycle} were not drawn alike"


def _packages(trace: Trace) -> dict[str, Any]:
    """Versions, without the hash of a user's own strategy, which the others do not have."""
    return {name: version for name, version in trace.versions.items() if name != trace.strategy}


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    query = {key: value for key, value in config["query"].items() if key not in ("strategy", "learner")}
    return {**{key: value for key, value in config.items() if key != "seed"}, "query": query}


def _weights(trace: Trace) -> str | None:
    event = trace.find("stage_done", cycle=0, stage="train")
    return event["sha256"] if event else None


def _size(trace: Trace, cycle: int) -> int | None:
    if not trace.find("cycle_done", cycle=cycle):  # some are asked one by one
        return None
    asked = [len(event["ids"]) for event in trace.events if event["event"] == "query" and event["cycle"] == cycle]
    return sum(asked) or None


def _ids(event: Event | None) -> tuple[int, ...] | None:
    return tuple(event["ids"]) if event else None


def _flat(value: Any, key: str | None = None) -> str | None:
    if value is None:
        return None
    plain = value[key] if key else value
    return repr(sorted(plain.items()) if isinstance(plain, dict) else plain)
