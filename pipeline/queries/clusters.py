"""k-means for the strategies that group samples by the network's features before they choose."""

import warnings
from typing import NamedTuple

import numpy as np

SEEDS = 2**32


class Clusters(NamedTuple):
    """A partition of samples.

    Args:
        of: the cluster of each sample ``[N]``.
        centers: means of the clusters ``[k, d]``.

    """

    of: np.ndarray
    centers: np.ndarray


def k_means(points: np.ndarray, k: int, rng: np.random.Generator) -> Clusters:
    """Partition samples by Lloyd's algorithm from one k-means++ seeding, as scikit-learn does.

    Where there are fewer different samples than k, some clusters are empty.

    Args:
        points: ``[N, d]``.
        k: how many clusters, at most N.
        rng: the only source of randomness.

    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    fit = KMeans(k, n_init=1, random_state=int(rng.integers(SEEDS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different samples than k, which is no fault
        fit.fit(np.asarray(points, np.float64))
    return Clusters(fit.labels_.astype(int), fit.cluster_centers_)
