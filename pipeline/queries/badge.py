"""BADGE: a diverse batch of candidates that would each pull hard at the network's last layer."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common.losses import get_loss
from pipeline.queries.base import QueryStrategy
from pipeline.queries.distances import squared_distances
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState


@dataclass(frozen=True)
class GradientEmbedding:
    """g_i = a_i ⊗ h_i: the gradient of sample i's loss by the last layer's weights, kept as its two factors.

    Args:
        a: the loss's derivatives by the outputs, up to a factor, float64 ``[U, C]``.
        h: the layer's inputs, float64 ``[U, d]``.

    """

    a: np.ndarray
    h: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, outputs: np.ndarray, loss: str) -> "GradientEmbedding":
        """Embed samples as though each had the label that the network predicts, ŷ = argmax_c f_c.

        a = -r, the loss's gradient by the outputs up to a factor of the loss, which k-means++ does not see.

        Args:
            features: h(x), ``[U, d]``.
            outputs: f(x), ``[U, C]``.
            loss: the loss that trained the network.

        """
        f = outputs.astype(np.float64)
        y = np.eye(f.shape[1])[f.argmax(axis=1)]  # [U, C]
        return cls(-get_loss(loss).pseudo_residual(f).of(y), features.astype(np.float64))

    @cached_property
    def squared_norms(self) -> np.ndarray:
        """‖g_i‖² = ‖a_i‖² ‖h_i‖², ``[U]``."""
        return np.einsum("uc,uc->u", self.a, self.a) * np.einsum("ud,ud->u", self.h, self.h)

    def squared_distances(self, j: int) -> np.ndarray:
        """‖g_i - g_j‖² = ‖g_i‖² + ‖g_j‖² - 2 (a_i·a_j)(h_i·h_j) for all i, ``[U]``."""
        products = (self.a @ self.a[j]) * (self.h @ self.h[j])
        return squared_distances(self.squared_norms, products, self.squared_norms[j])


class Badge(QueryStrategy):
    """Batch active learning by diverse gradient embeddings: k-means++ seeding over ``GradientEmbedding``.

    As in the authors' code, the first sample is the one with the longest embedding, the most uncertain; the paper's
    text names k-means++, whose first center is uniform. Memory is O(U(d + C)).

    Source: Ash et al. 2020, algorithm 1.
    """

    name = "badge"
    description = "diverse gradients of the last layer under the predicted label (k-means++ seeding)"
    source = "Ash et al. 2020"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates by k-means++ seeding."""
        check_count(state.candidates, n)
        embedding = GradientEmbedding.of(state.features, state.outputs, state.loss)
        return select_in_order(state.candidates, k_means_plus_plus(embedding, n, state.rng))


def k_means_plus_plus(embedding: GradientEmbedding, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw centers: first the longest, then each with probability D²/Σ D², D the distance to the nearest center.

    When all that is left coincides with a center (Σ D² = 0), what is left is drawn uniformly.

    Source: Arthur & Vassilvitskii 2007 for the D² sampling; Ash et al. 2020, published code, for the first.

    Args:
        embedding: U samples.
        n: how many, at most U.
        rng: the only source of randomness.

    Returns:
        Positions ``[n]`` in the order drawn, none twice.

    """
    U = len(embedding.squared_norms)
    order = [int(np.argmax(embedding.squared_norms))]
    D2 = np.full(U, np.inf)
    while len(order) < n:
        D2 = np.minimum(D2, embedding.squared_distances(order[-1]))
        D2[order[-1]] = 0.0
        weights = D2 if D2.any() else np.isin(np.arange(U), order, invert=True).astype(float)
        order.append(int(rng.choice(U, p=weights / weights.sum())))
    return np.array(order)
