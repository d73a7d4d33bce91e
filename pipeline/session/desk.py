"""Where a front end and the engine meet: what a person's page may ask, and what it gets."""

from typing import Any, Protocol

from pipeline.errors import PipelineError


class DeskError(PipelineError):
    """A request that the desk refuses, in one line for the person.

    Args:
        message: one line that says what was expected, what came and what to do.
        status: as HTTP counts: 400 bad input, 404 no such sample, 409 contradicts the state.

    """

    status: int = 409

    def __init__(self, message: str, status: int = 409) -> None:
        super().__init__(message)
        self.status = status


class Desk(Protocol):
    """What a page may ask of the engine; every method is synchronous, thread-safe and returns what JSON can hold.

    What ``answer``, ``skip``, ``undo`` and ``confirm`` are told is durable before they return, and the same call twice
    changes nothing the second time. An empty name of an annotator stands for the run's own. A *question* is a
    dictionary whose ``kind`` is ``question``, ``done`` or ``wait``. Every method raises ``DeskError`` where it refuses.
    """

    def state(self, annotator: str) -> dict[str, Any]:
        """What is known by now: classes with counts and keys, budget, networks, accuracy, notes, version."""
        ...

    def question(self, annotator: str) -> dict[str, Any]:
        """What this annotator is asked now: the same one until it is answered, skipped or answered by others."""
        ...

    def answer(self, annotator: str, sample: int, label: str, seconds: float | None) -> dict[str, Any]:
        """Take a label in and return the next question.

        Args:
            annotator: who says so.
            sample: data-set-absolute id.
            label: name of a class.
            seconds: that the person looked at it; None where nobody measured.

        Returns:
            The next question.

        Raises:
            DeskError: an unknown sample (404), an unknown class (400) or a label that contradicts the state (409).

        """
        ...

    def skip(self, annotator: str, sample: int, reason: str, seconds: float | None) -> dict[str, Any]:
        """Leave a sample out for good and return the next question.

        Args:
            annotator: who will not label it.
            sample: data-set-absolute id.
            reason: in their words; may be empty.
            seconds: that the person looked at it; None where nobody measured.

        Returns:
            The next question.

        Raises:
            DeskError: an unknown sample (404) or a skip that contradicts the state (409).

        """
        ...

    def undo(self, annotator: str, sample: int | None) -> dict[str, Any]:
        """Withdraw what this annotator said of a sample and ask for it again.

        Args:
            annotator: who takes it back.
            sample: of which; None: what was said last.

        Returns:
            A question: that sample.

        Raises:
            DeskError: this annotator said nothing of it (409), or no such sample (404).

        """
        ...

    def add_class(self, name: str) -> dict[str, Any]:
        """Add a class, of which no label is known yet, and return the state; DeskError (409) if there is one."""
        ...

    def grid(self, annotator: str, label: str, size: int) -> dict[str, Any]:
        """Ask for the likeliest of one predicted class at once, among what nobody labelled.

        Args:
            annotator: who is asked.
            label: name of the predicted class.
            size: at most so many, 1 to 100.

        Returns:
            ``label``, ``items`` and ``asked_by``, the cycle of the network that predicted.

        Raises:
            DeskError: an unknown class (400), or no network yet (409).

        """
        ...

    def confirm(
        self, annotator: str, label: str, right: list[int], wrong: list[int], seconds: float | None
    ) -> dict[str, Any]:
        """Take in what a person said of a grid and return the next question.

        Args:
            annotator: who says so.
            label: name of the class that was shown.
            right: ids that are of it.
            wrong: ids that are not: they stay open and are asked one by one.
            seconds: that the person looked at all of them; None where nobody measured.

        Returns:
            The next question.

        Raises:
            DeskError: an unknown sample (404), an unknown class (400) or what contradicts the state (409).

        """
        ...

    def near_copies(self, annotator: str, sample: int) -> dict[str, Any]:
        """Show near-copies of a sample that is asked about, those of which nobody said anything.

        Args:
            annotator: who sees them.
            sample: data-set-absolute id.

        Returns:
            ``sample`` and ``items``, that sample first.

        Raises:
            DeskError: it was never asked about (404), or there are none (409).

        """
        ...

    def label_copies(
        self, annotator: str, sample: int, label: str, right: list[int], wrong: list[int], seconds: float | None
    ) -> dict[str, Any]:
        """Take in one label of a sample and its near-copies and return the next question.

        Args:
            annotator: who says so.
            sample: that was asked about.
            label: name of a class.
            right: near-copies that are of it, too.
            wrong: those that are not: nothing is said of them.
            seconds: that the person looked at all of them; None where nobody measured.

        Returns:
            The next question.

        Raises:
            DeskError: an unknown sample or one that is no near-copy (404), an unknown class (400) or what contradicts
                the state (409).

        """
        ...

    def undo_copies(self, annotator: str, sample: int) -> dict[str, Any]:
        """Withdraw a label with those of the near-copies that were given with it, and ask for it again.

        Args:
            annotator: who takes it back.
            sample: any of them.

        Returns:
            A question: the sample that was asked about.

        Raises:
            DeskError: this annotator said nothing of it (409), or no such sample (404).

        """
        ...

    def history(self, annotator: str, limit: int) -> dict[str, Any]:
        """What this annotator said, latest first.

        Args:
            annotator: who.
            limit: at most so many.

        Returns:
            ``items``: of each the sample, its name and what was said (None: skipped).

        """
        ...

    def doubts(self, annotator: str) -> dict[str, Any]:
        """Labels that look wrong to the others, the most doubtful first, to be looked at again by this annotator.

        Args:
            annotator: who looks.

        Returns:
            ``items`` as of ``history``, each with ``suggested``, and ``basis``, what they rest on.

        """
        ...

    def keep(self, annotator: str, sample: int) -> dict[str, Any]:
        """Say that a label that looks wrong is right, so that nobody is shown it again; return the state.

        Args:
            annotator: who says so.
            sample: data-set-absolute id.

        Raises:
            DeskError: an unknown sample (404), or one without a label (409).

        """
        ...

    def picture(self, sample: int, side: int) -> tuple[bytes, str]:
        """Encode an image for the page.

        Args:
            sample: data-set-absolute id.
            side: it is made no larger than side × side.

        Returns:
            The encoded image and its media type.

        Raises:
            DeskError: there is no such sample, or it is no image (404).

        """
        ...

    def finish(self) -> dict[str, Any]:
        """Ask for no more and make what people take away, behind; return the state, which says how far that is."""
        ...
