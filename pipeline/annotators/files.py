"""An annotator who is handed questions in a file, and whose answers come back in one: the run waits in between."""

from collections.abc import Iterable, Sequence

from pipeline.annotators.base import Answer, Question, Skip


class WaitingForLabels(Exception):
    """A round's questions wait for labels that come in by ``pipeline ingest``.

    Args:
        question: what waits.

    """

    def __init__(self, question: Question) -> None:
        super().__init__(f"samples of round {question.round} wait for labels")
        self.question = question


class FilesAnnotator:
    """Answers nothing by itself: ``pipeline export`` writes what is asked, ``pipeline ingest`` takes in the answers."""

    def ask(self, question: Question) -> Iterable[Sequence[Answer | Skip]]:
        """Let the run end here until the answers are in.

        Args:
            question: what is asked.

        Raises:
            WaitingForLabels: always.

        """
        raise WaitingForLabels(question)
