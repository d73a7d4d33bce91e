"""What a label is, what stands where there is none, and the names that classes are given."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from trainer.errors import TrainerError

UNLABELLED = -1
"""Stands for the class number of a training sample that has no label; it is no index of any class."""

WORDS = frozenset(
    {"na", "nan", "nat", "none", "null", "unknown", "undefined", "unassigned", "unset", "todo", "tbd", "nolabel"}
    | {f"{no}{done}" for no in ("un", "not") for done in ("labeled", "labelled", "annotated")}
)
"""What people and programs write where a label is missing: its letters, in lower case; no class, unless it is named."""
MARK = re.compile(r"[?\-]*|-1(\.0*)?")
"""Likewise, without letters."""

_NUMBER = re.compile(r"[-+]?\d{1,15}(\.\d*)?")
CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode categories that would break a line of a log or a table


def means_unlabelled(text: str, classes: Sequence[str] | None) -> bool:
    """Whether what stands in a label's place says that there is no label.

    Args:
        text: a cell, a folder's name or an element of an array.
        classes: names that the user gave; they are classes whatever they look like.

    """
    plain = text.strip()
    letters = "".join(letter for letter in plain.casefold() if letter.isalnum())
    return plain not in (classes or ()) and bool(letters in WORDS or MARK.fullmatch(plain))


def class_names(given: str | int | Sequence[Any]) -> tuple[str, ...]:
    """Return the names of classes from ``cat,dog`` or a list; the position is the class number.

    Args:
        given: names with commas, or a list of names or whole numbers.

    Returns:
        The names without the blanks around them.

    Raises:
        TrainerError: fewer than two, an empty one, one twice, or what is no name.

    """
    return _names("classes", given, least=2)


def left_out_names(given: str | int | Sequence[Any]) -> tuple[str, ...]:
    """Return the names of classes that are to be left out, from ``cat,dog`` or a list.

    Args:
        given: names with commas, or a list of names or whole numbers.

    Returns:
        The names without the blanks around them.

    Raises:
        TrainerError: none, an empty one, one twice, or what is no name.

    """
    return _names("leave_out", given, least=1)


def written_alike(names: Sequence[str]) -> tuple[str, ...]:
    """Say which names may mean one class, a sentence for each pair.

    They differ in case, in blanks, in invisible letters, in how accents are stored or in how a number is written.

    Args:
        names: of the classes, all different.

    """
    return tuple(
        f"the classes {shown_apart(one, other)} differ in spelling alone: if they are one class, spell both alike"
        for one, other in _pairs(names)
    )


def taken_for(name: str, names: Sequence[str]) -> str | None:
    """Return the class that a name is likely to mean though it is spelt otherwise, or None.

    Args:
        name: that is none of these.
        names: of the classes.

    """
    return next((one for one in names if _meant(one) == _meant(name)), None)


def shown_apart(one: str, other: str) -> str:
    """Return two names so that what differs between them can be seen.

    Args:
        one: a name.
        other: another.

    """
    show = ascii if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other) else repr
    return f"{show(one)} and {show(other)}"


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    first = dict[str, str]()
    for name in names:
        before = first.setdefault(_meant(name), name)
        if before != name:
            yield before, name


def _meant(name: str) -> str:
    """Return what a name is likely to mean: a number by its value, words in any case; single letters are themselves."""
    visible = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    plain = " ".join(unicodedata.normalize("NFKC", visible).split())
    if _NUMBER.fullmatch(plain):
        return repr(float(plain))
    return plain if len(plain) == 1 else unicodedata.normalize("NFKC", plain.casefold())


def _names(what: str, given: str | int | Sequence[Any], least: int) -> tuple[str, ...]:
    listed = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int) else list(given)
    if not all(type(name) in (str, int) for name in listed):
        raise TrainerError(f"{what}: expected names such as cat,dog, got {listed}; put words like yes and no in quotes")
    names = tuple(str(name).strip() for name in listed)
    if len(names) < least or "" in names or len(set(names)) != len(names):
        raise TrainerError(
            f"{what}: expected {('one', 'two')[least - 1]} or more names that all differ, such as cat,dog, "
            f"got {','.join(names)!r}"
        )
    for name in names:
        require_plain(name)
    return names


def require_plain(name: str) -> None:
    """Refuse a name that would break a line: control characters, line separators, bytes that are no UTF-8.

    Args:
        name: of a file or a class.

    Raises:
        TrainerError: it holds one.

    """
    if not name.isprintable() and any(unicodedata.category(letter) in CONTROL for letter in name):
        raise TrainerError(f"{name!a}: file names must be printable UTF-8 without control characters; rename it")
