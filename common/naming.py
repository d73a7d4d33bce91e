"""What is said of a name that there is not: which one was meant, or which there are."""

from collections.abc import Iterable
from difflib import get_close_matches

FEW = 12
"""As many names are all listed; of more, only those that may have been meant where there are such."""


def close_to(given: object, known: Iterable[str]) -> list[str]:
    """Return the names that may have been meant, the likeliest first, 3 at most.

    Args:
        given: what came, which need not be a text.
        known: the names that there are.

    """
    if not isinstance(given, str) or not 0 < len(given) <= 100:  # comparing takes the square of its length
        return []
    by_lower = {name.lower(): name for name in known}
    return [by_lower[name] for name in get_close_matches(given.lower().strip(), by_lower)]


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return ``: did you mean margin or margin-lin?``, or nothing where no name is near.

    Args:
        given: what came.
        known: the names that there are.

    """
    near = close_to(given, known)
    return f": did you mean {' or '.join(near)}?" if near else ""


def one_of(given: object, known: Iterable[str], own: str = "") -> str:
    """Say which names were expected in the place of one that there is not.

    Args:
        given: what came.
        known: the names that there are.
        own: what else may stand there, such as ``, or MODULE:STRATEGY for one of your own``.

    Returns:
        ``expected one of cat, dog; got 'dgo': did you mean dog?``; of many names, only how many there are where one of
        them may have been meant.

    """
    names = list(known)
    hint = did_you_mean(given, names)
    listed = f"one of {len(names)} names" if hint and len(names) > FEW else f"one of {', '.join(names)}"
    return f"expected {listed}{own}; got {given!r}{hint}"
