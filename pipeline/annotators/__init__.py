"""Who answers a query."""

from pipeline.annotators.base import Annotator, Answer, Item, Question, Said, Skip, Undo
from pipeline.annotators.files import FilesAnnotator, WaitingForLabels
from pipeline.annotators.simulated import SimulatedAnnotator

__all__ = [
    "Annotator",
    "Answer",
    "FilesAnnotator",
    "Item",
    "Question",
    "Said",
    "SimulatedAnnotator",
    "Skip",
    "Undo",
    "WaitingForLabels",
]
