"""What a run's record says, and whether what was asked and answered can be: samples and classes that there are."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.places import EVENTS
from pipeline.run.check_set import DRAWN, PREDICTED
from pipeline.run.events import Event
from pipeline.run.former_names import present_name
from pipeline.run.logged import LogIndex
from pipeline.run.pool import Pool
from pipeline.run.votes import classes_now
from pipeline.verify.findings import Findings
from trainer.data import DataSet


def command_of(config: RunConfig) -> str:
    """Return the command that a run goes on with, without its arguments.

    Args:
        config: the run's.

    """
    return "pipeline label" if config.paged else "pipeline resume"


@dataclass(frozen=True)
class Record:
    """A run's record, which the rest of the run is compared with.

    Args:
        run: its directory.
        config: its configuration.
        events: its log; not empty.
        pool: the state of its labelling.
        data: its data; None where it cannot be had.

    """

    run: Path
    config: RunConfig
    events: list[Event]
    pool: Pool
    data: DataSet | None

    @property
    def run_id(self) -> str:
        """The run's name."""
        return str(self.events[0]["run_id"])

    @property
    def log(self) -> LogIndex:
        """What is asked of the log."""
        return LogIndex(self.events)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.events[-1]["event"] == "finished"

    @property
    def command(self) -> str:
        """The command that the run goes on with."""
        return command_of(self.config)

    @property
    def again(self) -> str:
        """What is done about something derived that is not right."""
        return f"'{self.command}' writes it again"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes, added ones too."""
        return tuple(classes_now(self.data.classes, self.events)) if self.data is not None else ()

    def results(self, cycle: int, stage: str) -> set[str]:
        """Return every result of a stage that the log has: more than one where it was done again and came out else.

        Args:
            cycle: number of the cycle.
            stage: its name.

        """
        done = (event for event in self.events if event["event"] == "stage_done" and event["cycle"] == cycle)
        return {event["sha256"] for event in done if present_name(event["stage"]) == stage}


def check_labels(record: Record, found: Findings) -> None:
    """Check that every sample and class of the log is one of the data.

    Args:
        record: of the run, with its data.
        found: takes in what is wrong.

    """
    size, classes = record.pool.size, len(record.classes)
    for event in record.events:
        where = f"line {event['seq'] + 1}"
        kind = event["event"]
        labels = event["labels"] if kind in ("label", "kept", PREDICTED) else []
        ids = [pair[0] for pair in labels] or (event["ids"] if kind in ("query", "skip", DRAWN) else [])
        if strange := [sample for sample in ids if not (type(sample) is int and 0 <= sample < size)]:
            found.fault(record.run / EVENTS, f"{where} names sample {strange[0]!r}, but ids run from 0 to {size - 1}")
        if strange := [label for _, label in labels if not (type(label) is int and 0 <= label < classes)]:
            found.fault(record.run / EVENTS, f"{where} gives label {strange[0]!r}, but there are {classes} classes")
        found.count("labels", len(labels) if kind == "label" else 0)
