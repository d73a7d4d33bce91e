"""Eigenvalues of many symmetric matrices that share a block, by one factorisation of that block.

K_g = [[A, B_g], [B_gᵀ, D_g]], A = V Λ Vᵀ.  By Haynsworth's inertia additivity K_g has as many eigenvalues above μ as Λ
has, and the Schur complement S_g(μ) = D_g - μ - (Vᵀ B_g)ᵀ (Λ - μ)⁻¹ (Vᵀ B_g) has above 0.  A trial μ so takes m G² + G³
for a group of G, where the eigenvalues of K_g take (m + G)³.

The r-th eigenvalue is where an eigenvalue s of S crosses 0.  With x = -(A - μ)⁻¹ B w, w its eigenvector, ds/dμ is
-1 - ‖x‖², and each entry of x says how much of that is owed to which pole, an eigenvalue of A; the next trial is the
root of the function with the two nearest poles that has value and slopes of s.  Counts keep the wanted eigenvalue in a
bracket throughout; what leaves it or shrinks it too slowly is replaced by its middle.

Source: Haynsworth 1968 for the count; Li 1993, "the middle way", for the function, there of a secular equation (G = 1).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linearize.types import Float64

EPSILON = float(np.finfo(np.float64).eps)
ROUNDING = 8.0
"""Two trials that are nearer than so many roundings of the largest eigenvalue are one."""
ENTRIES = 2**18
"""Entries of the borders of groups that are tried at once: 2 MiB, so that they stay in a processor's cache."""
CLOSE = 0.05
"""A trial this much nearer to a pole than the one before goes to the pole's other side instead."""
MOST_SLOW = 2
"""Trials in turn that do not halve the bracket; a bisection follows."""
STEPS = 300
"""Trials at most; bisection alone takes 55."""


