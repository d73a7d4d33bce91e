"""BAIT: a batch after which the last layer's weights are known best where the pool needs them."""

from dataclasses import dataclass

import numpy as np

from common.losses import get_loss
from pipeline.queries.base import QueryStrategy
from pipeline.queries.distances import rounded
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

RIDGE = 1.0
"""λ, as in the published code."""
OVERSAMPLE = 2
MOST_CLASSES = 32
"""Classes whose weights take part; blocks of them are kept for every candidate."""
MOST_WEIGHTS = 2048
"""Weights that take part: three square matrices of them are kept, 96 MiB."""


@dataclass(frozen=True)
class Fisher:
    """The Fisher information of each sample in the last layer's weights, kept as its two factors.

    I(x) = Σ_c p_c g_c g_cᵀ = A_x ⊗ h hᵀ, g_c the gradient of the loss by the weights under the label c.

    Args:
        A: diag p - p pᵀ, the Fisher information of the logits ``[N, C, C]``.
        h: the layer's inputs ``[N, d]``.

    """

    A: np.ndarray
    h: np.ndarray

    def mean(self, rows: slice) -> np.ndarray:
        """Return the mean of some samples' I(x) ``[C d, C d]``."""
        A, h = self.A[rows], self.h[rows]
        C, d = A.shape[1], h.shape[1]
        total = np.empty((C, d, C, d))
        for b in range(C):
            for c in range(C):
                total[b, :, c] = (h * A[:, b, c, None]).T @ h
        return total.reshape(C * d, C * d) / len(h)


