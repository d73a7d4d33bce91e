"""An annotator of a user's own, ``MODULE:OBJECT``: a service, a model, a panel; what it does wrong is named."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from common.settings import kept
from pipeline.annotators.base import Annotator, Answer, Question, Said
from pipeline.errors import PipelineError, TheirCodeError
from pipeline.foreign import line_of
from pipeline.imports import imported

LONGEST = 200
"""Characters of an annotator's name, and of a reason to skip."""


def is_plugin(name: str) -> bool:
    """Tell whether a name is ``MODULE:OBJECT``.

    Args:
        name: of an annotator.

    """
    module, _, found = name.partition(":")
    return bool(module and found) and ":" not in found


def load_annotator(name: str, known: dict[str, Any]) -> Annotator:
    """Import an annotator, and make it where a class or a factory is named.

    Args:
        name: ``MODULE:OBJECT``.
        known: what a class or factory is told of the run, by name, those of it that it names: ``classes``, ``root`` of
            the user's files, ``seed``.

    Raises:
        PipelineError: it cannot be imported or made, or does not ask; one line.

    """
    what = f"annotator {name!r}"
    module, _, attribute = name.partition(":")
    found = imported(what, module, attribute)
    if isinstance(found, type) or not hasattr(found, "ask"):
        found = _made(what, found, known)
    if not callable(getattr(found, "ask", None)):
        raise PipelineError(f"{what}: expected an object with a method ask(question), got {type(found).__name__}")
    return Blamed(what, found)


def _made(what: str, factory: Callable[..., Any], known: dict[str, Any]) -> Any:
    try:
        names = inspect.signature(factory).parameters
        with kept():
            return factory(**{name: value for name, value in known.items() if name in names})
    except (Exception, SystemExit) as error:
        raise PipelineError(
            f"{what}: expected an object, or a class or factory that takes some of {', '.join(known)}; calling it "
            f"failed: {line_of(error)}"
        ) from error


class Blamed:
    """An annotator that is named in whatever it does wrong.

    Args:
        what: it is, for messages.
        annotator: the user's.

    """

    def __init__(self, what: str, annotator: Annotator) -> None:
        self._what, self._annotator = what, annotator

    def ask(self, question: Question) -> Iterable[Sequence[Said]]:
        """Yield what it says, in portions.

        Args:
            question: what is asked.

        Raises:
            TheirCodeError: it raised an error, or said what no record could hold; one line.

        """
        portions: Iterator[Sequence[Said]] | None = None
        while True:
            try:
                with kept():  # while it computes, not while what it said is recorded
                    portions = iter(self._annotator.ask(question)) if portions is None else portions
                    portion = next(portions, None)
                    said = None if portion is None else _said(portion)
            except _NotSaid as error:
                raise TheirCodeError(f"{self._what}: {error}") from error
            except (Exception, SystemExit) as error:
                raise TheirCodeError(f"{self._what} failed: {line_of(error)}") from error
            if said is None:
                return
            yield said


class _NotSaid(ValueError):
    """An annotator said something that no record could hold."""


def _said(portion: Any) -> list[Said]:
    """Return what a portion holds, of the kinds that the record has; whether it was asked for is seen later."""
    if isinstance(portion, str | bytes | Said) or not isinstance(portion, Iterable):
        raise _NotSaid(f"expected portions, lists of answers, skips or undos, got {portion!r:.{LONGEST}}")
    said = list(portion)
    for each in said:
        if not isinstance(each, Said):
            raise _NotSaid(f"expected answers, skips or undos, got {each!r:.{LONGEST}}")
        for name, (fits, expected) in _FIELDS.items():
            if (name != "label" or isinstance(each, Answer)) and not fits(getattr(each, name, None)):
                got = f"{getattr(each, name)!r:.{LONGEST}}"
                raise _NotSaid(f"expected {expected} as {name}, got {got} of {type(each).__name__}")
    return said


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "sample": (lambda value: type(value) is int, "an int (of an array: int(x))"),
    "label": (lambda value: type(value) is int, "an int (of an array: int(x)), the position of a class"),
    "annotator": (_is_line, f"a name, one line of 1 to {LONGEST} printable characters"),
    "reason": (lambda value: value in (None, "") or _is_line(value), f"one line of at most {LONGEST} characters"),
    "seconds": (
        lambda value: value is None or (type(value) in (int, float) and 0 <= value < 1e9),
        "None or a number of seconds",
    ),
    "time": (lambda value: value is None or _is_line(value), "None or a time, such as 2026-01-31T12:00:00+00:00"),
}
"""What the fields of an answer, a skip or an undo may be: a record is read again for years, by other versions."""
