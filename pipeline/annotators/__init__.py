"""Who answers a query."""

from pipeline.annotators.base import Annotator, Answer, Item, Question, Skip
from pipeline.annotators.simulated import SimulatedAnnotator

__all__ = ["Annotator", "Answer", "Item", "Question", "SimulatedAnnotator", "Skip"]
