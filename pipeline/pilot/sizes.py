"""How large a pilot is: test images, labels, cycles and seeds, from how much is labelled and from the time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.report.statistics import seeds_needed

FEW_TEST, FEWEST_TEST, MOST_TEST, TEST_SHARE = 100, 50, 1000, 0.3
"""Test images: fewer are said to be few, fewer are refused, the most that are drawn, and the share that is."""
SEEDS = 8
CYCLES, FEWEST_CYCLES = 6, 4
FEWEST_INITIAL, INITIAL_A_CLASS = 10, 2
LABELS, LABELS_A_CLASS = 140, 20
"""Labels at the end: the larger of the number and of that of each class, at most half of the candidates."""
CHOICE = 2
"""Candidates for each label at the end: where nearly all are labelled, every strategy asks for the same."""


class Sizes(NamedTuple):
    """How large one run of a pilot is.

    Args:
        test: images for testing.
        n_init: labels to begin with.
        query: labels asked for in a cycle.
        cycles: networks trained.

    """

    test: int
    n_init: int
    query: int
    cycles: int

    @property
    def labels(self) -> int:
        """Labels at the end."""
        return self.n_init + self.query * (self.cycles - 1)


class Fitted(NamedTuple):
    """What of a pilot fits into a time.

    Args:
        seeds: how many.
        cycles: networks trained in each run.
        minutes: that it takes.

    """

    seeds: int
    cycles: int
    minutes: float


def check_classes(name: str, counts: dict[str, int]) -> None:
    """Refuse labels that nothing can be learned or tested from.

    Args:
        name: of the data, for messages.
        counts: labelled images of each class.

    Raises:
        PipelineError: fewer than two classes have labels, or a class has one image alone.

    """
    there = [label for label, number in counts.items() if number]
    if len(there) < 2:
        got = f"{there[0]} alone" if there else "none"
        raise PipelineError(f"{name}: expected labels of at least two classes, got {got}: label some of another")
    if single := [label for label in there if counts[label] == 1]:
        names = ", ".join(single[:5]) + ", …" * (len(single) > 5)
        raise PipelineError(
            f"{name}: expected at least 2 labelled images of each class, one to learn from and one to test on, but "
            f"{names} {'has' if len(single) == 1 else 'have'} 1: label more, or leave the class out with --set "
            f"data.leave_out={','.join(single[:5])}"
        )


def choose(name: str, labelled: int, given_test: int, classes: int, given: dict[str, int]) -> Sizes:
    """Choose sizes from what there is.

    Args:
        name: of the data, for messages.
        labelled: images with a label.
        given_test: of these, those that the data itself has for testing; 0 where they are to be drawn.
        classes: how many there are.
        given: fields of ``Sizes`` that the user has chosen.

    Raises:
        PipelineError: too few images have a label; the message says how many it takes.

    """
    n_init = given.get("n_init", max(FEWEST_INITIAL, INITIAL_A_CLASS * classes))
    least = CHOICE * (n_init + FEWEST_CYCLES - 1)
    test = given_test or given.get("test") or min(max(FEW_TEST, round(TEST_SHARE * labelled)), MOST_TEST)
    if not given_test and "test" not in given:
        test = max(FEWEST_TEST, min(test, labelled - max(least, CHOICE * 2 * n_init)))
    pool = labelled - test
    if pool < least or test < FEWEST_TEST:
        needed = least + FEWEST_TEST
        missing = max(least - pool, 0) + max(FEWEST_TEST - test, 0)
        raise PipelineError(
            f"{name}: expected at least {needed} labelled images for {classes} classes ({least} to choose among, "
            f"{FEWEST_TEST} to test on), got {pool} and {test}: label {missing} more"
        )
    end = min(pool // CHOICE, max(LABELS, LABELS_A_CLASS * classes))
    cycles = given.get("cycles", min(CYCLES, end - n_init + 1))
    query = given.get("query", max(1, (end - n_init) // (cycles - 1)) if cycles > 1 else 1)
    sizes = Sizes(test, n_init, query, cycles)
    if cycles < FEWEST_CYCLES:
        raise PipelineError(f"--cycles: expected at least {FEWEST_CYCLES}, to see a curve, got {cycles}")
    if sizes.labels > pool:
        raise PipelineError(
            f"{name}: {n_init} labels to start with and {cycles - 1} times {query} are {sizes.labels}, but there are "
            f"{pool} to choose among: ask for fewer"
        )
    return sizes


def how_many_seeds(strategies: Sequence[str], asked: int | None) -> int:
    """Return how many seeds each strategy runs at.

    Args:
        strategies: those that are compared with ``random``.
        asked: what ``--seeds`` says.

    Raises:
        PipelineError: so few that no difference could be shown, whatever its size.

    """
    fewest = seeds_needed(len(strategies))
    seeds = max(SEEDS, fewest) if asked is None else asked
    if seeds < fewest:
        raise PipelineError(
            f"--seeds: expected at least {fewest}, with which a difference from random can be shown at all, got {seeds}"
        )
    return seeds


def fit(
    seconds: Callable[[int, int], float], minutes: float, seeds: int, cycles: int, fewest_seeds: int, keep: bool = False
) -> Fitted:
    """Return the largest pilot that fits into a time: seeds are given up first, as far as they may, then cycles.

    Args:
        seconds: that so many seeds and cycles take.
        minutes: that there are.
        seeds: wanted.
        cycles: wanted.
        fewest_seeds: with which a difference can be shown.
        keep: whether the number of cycles is the user's own and stays.

    Raises:
        PipelineError: the smallest does not fit either; the message says what it takes.

    """
    least = cycles if keep else min(cycles, FEWEST_CYCLES)
    tried = [(number, cycles) for number in range(seeds, fewest_seeds - 1, -1)]
    tried += [(fewest_seeds, number) for number in range(cycles - 1, least - 1, -1)]
    for number, each in tried:
        if (taken := seconds(number, each) / 60) <= minutes:
            return Fitted(number, each, taken)
    number, each = tried[-1]
    raise PipelineError(
        f"--minutes: expected at least {seconds(number, each) / 60:.0f}, which {number} seeds of {each} cycles take "
        f"here (measured just now), got {minutes:g}: give more, or a smaller network or --subset-size"
    )
