"""Expected gradient length: candidates whose label would pull hard at the weights, averaged over what it may be."""

from dataclasses import replace

import numpy as np

from common.losses import get_loss
from linearize import ntk_blocks
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import QueryState

PORTION = 1024
"""Candidates whose blocks ``[C, C]`` are held at once."""


class ExpectedGradientLength(QueryStrategy):
    """Query by Σ_c p_c ‖∇_θ ℓ(x, c)‖ over all trainable weights.

    ‖∇_θ ℓ(x, c)‖² = r_cᵀ K(x,x) r_c,   K(x,x) = J(x) J(x)ᵀ,  J(x) = ∂f(x)/∂θ,  r_c = -∂ℓ(x, c)/∂f

    The block ``[C, C]`` of the tangent kernel does for the gradients of all C labels: C backward passes a candidate,
    and no gradient is kept.  No kernel of the labelled set is needed, and candidates come in portions.
    ``kernel.layers``, ``kernel.precision`` and ``kernel.memory_budget`` apply; ``kernel.head`` does not.  With
    cross-entropy the squared form is Tr[K (diag p - p pᵀ)].  Copies have the same score.

    Source: Settles & Craven 2008.
    """

    name = "egl"
    description = "longest expected gradient of the loss by all weights, over what the label may be"
    source = "Settles & Craven 2008"
    needs_port = True
    needs_gradients = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates of the longest expected gradient."""
        check_count(state.candidates, n)
        U, network = len(state.candidates), state.gradients
        options = replace(network.options, head="full")
        lengths = np.empty(U)
        for start in range(0, U, PORTION):
            rows = slice(start, start + PORTION)
            K = ntk_blocks(
                network.apply_fn,
                network.variables,
                state.inputs(state.candidates[rows]),
                options=options,
                progress=lambda done, _, start=start: state.progress(start + done, U),  # type: ignore[misc]
            )
            lengths[rows] = expected_length(state.outputs[rows], K, state.loss)
        return select_top(state.candidates, lengths, n)


class ExpectedGradientLengthOfTheLastLayer(QueryStrategy):
    """Query by Σ_c p_c ‖∇_W ℓ(x, c)‖ over the last layer's weights, without its biases.

    ∇_W ℓ(x, c) = -r_c hᵀ, so its length is ‖r_c‖ ‖h‖.  With cross-entropy r_c = e_c - p, and the squared form, Σ_c p_c
    ‖∇_W ℓ‖², would be (1 - ‖p‖²) ‖h‖².  Copies have the same score.

    Source: Settles & Craven 2008, for one layer.
    """

    name = "egl-last"
    description = "longest expected gradient of the loss by the last layer's weights, over what the label may be"
    source = "Settles & Craven 2008"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates of the longest expected gradient."""
        check_count(state.candidates, n)
        h = state.features.astype(np.float64)
        K = np.einsum("ud,ud->u", h, h)[:, None, None] * np.eye(state.num_classes)[None]
        return select_top(state.candidates, expected_length(state.outputs, K, state.loss), n)


def expected_length(outputs: np.ndarray, K: np.ndarray, loss: str) -> np.ndarray:
    """Return Σ_c p_c √(r_cᵀ K r_c) of each sample, ``[U]``, up to a factor that the loss alone decides.

    Args:
        outputs: f(x) ``[U, C]``.
        K: J(x) J(x)ᵀ ``[U, C, C]``.
        loss: that trained the network.

    """
    record = get_loss(loss)
    f = np.asarray(outputs, np.float64)
    pull, total = record.pseudo_residual(f), np.zeros(len(f))
    for c, p_c in enumerate(record.probabilities.of(f).T):
        r = pull.of(np.eye(f.shape[1])[np.full(len(f), c)])  # [U, C]
        total += p_c * np.sqrt(np.maximum(np.einsum("ub,ubc,uc->u", r, K, r), 0.0))
    return total
