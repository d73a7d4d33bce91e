"""Code that is not ours, a strategy, network or annotator: whatever it does wrong is one line that names it."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import common
from common.settings import Ended, SettingsChanged, kept, shown_error
from pipeline.errors import RunFailedError, TheirCodeError

PACKAGES = ("common", "trainer", "migrator", "linearize", "pipeline")
ENDS = "which ends the program: return or raise an error instead"


def line_of(error: BaseException) -> str:
    """Return an error as one line, which says of what ends the program that it does."""
    if isinstance(error, SettingsChanged):
        return str(error)
    ends = isinstance(error, SystemExit) or not isinstance(error.__cause__ or error, Exception)
    return f"{shown_error(error)}{f', {ENDS}' if ends else ''}"


@contextmanager
def guarded(what: str, *, generators: bool = True) -> Iterator[None]:
    """Let code that a user named do nothing to the rest of the program.

    Args:
        what: it is taken for and its name, for the message.
        generators: as of ``kept``.

    Raises:
        TheirCodeError: it ended the program, or changed what the rest computes with; one line.

    """
    try:
        with kept(generators=generators):
            yield
    except (SettingsChanged, Ended, SystemExit) as error:
        if not isinstance(error, SettingsChanged) and place_of(error) is None:
            raise
        raise TheirCodeError(f"{what}: {line_of(error)}{_at(error)}") from error


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Let an error that comes out of somebody else's code be a failure of the run; one of ours stays what it is.

    Args:
        what: was being done, for the message.

    Raises:
        TheirCodeError: their code raised an error or ended the program; one line.

    """
    try:
        yield
    except (RunFailedError, OSError):  # whose path says more
        raise
    except (Exception, SystemExit) as error:
        if place_of(error) is None:
            raise
        raise TheirCodeError(
            f"{what}: code that is not part of this program failed: {line_of(error)}{_at(error)}"
        ) from error


def place_of(error: BaseException) -> str | None:
    """Return the file and line of somebody else's code at which an error came up; None where it came up in ours.

    Args:
        error: raised; frames of the standard library and of installed packages decide nothing.

    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not Path(frame.filename).is_absolute() or not Path(frame.filename).is_file():
            continue
        if any(Path(frame.filename).is_relative_to(folder) for folder in _ours()):
            return None
        if not any(Path(frame.filename).is_relative_to(folder) for folder in _installed()):
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return None


def _at(error: BaseException) -> str:
    place = place_of(error)
    return f" ({place})" if place else ""


@cache
def _ours() -> tuple[Path, ...]:
    root = Path(common.__file__).parents[1]
    return tuple(root / name for name in PACKAGES)


@cache
def _installed() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
