"""Labels that nobody has given, where an experiment of the literature reads them: each use is named, and counted.

A class-balanced initial set, queries balanced by class ("pseudo-AL") and the choice of a median network know what
active learning is there to find out, and flatter every strategy.  They are for repeating a paper with the simulated
annotator alone; no strategy sees a label through them.

Source: Kong et al. 2021, sections 4.1 and 4.3.1.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from pipeline.config import RunConfig
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import QueryState, QueryStrategy, Selection, select_in_order, validated_query
from pipeline.run.events import Event
from trainer.data import DataSet

BALANCED = "balanced"
"""The initial set with equally many samples of each class."""
COUNT = "hidden_labels"
"""What the event of a question says of how many labels were read that nobody had given."""


def check_hidden(config: RunConfig, data: DataSet) -> None:
    """Refuse sizes that cannot be shared out by class, or classes that have too few samples.

    Args:
        config: of the run.
        data: its data set.

    Raises:
        PipelineError: they cannot.

    """
    query, C = config.query, data.num_classes
    sizes = [("query.n_init", query.n_init)] * (query.initial == BALANCED)
    sizes += [("query.size" if query.retrain_every is None else "query.retrain_every", query.answers)] * query.balanced
    for name, size in sizes:
        if size % C:
            raise PipelineError(f"{name}: expected a multiple of the {C} classes, to be shared out, got {size}")
    if not sizes:
        return
    least = int(np.bincount(data.labels("train"), minlength=C).min())
    first = query.n_init // C if query.initial == BALANCED else 0
    wanted = first + (query.answers // C * (config.cycles - 1) if query.balanced else 0)
    if wanted > least:
        raise PipelineError(
            f"query: {wanted} samples of each class are wanted, but the smallest class of {config.data.name} has "
            f"{least}: ask for fewer or run fewer cycles"
        )


def balanced_samples(labels: np.ndarray, classes: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Draw samples in random order, passing over those of a class that has its share already.

    Args:
        labels: of all samples, hidden ``[N]``.
        classes: C.
        n: how many, a multiple of C.
        rng: draws the order.

    Returns:
        Ids ``[n]``, and how many labels were read of samples that are not among them.

    """
    order = rng.permutation(len(labels))
    of = labels[order]
    nth = np.empty(len(order), int)
    for c in range(classes):
        rows = np.flatnonzero(of == c)
        nth[rows] = np.arange(len(rows))
    taken = np.flatnonzero(nth < n // classes)
    return order[taken], int(taken[-1]) + 1 - len(taken)


def query_by_class(strategy: QueryStrategy, state: QueryState, labels: np.ndarray, n: int) -> Selection:
    """Ask for equally many of each class: a strategy chooses from one pool a class, and does not know which is which.

    Source: Kong et al. 2021, section 4.3.1.

    Args:
        strategy: who chooses.
        state: the cycle's.
        labels: of the candidates, hidden ``[U]``.
        n: how many, a multiple of C.

    Raises:
        RunFailedError: a pool has too few candidates, or the strategy broke its contract.

    """
    pools = tuple(np.flatnonzero(labels == c) for c in range(state.num_classes))
    each = n // len(pools)
    if (least := min(map(len, pools))) < each:
        raise RunFailedError(
            f"query.by_class: expected {each} candidates of each class, but one has {least} among the {len(labels)} "
            "candidates: a larger --subset-size draws more"
        )
    if strategy.takes_pools:
        return validated_query(strategy, replace(state, pools=pools), n)
    chosen = []
    for pool in pools:
        own = validated_query(strategy, replace(state, candidates=state.candidates[pool]), each)
        chosen.append(pool[np.argsort(-own.candidate_scores, kind="stable")[:each]])
    return select_in_order(state.candidates, np.stack(chosen, axis=1).reshape(-1))


def hidden_labels(events: Iterable[Event]) -> int:
    """Return how many labels a run read that nobody had given when it read them.

    Args:
        events: of the run.

    """
    return sum(int(event.get(COUNT, 0)) for event in events if event["event"] == "query")


def hidden_uses(config: RunConfig) -> Iterator[str]:
    """Yield, one line each, for what a run reads labels that nobody has given.

    Args:
        config: of the run.

    """
    flatters = "which flatters every strategy; people's answers do not come so"
    if config.query.initial == BALANCED:
        yield f"hidden labels: the initial set has equally many samples of each class, {flatters}"
    if config.query.balanced:
        yield f"hidden labels: each query has equally many samples of each class (pseudo active learning), {flatters}"
    if config.query.initial_models:
        yield (
            f"hidden labels: of {config.query.initial_models} networks on the initial set the one of median accuracy "
            "on unlabelled training samples asks first"
        )