class Bait(QueryStrategy):
    """Choose the batch that makes tr(M⁻¹ F) small, a bound on the error of the last layer's likeliest weights.

    F = 1/U Σ_{x in U} I(x),   M = λI + 1/L Σ_{x labelled} I(x) + Σ_{x chosen} I(x),   I(x) = (diag p - p pᵀ) ⊗ h hᵀ

    Greedily the 2n candidates that lower the trace most are chosen, then all but n given up again, each time the one
    that raises it least.  The published code weighs the labelled by L/(L + n) and each candidate by n/(L + n), and
    takes the labelled into F.  p are the class probabilities whatever the loss.  It does not forbid copies: a copy of
    what was chosen is worth less than that, but may be worth more than anything else.

    With C d weights it takes O((C d)³ + U (C d)² + n U (C² d + C³)) and, beside three square matrices of C d, four
    arrays ``[U, C, C]``.  Both are bounded, by an approximation: where there are more than 32 classes, only the
    weights of the 32 with the largest Σ_x p_c (1 - p_c) take part, and where there are more than 2048 weights, only so
    many directions of the features, the leading ones of a principal component analysis without centring.  It is then
    the Fisher information of a subspace of the weights.

    Source: Ash et al. 2021, algorithm 1.
    """

    name = "bait"
    description = "a batch after which the Fisher information of the last layer tells most about the pool (greedy)"
    source = "Ash et al. 2021"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates, in the order in which they were first chosen."""
        check_count(state.candidates, n)
        labelled = state.evaluate(state.inputs(state.labelled.ids))
        p = np.concatenate([state.probabilities, get_loss(state.loss).probabilities.of(labelled)])
        h = np.concatenate([state.features, state.labelled_features]).astype(np.float64)
        U = len(state.candidates)
        fisher = fisher_information(p, h, pool=U)
        return select_in_order(state.candidates, forward_backward(fisher, U, n))


def fisher_information(p: np.ndarray, h: np.ndarray, *, pool: int) -> Fisher:
    """Return the Fisher information of each sample in the weights that take part.

    Args:
        p: class probabilities ``[N, C]``.
        h: inputs of the last layer ``[N, d]``.
        pool: U; the first U samples say which classes and directions take part.

    """
    spread = (p[:pool] * (1 - p[:pool])).sum(axis=0)
    classes = np.sort(np.argsort(-spread, kind="stable")[:MOST_CLASSES])
    p = p[:, classes]
    A = p[:, :, None] * (np.eye(len(classes))[None] - p[:, None, :])  # [N, C, C]
    most = MOST_WEIGHTS // len(classes)
    if h.shape[1] > most:
        _, directions = np.linalg.eigh(h[:pool].T @ h[:pool])  # in rising order
        h = h @ directions[:, -most:]
    return Fisher(A, h)


def forward_backward(fisher: Fisher, pool: int, n: int) -> np.ndarray:
    """Choose n samples of the pool by greedily adding ``OVERSAMPLE`` times as many and taking the others away again.

    Args:
        fisher: of the pool, then of the labelled samples ``[U + L]``.
        pool: U.
        n: how many, at most U.

    Returns:
        Positions in the pool ``[n]`` in the order in which they were added; of equals the first is added, and the
        last taken away.

    """
    state = _Trace(fisher, pool)
    order: list[int] = []
    while len(order) < min(OVERSAMPLE * n, pool):
        gains = state.changes(np.arange(pool), +1)
        gains[order] = -np.inf
        order.append(int(np.argmax(gains)))
        state.update(order[-1], +1)
    while len(order) > n:
        losses = state.changes(np.array(order), -1)
        gone = len(order) - 1 - int(np.argmin(losses[::-1]))
        state.update(order.pop(gone), -1)
    return np.array(order)


class _Trace:
    """tr(M⁻¹ F) under additions of ±I(x) to M, by what each candidate needs of M⁻¹ and G = M⁻¹ F M⁻¹ alone.

    With Q = 1 ⊗ h ``[C d, C]``, I(x) = Q A Qᵀ, B = Qᵀ M⁻¹ Q and D = Qᵀ G Q, both ``[C, C]``, Woodbury's identity says

        (M ± Q A Qᵀ)⁻¹ = M⁻¹ ∓ M⁻¹ Q N Qᵀ M⁻¹,  N = A (1 ± B A)⁻¹,    tr(M⁻¹ F) changes by ∓ tr(N D).

    B and D of all candidates follow from W = M⁻¹ Q and Z = G Q of the one that is added, in O(U C² d).
    """

    def __init__(self, fisher: Fisher, pool: int) -> None:
        self.A, self.h = fisher.A[:pool], fisher.h[:pool]
        self.C, self.d = self.A.shape[1], self.h.shape[1]
        F, M = fisher.mean(slice(pool)), RIDGE * np.eye(self.C * self.d)
        if len(fisher.h) > pool:
            M += fisher.mean(slice(pool, None))
        self.inverse = np.linalg.inv(M)  # M⁻¹
        self.G = self.inverse @ F @ self.inverse
        self.B, self.D = self._blocks(self.inverse), self._blocks(self.G)  # [U, C, C]

    def changes(self, rows: np.ndarray, sign: int) -> np.ndarray:
        """Return by how much the trace falls when samples are added, or rises when they are taken away."""
        return rounded(np.einsum("ubc,ucb->u", self._N(rows, sign), self.D[rows]))

    def update(self, row: int, sign: int) -> None:
        """Add ±I(x) of one sample to M."""
        N = sign * self._N(np.array([row]), sign)[0]  # [C, C]
        W, Z = (matrix.reshape(-1, self.d) @ self.h[row] for matrix in (self.inverse, self.G))
        W, Z = W.reshape(-1, self.C), Z.reshape(-1, self.C)  # [C d, C]
        own = N @ self.D[row] @ N
        P, R = self._products(W), self._products(Z)  # [U, C, C], Qᵀ W and Qᵀ Z
        crossed = P @ N @ R.transpose(0, 2, 1)
        self.B -= P @ N @ P.transpose(0, 2, 1)
        self.D += P @ own @ P.transpose(0, 2, 1) - crossed - crossed.transpose(0, 2, 1)
        self.inverse -= W @ (N @ W.T)
        self.G += np.hstack([W, Z]) @ np.vstack([own @ W.T - N @ Z.T, -N @ W.T])

    def _N(self, rows: np.ndarray, sign: int) -> np.ndarray:
        """A (1 ± B A)⁻¹ of some samples ``[B, C, C]``."""
        A = self.A[rows]
        return A @ np.linalg.inv(np.eye(self.C)[None] + sign * self.B[rows] @ A)

    def _products(self, W: np.ndarray) -> np.ndarray:
        """Qᵀ W of every sample ``[U, C, C]``."""
        each = W.reshape(self.C, self.d, self.C).transpose(1, 0, 2).reshape(self.d, -1)
        return (self.h @ each).reshape(-1, self.C, self.C)

    def _blocks(self, matrix: np.ndarray) -> np.ndarray:
        """Qᵀ X Q of every sample ``[U, C, C]``."""
        blocks = np.empty((len(self.h), self.C, self.C))
        parts = matrix.reshape(self.C, self.d, self.C, self.d)
        for b in range(self.C):
            for c in range(self.C):
                blocks[:, b, c] = np.einsum("ud,ud->u", self.h @ parts[b, :, c], self.h)
        return blocks
