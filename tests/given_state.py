"""A state of which everything is given: what strategies see in it is what a test says."""

import numpy as np

from linearize import Kernel
from linearize.posterior import Dense, Targets
from pipeline.progress import silent
from pipeline.queries import QueryState
from pipeline.run.pool import Labelled

FIRST, FIRST_LABELLED = 50, 1000
"""Ids are no positions."""


def given_state(
    features=None,
    labelled_features=None,
    *,
    outputs=None,
    labelled_outputs=None,
    last_layer=None,
    service=None,
    progress=None,
    loss="cross-entropy",
    seed=0,
):
    """Inputs are ids, from ``FIRST`` for candidates and from ``FIRST_LABELLED`` for the labelled."""
    given = {FIRST: (features, outputs), FIRST_LABELLED: (labelled_features, labelled_outputs)}

    def known(ids, what):
        first = FIRST_LABELLED if len(ids) and ids[0] >= FIRST_LABELLED else FIRST
        return np.asarray(given[first][what])[ids - first]

    sizes = [max(len(array) for array in (*arrays, ()) if array is not None) for arrays in given.values()]
    if service is not None and not any(sizes):
        sizes = [len(service.posterior.f), len(service.posterior.labelled.Y)]
    return QueryState(
        candidates=np.arange(sizes[0]) + FIRST,
        labelled=Labelled(np.arange(sizes[1]) + FIRST_LABELLED, np.zeros(sizes[1], int)),
        num_classes=3 if outputs is None else np.shape(outputs)[1],
        loss=loss,
        rng=np.random.default_rng(seed),
        inputs=lambda ids: ids,
        evaluate=lambda ids: known(ids, 1),
        embed=lambda ids: (known(ids, 0), None),
        linearize=lambda *_: service,
        last_layer=lambda: last_layer,
        progress=progress or silent,
    )


def posterior_of(labelled, pool, ridge=0.0, classes=1):
    """The posterior of Θ = h·h' with given features, with ``classes`` rows of features an example."""
    H, P = (np.asarray(rows, float).reshape(-1, np.shape(rows)[-1]) for rows in (labelled, pool))
    L, U, C = len(H) // classes, len(P) // classes, max(classes, 2)
    targets = Targets(np.zeros((L, C)), np.zeros((U, C)), np.ones((L, C)))
    return Dense.init(Kernel(H @ H.T, H @ P.T, P @ P.T), targets, ridge=ridge)
