"""What ``pipeline advise`` finds out about a run, and how it says so."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.advise.advice import Advice, advice_of, plain
from pipeline.advise.doubts import MOST, Doubts
from pipeline.advise.review import doubts_of, write_review
from pipeline.advise.wording import lines_of
from pipeline.errors import PipelineError
from pipeline.files import naming
from pipeline.heldout import unclaimed
from pipeline.products.model import last_trained
from pipeline.products.networks import Say
from pipeline.run.believed import believed_rows
from pipeline.run.check_set import check_set_of
from pipeline.run.loading import load_data
from pipeline.run.pool import Pool
from pipeline.run.reading import check_unchanged, read_config, read_events
from pipeline.run.recorded import confirm_code, named_code
from pipeline.run.votes import classes_now
from trainer.data import DataSet
from trainer.models import MODELS

SHOWN = 5
"""Labels that look wrong on the terminal; a table has all of them."""


@dataclass(frozen=True)
class Found:
    """What is known of a run.

    Args:
        run: its directory.
        advice: for it.
        doubts: labels that look wrong to its last network.
        current: labels that count now, by sample.
        kept: labels that somebody stands by, by sample.
        classes: names of all classes.
        data: the run's.
        paged: whether people answer on the page.

    """

    run: Path
    advice: Advice
    doubts: Doubts
    current: Mapping[int, int]
    kept: Mapping[int, int]
    classes: Sequence[str]
    data: DataSet
    paged: bool

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        rows = [
            {
                "path": self.data.sample_path("train", doubt.sample),
                "sample_id": doubt.sample,
                "label": self.classes[doubt.label],
                "suggested": self.classes[doubt.suggested],
                "lead": doubt.lead,
            }
            for doubt in self.doubts.shown(self.current, self.kept)
        ]
        return plain(self.advice) | {"look_again": rows, "look_again_rests_on": self.doubts.basis}

    def write_review(self, path: Path) -> None:
        """Write all labels that look wrong.

        Args:
            path: the file.

        Raises:
            PipelineError: it cannot be written.

        """
        with naming(path):
            write_review(path, self.data, self.classes, self.doubts, self.current, self.kept)


def advise_run(run: Path, worth: float, *, trust_code: bool, say: Say) -> Found:
    """Look at a run, which is only read.

    Args:
        run: its directory.
        worth: accuracy that 100 labels must bring, as a share.
        trust_code: whether a network that is not built in may be imported, where it has no port.
        say: told in one line what could not be done.

    Raises:
        PipelineError: the run has not begun, is damaged, or its code is not trusted.

    """
    config, events = read_config(run), read_events(run)
    if not events:
        raise PipelineError(f"{run} has not begun: expected a run in which something was labelled")
    data = load_data(config, run / "images" if (run / "images").is_dir() else None, run=run)
    check_unchanged(events[0], config, data.fingerprint())
    pool = Pool(len(data.train), events)
    trained, doubts = last_trained(run, events, say), Doubts()
    rows = believed_rows(run, config, events)
    if trained is not None:
        if trained.port is None and config.model.name not in MODELS:
            codes = [code for code in named_code(config) if code.role == "model"]
            confirm_code(run, codes, trust_code, say, events[0])
        doubts = doubts_of(trained, pool, data, say)
    classes = trained.spec.num_classes if trained else max(2, len(data.classes))
    advice = advice_of(rows, classes, check_set_of(events, pool), worth, len(data.test))
    names = classes_now(data.classes, events)
    return Found(run, advice, doubts, pool.current, pool.kept, names, data, config.paged)


def shown(found: Found) -> list[tuple[str, str]]:
    """Return what is said of a run, one fact a line: what it is called, and the text.

    Args:
        found: of the run.

    """
    return [*lines_of(found.advice, _no_accuracy(found)), *_look_again(found)]


def _no_accuracy(found: Found) -> str:
    advice, run = found.advice, shlex.quote(str(found.run))
    if advice.check_set is not None:
        return "not measured yet: no network was asked about check images that have a label"
    if advice.basis:
        return "not measured yet: there is no network"
    if not found.paged:
        return unclaimed("npz:" if found.data.root is None else "folder:")
    return (
        f"not claimed, for nothing measures it; 'pipeline label {run} --check 60' asks about 60 images drawn at random"
    )


def _look_again(found: Found) -> list[tuple[str, str]]:
    if not found.current:
        return []
    if not found.doubts.labels:
        return [("look again", f"not looked at: that takes a network that learned from 2 to {MOST:,} labels")]
    doubts = found.doubts.shown(found.current, found.kept)
    beside = "" if found.advice.check_set is None else " (those of the check set are not looked at)"
    if not doubts:
        return [("look again", f"no label looks wrong to all the others{beside}")]
    head = f"{len(doubts)} labels look wrong to all the others{beside}, by {found.doubts.basis}; the most doubtful:"
    lines = [("look again", head)]
    for doubt in doubts[:SHOWN]:
        name = found.data.sample_path("train", doubt.sample)
        lines.append(("", f"{name}: {found.classes[doubt.label]}, or {found.classes[doubt.suggested]}?"))
    return lines
