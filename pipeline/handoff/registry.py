"""Which tools there are hand-offs to, and whose a file is."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.handoff.base import Given, Handed, Handoff
from pipeline.handoff.cvat import ANNOTATIONS, Cvat
from pipeline.handoff.fiftyone import LABELS, FiftyOne
from pipeline.handoff.imagefolder import METADATA, ImageFolder
from pipeline.handoff.label_studio import LabelStudio
from pipeline.handoff.table import Table

TABLE = Table()
HANDOFFS: dict[str, Handoff] = {each.name: each for each in (LabelStudio(), Cvat(), ImageFolder(), FiftyOne(), TABLE)}
"""By name; the first one that takes a file for its own reads it, and the table takes any text."""
IN_FOLDERS = (METADATA, "metadata.jsonl", LABELS, ANNOTATIONS)
"""What is read of a folder that a hand-off made."""


def read_answers(path: Path, format_: str | None = None) -> Handed:
    """Return what a tool's file says.

    Args:
        path: the file, or a folder that holds one of ``IN_FOLDERS``.
        format_: name of the hand-off; None: the one that the content is of.

    Raises:
        PipelineError: it cannot be read, or is none of these files.

    """
    given = Given(_file_of(path))
    if format_ is not None:
        if given.is_zip and format_ != Cvat.name:
            raise PipelineError(f"{given.path}: expected a file of {format_}, but it is an archive: unpack it")
        return HANDOFFS[format_].read(given)
    handoff = next((each for each in HANDOFFS.values() if each.reads(given)), TABLE)
    return handoff.read(given)


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [path / name for name in IN_FOLDERS if (path / name).is_file()]
    if len(found) != 1:
        what = f"both {found[0].name} and {found[1].name}" if found else f"none of {', '.join(IN_FOLDERS)}"
        raise PipelineError(f"{path}: expected a file, or a folder with one that is known, but it holds {what}")
    return found[0]
