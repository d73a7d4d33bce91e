"""Where commands may write."""

from pathlib import Path

from common.files import unwritable
from trainer.errors import TrainerError


def require_free(out: Path) -> None:
    """Refuse an output folder that would be overwritten, or that cannot be written.

    Args:
        out: a folder that does not exist yet, or is empty.

    Raises:
        TrainerError: it is a file, has something in it, or lies where nothing may be written.

    """
    if out.exists() and not out.is_dir():
        raise TrainerError(f"--out must be a new or empty folder, but {out} is a file; choose another name")
    if out.is_dir() and any(out.iterdir()):
        raise TrainerError(f"--out must be a new or empty folder, but {out} is not empty; choose another name")
    if folder := unwritable(out):
        raise TrainerError(f"--out: cannot write to {out}: no permission to write in {folder}; choose another name")
