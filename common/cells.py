"""Cells of a table that people open in a spreadsheet: none of them is run as a formula, and each can be read back."""

import re

FORMULA = re.compile(r"[\s']*[=+\-@＝＋－＠\t\r]")
"""How a cell begins that a spreadsheet may run: OWASP's list of characters, after blanks or quotes."""
QUOTED = re.compile(r"'[\s']*[=+\-@＝＋－＠\t\r]")


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet runs: one that begins like a formula gets a ``'`` in front.

    Args:
        text: what the cell is to say, such as a class called ``-1``.

    """
    return f"'{text}" if FORMULA.match(text) else text


def plain_text(cell: str) -> str:
    """Return what ``safe_text`` was given.

    Args:
        cell: as it is read from a table.

    """
    return cell[1:] if QUOTED.match(cell) else cell


def safe_path(path: str) -> str:
    """Return a relative path that no spreadsheet runs and that still leads to the same file: ``./-1.png``.

    Args:
        path: relative, with slashes.

    """
    return f"./{path}" if FORMULA.match(path) or path[:1].isspace() else path


def declared(text: str) -> tuple[str | None, str]:
    """Return the delimiter that the first line of a table declares, as spreadsheets do by ``sep=;``, and what follows.

    Args:
        text: of the table.

    Returns:
        None where nothing is declared, and the text as it is.

    """
    found = re.match(r"\"?sep=(.)\"?\r?\n", text, re.IGNORECASE)
    return (found[1], text[found.end() :]) if found else (None, text)
