"""What a network process does while the first labels are given, so that the first network is there sooner.

It ports and linearises the network as it is before any training.  Nothing of it is kept but what PyTorch and JAX do
once in a process: they load their parts, and compile what the first network needs, too.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from linearize import LookAhead, Sample
from pipeline.queries.validated_query import covariance_of
from pipeline.run.context import RunContext
from pipeline.run.stages.migrate import EXAMPLES, Porter
from trainer.targets import one_hot


class _CalledError(Exception):
    """There is an order now."""


def rehearse(context: RunContext, porter: Porter, called: Callable[[], bool]) -> None:
    """Port and linearise an untrained network, of which only the time is of use; end soon where that is not needed.

    Whatever goes wrong is no matter here: it goes wrong again with the first network, which says so.

    Args:
        context: the run's constants.
        porter: ports the networks of this process, too.
        called: whether there is an order, which comes first.

    """
    with suppress(Exception):
        _rehearse(context.trial, porter, called)


def _rehearse(trial: RunContext, porter: Porter, called: Callable[[], bool]) -> None:
    strategy, query = trial.strategy, trial.config.query
    if not strategy.needs_port or called():
        return
    n = min(query.n_init, len(trial.data.train) - 1)
    ids = np.arange(min(n + query.subset, len(trial.data.train)))
    labelled, candidates = ids[:n], ids[n:]
    X = trial.images(labelled)  # [N, ...]
    port = porter(trial, trial.network(), X[:EXAMPLES])
    if not strategy.needs_kernel or called():
        return

    def progress(done: int, total: int) -> None:
        if called():
            raise _CalledError

    made_up = np.arange(n) % trial.data.num_classes
    covariance = covariance_of(strategy, query.look_ahead, query.answers, len(candidates))
    LookAhead.fit(
        port.apply_fn,
        port.variables,
        X,
        one_hot(made_up, trial.data.num_classes),
        trial.images(candidates),
        trial.config.kernel_options,
        progress,
        full=covariance != "none",
        sample=Sample(query.references) if covariance == "sampled" and query.references else None,
    )
