"""Names that older versions gave to what lies in a run: such runs are read, go on, and get no more of them."""

from pathlib import Path

_FORMER = {"sequential": "interview", "sequential.json": "interview.json"}


def existing(folder: Path, name: str) -> Path:
    """Return where something of a run lies: under its name, or under its former one where only that is there.

    Args:
        folder: that it lies in.
        name: of a stage or of a file of one, as it is called now.

    """
    path = folder / name
    former = folder / _FORMER.get(name, name)
    return former if former.exists() and not path.exists() else path


def present_name(name: str) -> str:
    """Return what a stage that an event names is called now."""
    return next((now for now, former in _FORMER.items() if former == name), name)
