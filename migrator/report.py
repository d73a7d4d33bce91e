"""What was checked, with which tolerance, and what came out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from migrator.errors import CorruptPort


@dataclass(frozen=True)
class Check:
    """One comparison: passed when value ≤ tolerance.

    Args:
        name: what is compared.
        value: the difference.
        tolerance: its largest allowed value.

    """

    name: str
    value: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the value is a number within the tolerance."""
        return self.value <= self.tolerance


@dataclass(frozen=True)
class Report:
    """The record of a migration and, once ``verify`` has run, of its verification.

    Args:
        digest: of the graph.
        weights: fingerprint of graph and weights together; empty before verification.
        verified: whether every check passed.
        checks: the comparisons in the order in which they ran.
        notes: what was changed on the way in, such as a prefix removed from all names of the weights.
        parameters: number of trainable numbers.
        tensors: number of stored tensors.
        key_map: torch's qualified name -> key of the saved file.
        versions: of torch, jax and flax.
        seconds: what the migration and the verification took.

    """

    digest: str
    parameters: int
    tensors: int
    key_map: dict[str, str] = field(default_factory=dict, repr=False)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    weights: str = ""
    verified: bool = False
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Return the report of ``to_json``'s data.

        Args:
            data: what ``json.loads`` made of ``report.json``.

        Raises:
            CorruptPort: the data is not a report.

        """
        try:
            report = TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
        except (ValidationError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CorruptPort(f"report.json is not a report of this migrator ({reason})") from error
        texts = (*report.notes, *(check.name for check in report.checks))
        if not all(text.isprintable() for text in texts):
            raise CorruptPort("report.json holds text that cannot be printed")
        return report

    @property
    def proven(self) -> bool:
        """Whether it is the record of a verification that was passed."""
        return self.verified and bool(self.checks) and all(check.passed for check in self.checks)

    def summary(self) -> str:
        """Return one line for each note and each check."""
        lines = [f"note {note}" for note in self.notes]
        lines += [
            f"{'ok  ' if c.passed else 'FAIL'} {c.name}: {c.value:.3g} (at most {c.tolerance:.3g})" for c in self.checks
        ]
        return "\n".join(lines)
