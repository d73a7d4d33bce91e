"""An annotator of a user's own, ``MODULE:OBJECT``: a service, a model, a panel; what it does wrong is named."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from common.settings import kept
from pipeline.annotators.base import Annotator, Question, Said
from pipeline.errors import PipelineError, TheirCodeError
from pipeline.foreign import line_of
from pipeline.imports import imported


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
    return _Blamed(what, found)


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


class _Blamed:
    """Names an annotator in whatever it raises."""

    def __init__(self, what: str, annotator: Annotator) -> None:
        self._what, self._annotator = what, annotator

    def ask(self, question: Question) -> Iterable[Sequence[Said]]:
        portions: Iterator[Sequence[Said]] | None = None
        while True:
            try:
                with kept():  # while it computes, not while what it said is recorded
                    portions = iter(self._annotator.ask(question)) if portions is None else portions
                    portion = next(portions, None)
            except (Exception, SystemExit) as error:
                raise TheirCodeError(f"{self._what} failed: {line_of(error)}") from error
            if portion is None:
                return
            yield portion
