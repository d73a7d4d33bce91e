"""What the browser sends, checked field by field: a wrong type is the page's mistake or an attack, never guessed at."""

import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from common.reading import parse_json
from pipeline.run.pool import GIVEN
from pipeline.run.votes import SIMULATED
from pipeline.session.desk import DeskError

LONGEST_NAME = 64
LONGEST_LABEL = 255  # a folder's name may be a class
LONGEST_REASON = 500
MOST_SECONDS = 1e6
MOST_IDS = 100  # in one grid
LARGEST_ID = 2**53 - 1  # what JavaScript counts exactly
RESERVED = (GIVEN, SIMULATED)  # annotators in the record that are no people
DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)

Check = Callable[[str, Any], Any]


def fields(body: bytes, names: Sequence[str], nullable: Container[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has exactly these fields.

    Args:
        body: as it was sent.
        names: of the fields; each says what is expected.
        nullable: names of those that may be null.

    Raises:
        DeskError: no JSON object, a field too few or too many, or of the wrong type (400).

    """
    try:
        sent = parse_json(body)
    except ValueError:
        raise DeskError("expected a JSON object as body", 400) from None
    if not isinstance(sent, dict) or set(sent) != set(names):
        raise DeskError(f"expected a JSON object with exactly the fields {', '.join(names) or '(none)'}", 400)
    return {name: None if sent[name] is None and name in nullable else checked(name, sent[name]) for name in names}


def checked(name: str, value: Any) -> Any:
    """Return the value if it is what a field of this name has to be.

    Args:
        name: of the field.
        value: as it was sent.

    Raises:
        DeskError: it is something else (400).

    """
    return CHECKS[name](name, value)


def number(name: str, text: str) -> int:
    """Read a whole number that stands in an address: digits alone.

    Args:
        name: of the field.
        text: as it was sent.

    Raises:
        DeskError: it is something else (400).

    """
    if not DIGITS.fullmatch(text):
        raise DeskError(f"expected {name} as a whole number from 0", 400)
    return int(text)


def _annotator(name: str, value: Any) -> str:
    """A name of 1 to 64 printable characters; empty: whoever the run is of."""
    if value in RESERVED:
        raise DeskError(f"{name}: {value!r} stands for nobody who labels: choose another name", 400)
    return "" if value == "" else _title(name, value)


def _title(name: str, value: Any) -> str:
    """Text of 1 to 64 printable characters without blanks around it."""
    if not _printable(value, LONGEST_NAME) or not value or value.strip() != value:
        raise DeskError(f"expected {name} of 1 to {LONGEST_NAME} printable characters, without blanks around", 400)
    return str(value)


def _label(name: str, value: Any) -> str:
    """Text of 1 to 255 printable characters, as a class may be called that comes from a folder or a table."""
    if not _printable(value, LONGEST_LABEL) or not value:
        raise DeskError(f"expected {name} of 1 to {LONGEST_LABEL} printable characters", 400)
    return str(value)


def _reason(name: str, value: Any) -> str:
    """Text of at most 500 printable characters; may be empty."""
    if not _printable(value, LONGEST_REASON):
        raise DeskError(f"expected {name} of at most {LONGEST_REASON} printable characters", 400)
    return str(value)


def _printable(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _token(name: str, value: Any) -> str:
    """Text of 1 to 256 characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= 256:
        raise DeskError(f"expected {name} as text", 400)
    return value


def _identity(name: str, value: Any) -> int:
    """The id of a sample."""
    if not _whole(value) or not 0 <= value <= LARGEST_ID:
        raise DeskError(f"expected {name} as a whole number from 0", 400)
    return int(value)


def _identities(name: str, value: Any) -> list[int]:
    """At most 100 different ids of samples."""
    if not isinstance(value, list) or len(value) > MOST_IDS:
        raise DeskError(f"expected {name} as a list of at most {MOST_IDS} whole numbers", 400)
    found = [_identity(name, one) for one in value]
    if len(set(found)) != len(found):
        raise DeskError(f"expected {name} without repetitions", 400)
    return found


def _size(name: str, value: Any) -> int:
    """How many, 1 to 100."""
    if not _whole(value) or not 1 <= value <= MOST_IDS:
        raise DeskError(f"expected {name} as a whole number from 1 to {MOST_IDS}", 400)
    return int(value)


def _seconds(name: str, value: Any) -> float | None:
    """A finite time from 0 to a million seconds, or null."""
    if value is None:
        return None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not 0 <= value <= MOST_SECONDS:
        raise DeskError(f"expected {name} as a number from 0 to {MOST_SECONDS:.0f}, or null", 400)
    return float(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


CHECKS: Mapping[str, Check] = {
    "annotator": _annotator,
    "sample": _identity,
    "label": _label,
    "name": _title,
    "reason": _reason,
    "seconds": _seconds,
    "right": _identities,
    "wrong": _identities,
    "size": _size,
    "limit": _size,
    "token": _token,
}
