"""What binds a stage to its place: its run, its cycle and what it was made from, so that no other one stands in it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.run.pool import Labelled

PLURALS = ("answers", "classes")
"""Names of what stages are made from that are many."""


@dataclass(frozen=True)
class Binding:
    """Where a stage belongs and what it was made from.

    Args:
        run: the run's id.
        cycle: number of the cycle.
        stage: its name.
        made_from: SHA-256 of everything that it was made from, by name: ``labelled``, and the results of other stages.

    """

    run: str
    cycle: int
    stage: str
    made_from: Mapping[str, str]

    def digest(self) -> str:
        """Return the SHA-256 of all of it, which the event log keeps."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Return what a manifest holds of it."""
        return asdict(self)

    @classmethod
    def parse(cls, plain: Any) -> "Binding":
        """Return what ``plain`` gave.

        Args:
            plain: of a manifest.

        Raises:
            TypeError: it is something else.

        """
        binding = cls(**plain)
        kinds = (str, int, str, dict)
        values = (binding.run, binding.cycle, binding.stage, binding.made_from)
        if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
            raise TypeError(f"expected a run, a cycle, a stage and what it was made from, got {plain}")
        return binding

    def contradiction(self, other: "Binding") -> str:
        """Say what of another one is not as it is here; empty where nothing is.

        Args:
            other: what a stage says of itself.

        """
        for name in ("run", "cycle", "stage"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"it is of {name} {theirs}, not {mine}"
        names = sorted({*self.made_from, *other.made_from})
        changed = [name for name in names if self.made_from.get(name) != other.made_from.get(name)]
        others = [f"{'other' if name in PLURALS else 'another'} {name}" for name in changed]
        return f"it was made from {' and '.join(others)}" if others else ""


def labelled_sha256(labelled: Labelled) -> str:
    """Return the SHA-256 of a labelled set: its ids and their labels, in order."""
    pairs = np.stack([labelled.ids, labelled.labels], axis=1).astype("<i8")
    return hashlib.sha256(pairs.tobytes()).hexdigest()


def answers_sha256(asked: Sequence[int], answers: Mapping[int, int]) -> str:
    """Return the SHA-256 of what was asked one by one, and of what came back.

    Args:
        asked: samples in the order of the questions.
        answers: their labels; those without one are left out.

    """
    return hashlib.sha256(json.dumps([[sample, answers.get(sample)] for sample in asked]).encode()).hexdigest()


def inputs_sha256(
    labelled: Labelled, results: Mapping[str, str] | None = None, added_classes: Sequence[str] = ()
) -> dict[str, str]:
    """Return the hashes of what a stage is made from, by name.

    Args:
        labelled: the labelled set of its cycle.
        results: hashes of results of other stages, by name; ``previous`` is the train stage of the cycle before.
        added_classes: names of the classes that were added while labelling.

    """
    found = {"labelled": labelled_sha256(labelled)}
    if added_classes:
        found["classes"] = hashlib.sha256(json.dumps(list(added_classes)).encode()).hexdigest()
    return found | dict(results or {})
