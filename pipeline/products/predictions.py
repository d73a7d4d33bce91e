"""What a network says of many images, in pieces: classes, probabilities, and which of them to look at first."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.cells import safe_path, safe_text
from common.losses import Loss
from common.probabilities import entropy
from pipeline.products.tables import write_table

NAME = "predictions.csv"
COLUMNS = ("path", "predicted", "probability", "second", "second_probability", "margin", "entropy", "review_rank")
Outputs = Callable[[np.ndarray], np.ndarray]
"""Maps normalised inputs ``[n, C, H, W]`` to a network's outputs ``[n, C]``."""


class Judged(NamedTuple):
    """What is kept of the outputs for N samples: a few numbers each.

    Args:
        first: the likeliest class ``[N]``.
        second: the next one ``[N]``.
        p_first: probability of the first ``[N]``.
        p_second: of the second ``[N]``.
        entropy: of all probabilities, in nats ``[N]``.
        lead: of the first class's output over the second's, where probabilities are 1 and 0 ``[N]``.

    """

    first: np.ndarray
    second: np.ndarray
    p_first: np.ndarray
    p_second: np.ndarray
    entropy: np.ndarray
    lead: np.ndarray

    @classmethod
    def of(cls, outputs: np.ndarray, loss: Loss) -> "Judged":
        """Read outputs as the loss means them.

        Args:
            outputs: of a network ``[n, C]``, C at least 2.
            loss: that it was trained with.

        """
        p, rows = loss.probabilities.of(outputs), np.arange(len(outputs))
        order = np.lexsort((-outputs, -p), axis=1)  # by probability, then by output: a simplex has many zeros
        first, second = order[:, 0], order[:, 1]
        lead = outputs[rows, first] - outputs[rows, second]
        return cls(first, second, p[rows, first], p[rows, second], entropy(p), lead)

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Return several one after the other."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    @property
    def margin(self) -> np.ndarray:
        """How far the first class's probability is above the second's ``[N]``."""
        return np.asarray(self.p_first - self.p_second)

    def order(self) -> np.ndarray:
        """Return positions ``[N]``, least sure first: by margin, then by lead, then as they came."""
        return np.lexsort((self.lead, self.margin))


def judge(inputs: Iterable[np.ndarray], outputs: Outputs, loss: Loss) -> Judged:
    """Run a network over inputs piece by piece; no piece is kept.

    Args:
        inputs: normalised, ``[n, C, H, W]`` each; at least one.
        outputs: the network.
        loss: that it was trained with.

    """
    return Judged.joined([Judged.of(np.asarray(outputs(x), np.float64), loss) for x in inputs])


def write_predictions(
    path: Path,
    judged: Judged,
    classes: Sequence[str],
    name: Callable[[int], str],
    columns: Sequence[str] = (),
    more: Callable[[int], tuple[object, ...]] | None = None,
) -> int:
    """Write one row a sample, least sure first, and return how many.

    Args:
        path: the file.
        judged: the predictions.
        classes: names of the network's classes.
        name: gives the path of a sample by its position.
        columns: further columns.
        more: gives their cells, already safe.

    """
    names, margin = [safe_text(text) for text in classes], judged.margin

    def rows() -> Iterator[tuple[object, ...]]:
        for rank, i in enumerate(judged.order().tolist(), start=1):
            yield (
                safe_path(name(i)),
                names[judged.first[i]],
                f"{judged.p_first[i]:.6f}",
                names[judged.second[i]],
                f"{judged.p_second[i]:.6f}",
                f"{abs(margin[i]):.6f}",
                f"{abs(judged.entropy[i]):.6f}",
                rank,
                *(more(i) if more else ()),
            )

    return write_table(path, (*COLUMNS, *columns), rows())
