"""Where commands may write."""

from pathlib import Path

from trainer.errors import TrainerError


def require_free(out: Path) -> None:
    """Refuse an output folder that would be overwritten.

    Args:
        out: a folder that does not exist yet, or is empty.

    Raises:
        TrainerError: it is a file, or has something in it.

    """
    if out.exists() and not out.is_dir():
        raise TrainerError(f"--out must be a new or empty folder, but {out} is a file; choose another name")
    if out.is_dir() and any(out.iterdir()):
        raise TrainerError(f"--out must be a new or empty folder, but {out} is not empty; choose another name")
