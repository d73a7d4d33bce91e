"""What a label is, what stands where there is none, and the names that classes are given."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from trainer.errors import TrainerError

UNLABELLED = -1
"""Stands for the class number of a training sample that has no label; it is no index of any class."""

MARKERS = frozenset({"", "?", "-", "-1", "na", "n/a", "nan", "none", "null", "unknown", "unlabeled", "unlabelled"})
"""What people and programs write where a label is missing, in lower case; a class is called so only if it is named."""

CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode categories that would break a line of a log or a table


def means_unlabelled(text: str, classes: Sequence[str] | None) -> bool:
    """Whether what stands in a label's place says that there is no label.

    Args:
        text: a cell, a folder's name or an element of an array.
        classes: names that the user gave; they are classes whatever they look like.

    """
    plain = text.strip()
    return plain.casefold() in MARKERS and plain not in (classes or ())


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
