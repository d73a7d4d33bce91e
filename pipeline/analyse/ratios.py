"""How nearly a batch is worth what its members are worth alone: dynamicAL's approximation ratio at a run's weights."""

import numpy as np

from linearize import Examples
from linearize.dynamics import DYNAMICS, approximation_ratio
from linearize.gradients import squared_norm
from pipeline.analyse.opening import OpenedRun, Weights
from pipeline.analyse.rows import Row


def ratio_rows(run: OpenedRun, weights: Weights, ids: np.ndarray, queries: dict[int, list[np.ndarray]]) -> list[Row]:
    """Measure the training dynamics of the labelled set at some weights, and the ratio of random queries.

    R(Q|S) = Σ_Q (‖g‖² + 2 g·G) / (2 G·G_Q + ‖G_Q‖²), with the gradients of the run's own loss and the labels that the
    network predicts; G·G_Q and ‖G_Q‖² are sums of inner products.

    Source: Wang et al. 2022, eqs. 8 and 14; fig. 4.

    Args:
        run: what is looked at.
        weights: of which of its networks.
        ids: of pool images ``[M]``.
        queries: by size b, positions among them ``[b]``.

    """
    gradients, labelled, images = run.gradients(weights), run.labelled(weights.cycle), run.context.images
    S = Examples(len(labelled), lambda rows: images(labelled.ids[rows]))
    G = gradients.total(S, labelled.labels)
    products = gradients.products(Examples(len(ids), lambda rows: images(ids[rows])), G)  # [M]
    pairs = gradients.gram(images(ids))  # [M, M]
    whole = float(np.trace(pairs))
    share = DYNAMICS * float(np.abs(products).sum()) / whole if whole else float("nan")
    own = Row("ratio", "training dynamics", squared_norm(G), cycle=weights.cycle, epoch=weights.epoch)
    rows = [own, own._replace(quantity="share of 2 g·G", value=share)]
    for b, drawn in queries.items():
        ratios = [approximation_ratio(products[Q], pairs[np.ix_(Q, Q)]) for Q in drawn]
        defined = [ratio for ratio in ratios if np.isfinite(ratio)]
        for name, of in (("mean", np.mean), ("median", np.median)):
            value = float(of(defined)) if defined else float("nan")
            rows.append(own._replace(quantity=f"approximation ratio, {name}", value=value, batch=b))
    return rows
