"""Where a run stands, read from its log alone."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.lock import holder_of, is_held
from pipeline.products.agreement import binomial_interval
from pipeline.run.check_set import CheckSet, check_set_of
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import Event
from pipeline.run.former_names import present_name
from pipeline.run.going_on import other_settings
from pipeline.run.identity import origin_cycle
from pipeline.run.pool import GIVEN, INITIAL, Pool
from pipeline.run.reading import check_configuration
from pipeline.run.recorded import named_code
from pipeline.run.votes import Votes

ANSWERED = ("label", "skip", "round_closed")
"""What is logged last where answers were taken in and the run was not gone on with."""


class Status(NamedTuple):
    """Where a run stands.

    Args:
        standing: ``finished``, ``going on``, ``waiting``, ``failed``, ``stopped``, ``not begun`` or ``damaged``.
        lines: all of it, one fact each: what it is called, and what is said.

    """

    standing: str
    lines: list[tuple[str, str]]


def read_status(run: Path, config: RunConfig, events: Sequence[Event]) -> Status:
    """Return where a run stands; nothing is written, and nothing that it names is imported.

    Args:
        run: its directory.
        config: its own.
        events: its log.

    """
    on = "" if config.data.backbone is None or config.data.finetune is not None else f" on {config.data.backbone}"
    lines = [
        ("run", f"{run}: {config.data.name}, {config.model.name}{on}, {config.query.strategy}, seed {config.seed}")
    ]
    holder = holder_of(run) if is_held(run) else ""
    if not events:
        return Status("going on" if holder else "not begun", [*lines, ("next", holder or _resume(run, config))])
    try:
        check_configuration(events[0], config)
        refuse_cut_back(run, events, config.paged)
        pool = Pool(0, events)
    except PipelineError as error:
        return Status("damaged", [*lines, ("damaged", str(error)), ("next", f"pipeline verify {_quoted(run)}")])
    failure = _failure(events)
    standing, what, command = _standing(run, config, events, pool, failure)
    if origin := events[0].get("origin"):
        lines.append(("forked from", f"run {origin['run']} at cycle {origin_cycle(events)}"))
    lines += [("state", f"{holder} works on it" if holder else what), ("cycle", _cycle(config, events))]
    lines.append(("labels", _labels(config, pool, len({sample for sample, _ in Votes(events).copies}))))
    if (checked := check_set_of(events, pool)) is not None:
        lines.append(("check set", _check_set(checked)))
    if failure is not None:
        lines.append(("last error", str(failure["reason"])))
        if not config.paged:
            lines.append(("or", other_settings(run, failure)))
    if not holder and command:
        lines.append(("next", command))
    return Status("going on" if holder else standing, lines)


def _failure(events: Sequence[Event]) -> Event | None:
    """Return the last failure, where nothing was done of its cycle since."""
    for event in reversed(events):
        if event["event"] == "failed":
            return event
        if event["event"] in ("stage_done", "cycle_done", "finished"):
            return None
    return None


def _standing(
    run: Path, config: RunConfig, events: Sequence[Event], pool: Pool, failure: Event | None
) -> tuple[str, str, str]:
    """Return the state, what is said of it, and the command that comes next."""
    asked = max(pool.queries, default=INITIAL)
    open_ = pool.unanswered(asked) if not pool.closed(asked) else []
    if events[-1]["event"] == "finished":
        return "finished", "finished", f"pipeline report {_quoted(run)}"
    if failure is not None:
        return "failed", f"failed in cycle {failure['cycle']}", _resume(run, config)
    if config.paged:
        return "waiting", "nobody serves its page now", _resume(run, config)
    if config.by_files and open_:
        table = _quoted(run / "to_label.csv")
        command = f"pipeline export {_quoted(run)}, fill in the column 'label', pipeline ingest {_quoted(run)} {table}"
        return "waiting", f"waits for labels of {len(open_)} samples", command
    if config.by_files and events[-1]["event"] in ANSWERED and _people_answered(events):
        left = f", but for {len(pool.open_samples)} left open" if pool.open_samples else ""
        return "waiting", f"all answered{left}", _resume(run, config)
    return "stopped", "stopped, by a kill or Ctrl-C", _resume(run, config)


def _people_answered(events: Sequence[Event]) -> bool:
    """Whether anybody said anything: labels that came with the data are no answers."""
    return any(event.get("annotator", GIVEN) != GIVEN for event in events if event["event"] in ("label", "skip"))


def _cycle(config: RunConfig, events: Sequence[Event]) -> str:
    done = sum(event["event"] == "cycle_done" for event in events)
    of = "" if config.paged else f" of {config.cycles}"
    stages = [event for event in events if event["event"] == "stage_done"]
    last = f"; last stage done: {present_name(stages[-1]['stage'])} of cycle {stages[-1]['cycle']}" if stages else ""
    return f"{done}{of} done{last}"


def _labels(config: RunConfig, pool: Pool, copies: int) -> str:
    planned = "" if config.paged else f" of {config.query.n_init + config.query.answers * (config.cycles - 1)}"
    skipped = len(set().union(*pool.skipped.values())) if pool.skipped else 0
    more: list[tuple[int, str]] = [
        (len(pool.checked), "more of the check set"),
        (copies, "as near-copies of others"), (len(pool.open_samples), "asked for and open"), (skipped, "skipped"),
        (len(pool.disputed), "disputed"),
    ]  # fmt: skip
    return ", ".join([f"{len(pool.current)}{planned}", *(f"{number} {what}" for number, what in more if number)])


def _check_set(checked: CheckSet) -> str:
    if not checked.measured:
        return checked.told
    last = checked.measured[-1]
    low, high = binomial_interval(last.right, last.images)
    accuracy = f"accuracy {last.right / last.images:.1%} ({low:.1%} to {high:.1%}) after {last.labels} labels"
    return f"{checked.told}; {accuracy}"


def _resume(run: Path, config: RunConfig) -> str:
    trust = " --trust-code" if named_code(config) else ""
    return f"pipeline {'label' if config.paged else 'resume'} {_quoted(run)}{trust}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def plain(status: Status) -> dict[str, Any]:
    """Return a status as JSON has it.

    Args:
        status: of a run.

    """
    return {"standing": status.standing, **{name.replace(" ", "_"): text for name, text in status.lines}}
