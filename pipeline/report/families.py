"""Paired tests between strategies, corrected as declared families."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.statistics import (
    FEWEST_SEEDS,
    LEVEL,
    Band,
    holm,
    seeds_needed,
    smallest_corrected,
    student_t,
    wilcoxon,
)


@dataclass(frozen=True)
class PairTest:
    """Two strategies compared by area under the curve at their common seeds.

    Args:
        a, b: the strategies.
        difference: of the areas, a − b; None without common seeds.
        zeros: seeds without a difference.
        direction: which has the larger ranks: 1 for a, −1 for b, 0 for neither.
        p, corrected: before and after Holm's correction over the family.
        smallest: the smallest corrected p that this test could have reached.
        exact: whether p is exact.

    """

    a: str
    b: str
    difference: Band | None
    zeros: int
    direction: int
    p: float
    corrected: float
    smallest: float
    exact: bool

    @property
    def n(self) -> int:
        """Common seeds."""
        return self.difference.n if self.difference else 0

    @property
    def can_decide(self) -> bool:
        """Whether the test could have reached a corrected p below 0.05 with at least six seeds."""
        return self.n >= FEWEST_SEEDS and self.smallest < LEVEL

    @property
    def winner(self) -> str | None:
        """The strategy that may be called better; None when the test did not decide or mean and ranks disagree."""
        if self.difference is None or self.n < FEWEST_SEEDS or self.corrected >= LEVEL:
            return None
        if self.difference.mean * self.direction <= 0:
            return None
        return self.a if self.direction > 0 else self.b


@dataclass(frozen=True)
class Family:
    """Tests that are corrected together.

    Args:
        tests: its members.

    """

    tests: tuple[PairTest, ...]

    @property
    def can_decide(self) -> bool:
        """Whether any of its tests could have decided."""
        return any(test.can_decide for test in self.tests)

    @property
    def smallest(self) -> float:
        """The smallest corrected p that any of its tests could have reached."""
        return min(test.smallest for test in self.tests)

    @property
    def seeds(self) -> tuple[int, int]:
        """Fewest and most common seeds."""
        counts = [test.n for test in self.tests]
        return min(counts), max(counts)

    @property
    def needed(self) -> int:
        """Seeds with which each of its tests could decide."""
        return seeds_needed(len(self.tests))


def family_of(pairs: Sequence[tuple[str, str]], values: Mapping[str, Mapping[int, float]]) -> Family:
    """Test every pair at its common seeds and correct over all of them.

    Args:
        pairs: names, each pair once.
        values: what is compared, by name and seed (or block).

    """
    differences = [[values[a][key] - values[b][key] for key in values[a] if key in values[b]] for a, b in pairs]
    tests = [wilcoxon(d) for d in differences]
    corrected = holm([test.p for test in tests])
    smallest = smallest_corrected([test.n for test in tests])
    return Family(
        tuple(
            PairTest(a, b, student_t(d) if d else None, test.zeros, test.direction, test.p, after, least, test.exact)
            for (a, b), d, test, after, least in zip(pairs, differences, tests, corrected, smallest, strict=True)
        )
    )
