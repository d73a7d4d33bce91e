"""What a log says of the stages of its run and of the machine that it began on, and what contradicts it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.run.events import Event
from pipeline.run.former_names import present_name
from pipeline.run.stages.binding import Binding
from pipeline.run.stages.store import Manifest


class LogIndex:
    """What is asked of a log again and again, so that nobody has to read all of it.

    Args:
        events: the log so far.

    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._seen: set[tuple[str, int | None]] = set()
        self.done: dict[tuple[int, str], Event] = {}
        self.unbound = False
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in the log's next event.

        Args:
            event: with its fields.

        """
        self._seen.update([(event["event"], None), (event["event"], event.get("cycle"))])
        if event["event"] == "stage_done":
            self.done[event["cycle"], present_name(event["stage"])] = event
            self.unbound |= "binding" not in event  # an older version wrote it

    def has(self, event: str, cycle: int | None) -> bool:
        """Tell whether there is an event of a kind, of a cycle or of any.

        Args:
            event: its kind.
            cycle: its cycle; any where None.

        """
        return (event, cycle) in self._seen


def contradiction(manifest: Manifest, result: str, logged: Event | None, binding: Binding, older: bool) -> str:
    """Say what of a complete stage contradicts its place or the log; empty where nothing does.

    Args:
        manifest: the stage's.
        result: the file whose hash the event log keeps.
        logged: the stage's event; None where the run was killed before it, or a copy of the log is older.
        binding: what a stage in this place is made from now.
        older: whether the log was begun by a version that bound no stages.

    """
    mine = manifest.binding
    if mine is None:
        if (logged is None and not older) or (logged is not None and "binding" in logged):
            return "its manifest does not say of which run and cycle it is"
    elif logged is None or "binding" not in logged:
        if reason := binding.contradiction(mine):
            return reason
    elif logged["binding"] != mine.digest():
        return binding.contradiction(mine) or "it was made from something else than the log says"
    if logged is not None and logged["sha256"] != manifest.files[result]:
        return f"its {result} is not the one that the log says"
    return ""


def machine_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the first event says with what a run computes; older versions wrote less of it.

    Args:
        facts: fields of the event.

    """
    hardware = dict(facts.get("hardware") or {})
    if "CPU" in hardware:  # which ends in the threads of the process, whatever the run takes
        hardware["CPU"] = re.sub(r", \d+ threads$", "", str(hardware["CPU"]))
    return hardware | {name: facts[name] for name in ("threads",) if name in facts}
