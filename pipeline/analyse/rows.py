"""What an analysis found, one number a row, as it stands in its CSV file."""

import csv
import io
import math
from collections.abc import Iterable
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One number and what it is of; what does not apply is None.

    Args:
        part: of the analysis.
        quantity: its name.
        value: the number; NaN where it is not defined.
        cycle: of the run.
        epoch: after which the weights were kept.
        batch: samples of a query.
        draw: number of a random query.
        outputs: whose f.
        labels: whose y.
        steps: of gradient descent.

    """

    part: str
    quantity: str
    value: float
    cycle: int | None = None
    epoch: int | None = None
    batch: int | None = None
    draw: int | None = None
    outputs: str | None = None
    labels: str | None = None
    steps: int | None = None


def to_csv(rows: Iterable[Any], kind: Any = Row) -> str:
    """Write rows as CSV; a number that is not defined is an empty cell.

    Args:
        rows: in the order of the file.
        kind: of named tuple that they are, with a ``value``.

    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    order = [name for name in kind._fields if name != "value"] + ["value"]
    writer.writerow(order)
    for row in rows:
        value = f"{row.value:.10g}" if math.isfinite(row.value) else ""
        cells = {**row._asdict(), "value": value}
        writer.writerow(["" if cells[name] is None else cells[name] for name in order])
    return text.getvalue()


def values(rows: Iterable[Any], quantity: str, **of: object) -> list[float]:
    """Return the values of a quantity, in order.

    Args:
        rows: all of them.
        quantity: which.
        **of: what other fields must be.

    """
    return [
        row.value
        for row in rows
        if row.quantity == quantity and all(getattr(row, name) == wanted for name, wanted in of.items())
    ]