@dataclass(frozen=True)
class Bordered:
    """The matrices K_g, in the eigenvectors of the block that they share.

    Args:
        values: eigenvalues of A, the highest first ``[m]``; those whose eigenvectors no border reaches may be left out
            where they are 0.
        borders: Vᵀ B_g ``[g, m, G]``.
        corners: D_g ``[g, G, G]``.
        rows: of K_g, n: m + G, or more where zeros were left out.

    """

    values: Float64
    borders: Float64
    corners: Float64
    rows: int

    @classmethod
    def of_kernel(cls, A: Float64, B: Float64, corners: Float64) -> "Bordered":
        """Factor the shared block of a kernel.

        Args:
            A: symmetric ``[n, n]``.
            B: the borders side by side ``[n, g G]``.
            corners: ``[g, G, G]``.

        """
        values, V = np.linalg.eigh(A)
        groups, G = corners.shape[:2]
        borders = (V[:, ::-1].T @ B).reshape(len(A), groups, G).transpose(1, 0, 2)
        return cls(values[::-1], np.ascontiguousarray(borders), corners, len(A) + G)

    @classmethod
    def of_features(cls, F: Float64, groups: Float64, scale: float = 1.0) -> "Bordered":
        """Factor the shared rows of kernels s F Fᵀ, by the smaller of F Fᵀ and FᵀF.

        Args:
            F: shared rows ``[n, d]``.
            groups: rows of the groups ``[g, G, d]``.
            scale: s.

        """
        n, (_, G, d) = len(F), groups.shape
        rows, corners = groups.reshape(-1, d), scale * groups @ groups.transpose(0, 2, 1)
        if n <= d:
            return cls.of_kernel(scale * F @ F.T, scale * F @ rows.T, corners)
        squares, W = np.linalg.eigh(F.T @ F)  # A has these and 0, whose eigenvectors no border reaches
        borders = scale * np.sqrt(np.maximum(squares, 0.0))[:, None] * (W.T @ rows.T)
        borders = borders[::-1].reshape(d, -1, G).transpose(1, 0, 2)
        return cls(scale * squares[::-1], np.ascontiguousarray(borders), corners, n + G)

    @cached_property
    def scale(self) -> Float64:
        """What no eigenvalue of K_g exceeds ``[g]``."""
        return max(float(self.values[0]), 0.0) + np.maximum(np.trace(self.corners, axis1=1, axis2=2), 0.0)

    @cached_property
    def resolution(self) -> Float64:
        """What is rounding of K_g's largest eigenvalue ``[g]``; an eigenvalue below it is 0 as far as can be told."""
        return (self.rows + 2 * ROUNDING) * EPSILON * self.scale

    def count_above(self, mu: Float64) -> np.ndarray:
        """Return how many eigenvalues of each K_g are above μ, ``[g]``.

        Args:
            mu: above 0 ``[g]``, none of the eigenvalues of A.

        """
        found = np.empty(len(mu), int)
        for part in self._parts(np.arange(len(mu))):
            found[part] = self._above(part, mu[part])[0]
        return found

    def eigenvalue(self, index: int | np.ndarray) -> Float64:
        """Return the r-th largest eigenvalue of each K_g, all of which are at least 0 but for rounding, ``[g]``.

        Args:
            index: r, from 1 to n, one for all or one a group ``[g]``.

        """
        r = np.broadcast_to(index, len(self.borders))
        found = np.empty(len(r))
        for part in self._parts(np.arange(len(r))):
            found[part] = self._search(part, r[part])
        return np.where(found > self.resolution, found, 0.0)

    def _parts(self, groups: np.ndarray) -> list[np.ndarray]:
        _, m, G = self.borders.shape
        most = max(1, ENTRIES // (max(m, G) * G))
        return [groups[start : start + most] for start in range(0, len(groups), most)]

    def _bracket(self, part: np.ndarray, r: np.ndarray) -> tuple[Float64, Float64]:
        """λ_r(A) and λ_{r-G}(A), between which that of K_g lies by interlacing."""
        m, G = self.borders.shape[1:]
        values = np.maximum(self.values, 0.0)
        low = np.where(r <= m, values[np.minimum(r, m) - 1], 0.0)
        above = r - G  # the eigenvalue of A that K_g's cannot exceed, where there is one
        high = np.where(above > m, 0.0, values[np.clip(above, 1, m) - 1])
        return low, np.where(above < 1, self.scale[part], high)

    def _search(self, part: np.ndarray, r: np.ndarray) -> Float64:
        low, high = self._bracket(part, r)
        least = ROUNDING * EPSILON * self.scale[part]
        mu, _ = self._across(low, high, low, np.full(len(r), np.nan))
        mu = np.where(np.isnan(mu), (low + high) / 2, mu)
        width, slow = high - low, np.zeros(len(r), int)
        open_ = np.flatnonzero(width > 2 * least)
        for _ in range(STEPS):
            if not len(open_):
                break
            at, step = mu[open_], least[open_]
            above, proposed = self._above(part[open_], at, r[open_])
            enough = above >= r[open_]
            low[open_[enough]], high[open_[~enough]] = at[enough], at[~enough]
            lo, hi = low[open_], high[open_]
            settled = np.abs(proposed - at) <= step
            proposed, single = self._across(lo, hi, at, proposed)
            settled &= single
            lo, hi = np.where(settled, at, lo), np.where(settled, at, hi)
            low[open_], high[open_] = lo, hi
            slow[open_] = np.where(hi - lo > width[open_] / 2, slow[open_] + 1, 0)
            width[open_] = np.where(slow[open_] == 0, hi - lo, width[open_])
            middle = (slow[open_] > MOST_SLOW) | np.isnan(proposed)
            slow[open_[middle]] = 0
            mu[open_] = np.where(middle, (lo + hi) / 2, np.clip(proposed, lo + step, hi - step))
            open_ = open_[(hi - lo) > 2 * step]
        return np.asarray((low + high) / 2)

    def _across(self, low: Float64, high: Float64, mu: Float64, proposed: Float64) -> tuple[Float64, np.ndarray]:
        """Correct a proposal where eigenvalues of A lie in the bracket, poles, and say whether none does.

        Between several the middle two decide; what goes close to the only one has its root behind it, as a rule, and
        counts close to a pole of which S holds a large share would be rounding.
        """
        rising, last = -self.values, len(self.values) - 1
        first = np.searchsorted(rising, -high, side="right")  # of those below the upper end
        count = np.searchsorted(rising, -low, side="left") - first
        j = np.clip(first + count // 2, min(1, last), last)
        several = (self.values[j] + self.values[np.maximum(j - 1, 0)]) / 2
        pole = self.values[np.clip(first, 0, last)]
        towards = ~((proposed - pole) * (mu - pole) > CLOSE * (mu - pole) ** 2)  # or it is not known
        behind = np.where(mu < pole, (pole + high) / 2, (low + pole) / 2)
        one = np.where(towards, behind, proposed)
        return np.where(count > 1, several, np.where(count == 1, one, proposed)), count == 0

    def _above(self, part: np.ndarray, mu: Float64, r: np.ndarray | None = None) -> tuple[np.ndarray, Float64]:
        """Count eigenvalues above μ, and propose where the r-th is; NaN where no eigenvalue of S says."""
        G, borders = self.corners.shape[-1], self.borders[part]
        gap = self.values[None] - mu[:, None]  # [g, m]
        gap = np.where(gap == 0, -(np.finfo(float).tiny ** 0.5), gap)
        solved = borders / gap[:, :, None]  # (Λ - μ)⁻¹ Vᵀ B
        S = self.corners[part] - mu[:, None, None] * np.eye(G)[None] - borders.transpose(0, 2, 1) @ solved
        if r is None:
            return (gap > 0).sum(axis=1) + (np.linalg.eigvalsh(S) > 0).sum(axis=1), mu
        s, W = np.linalg.eigh(S)
        shared = (gap > 0).sum(axis=1)
        q = r - shared  # the q-th largest of S crosses 0 where the r-th of K_g is
        column = np.clip(G - q, 0, G - 1)[:, None]
        w = np.take_along_axis(W, column[:, None], axis=2)  # [g, G, 1]
        proposed = self._root(mu, gap, (solved @ w)[:, :, 0] ** 2, np.take_along_axis(s, column, axis=1)[:, 0])
        return shared + (s > 0).sum(axis=1), np.where((q >= 1) & (q <= G), proposed, np.nan)

    def _root(self, mu: Float64, gap: Float64, slopes: Float64, s: Float64) -> Float64:
        """Return the root of c + b/(y - p) - a/(P - y), which has value and slopes of s at μ; p and P are poles.

        Args:
            mu: μ ``[g]``.
            gap: Λ - μ ``[g, m]``.
            slopes: what each eigenvalue of A takes off ds/dμ ``[g, m]``; -1 is left of it without any.
            s: ``[g]``.

        """
        m = gap.shape[1]
        shared = (gap > 0).sum(axis=1)
        v = np.take_along_axis(gap, np.clip(shared - 1, 0, m - 1)[:, None], axis=1)[:, 0]  # P - μ
        u = -np.take_along_axis(gap, np.clip(shared, 0, m - 1)[:, None], axis=1)[:, 0]  # μ - p
        over, under = np.where(gap > 0, slopes, 0.0).sum(axis=1), np.where(gap > 0, 0.0, slopes).sum(axis=1)
        with np.errstate(all="ignore"):
            a, b = v**2 * (over + 1), u**2 * under
            one = mu + v - a / (s + a / v)  # no pole below
            one = np.where(s + a / v > 0, one, -np.inf)
            c, W = s + a / v - b / u, u + v
            B = c * W - a - b
            root = np.sqrt(np.maximum(B * B + 4 * c * b * W, 0.0))
            both = mu - u + np.where(B < 0, 2 * b * W / (root - B), (B + root) / (2 * c))
            t = s - b / u + u  # no pole above: -y is the other part
            highest = mu - u + np.where(t < 0, 2 * b / (np.sqrt(t * t + 4 * b) - t), (t + np.sqrt(t * t + 4 * b)) / 2)
        return np.where(shared == 0, highest, np.where(shared == m, one, both))
