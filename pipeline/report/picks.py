"""What a run asked about, by who chose it: its strategy with a network, a grid of one class, or chance."""

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.run.events import Event
from pipeline.run.pool import INITIAL, Pool

Pick = tuple[int, int]
"""Id and class of a labelled sample."""
Groups = dict[int, tuple[Pick, ...]]
INITIAL_SET, BY_CHANCE, BY_GRID = "initial set", "drawn at random", "shown as a grid"
"""Names of what no strategy chose."""


class Picks(NamedTuple):
    """What was labelled of what a run asked about.

    Args:
        asked: by the network with which the strategy chose, in rank order; the initial set is that of ``INITIAL``.
        drawn: by chance after the initial set, as no network could choose, by round.
        grids: of grids, in which a person asked a network for the likeliest of one class, by network; and near-copies.

    """

    asked: Groups
    drawn: Groups
    grids: Groups


def picks_of(events: Iterable[Event]) -> Picks:
    """Return what became of every question of a run.

    Args:
        events: of the run.

    """
    events = list(events)
    known = Pool(0, events).known()
    found: tuple[dict[int, list[Pick]], ...] = ({}, {}, {})
    for event in events:
        if event["event"] != "query":
            continue
        round_ = event.get("cycle", INITIAL)
        network = event.get("network", round_)  # a run that nobody serves has one network a round, and says none
        if round_ == INITIAL or "initial" in event:
            group, key = 0, INITIAL
        elif "copies_of" in event:
            group, key = 2, round_
        elif network is None:
            group, key = 1, round_
        else:
            group, key = 2 if "grid" in event else 0, network
        found[group].setdefault(key, []).extend((s, known[s]) for s in event["ids"] if s in known)
    return Picks(*({key: tuple(picks) for key, picks in sorted(groups.items())} for groups in found))


def first_by(events: Iterable[Event]) -> str:
    """Return what chose a run's initial set; ``random`` where that was chance.

    Args:
        events: of the run.

    """
    return next((event["initial"] for event in events if "initial" in event), "random")
