"""Sites whose gradient is a sum of outer products: matrix products and convolutions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from linearize.types import Array

Offset = tuple[tuple[range, ...], tuple[range, ...]]
"""One point of a kernel: the positions of A that it reads along each axis, and those of G that they go to."""


@dataclass(frozen=True)
class Factors:
    """The factored form of a site's gradient: w's gradient at kernel point δ is Σ_t A[t + δ] ⊗ G[t].

    Args:
        inputs: positions of A along each axis.
        outputs: positions of G along each axis.
        K: channels of A.
        O: channels of G.
        offsets: for every point of the kernel, which positions of A meet which of G.

    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    K: int
    O: int  # noqa: E741 - the formula's letter
    offsets: tuple[Offset, ...]

    @property
    def entries(self) -> int:
        """Entries of A and G of one example."""
        return int(np.prod(self.inputs)) * self.K + int(np.prod(self.outputs)) * self.O

    @property
    def multiplications(self) -> int:
        """Multiplications of the two products of one pair of examples."""
        return int(np.prod(self.inputs)) ** 2 * self.K + int(np.prod(self.outputs)) ** 2 * self.O

    @property
    def meetings(self) -> int:
        """Entries of the two products that meet for one pair of examples."""
        return sum(int(np.prod([len(axis) for axis in outputs], dtype=int)) ** 2 for _, outputs in self.offsets)


@dataclass(frozen=True)
class DenseSite:
    """A matrix product of data and a weight: z[g,t,o] = Σ_k A[g,t,k] w[g,k,o]."""

    position: int
    operand: int
    data_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    contract: tuple[tuple[int, ...], tuple[int, ...]]  # axes of data, of weight
    batch: tuple[tuple[int, ...], tuple[int, ...]]  # axes of data, of weight

    @property
    def label(self) -> str:
        """The product's sizes."""
        g, t, k, o = self.sizes
        return f"dense {f'{g}×' if g > 1 else ''}{t}×{k}→{o}"

    @cached_property
    def sizes(self) -> tuple[int, int, int, int]:
        """G groups, T positions, K channels in, O channels out."""
        g = _size(self.data_shape, self.batch[0])
        k = _size(self.data_shape, self.contract[0])
        t = int(np.prod(self.data_shape, dtype=np.int64)) // (g * k)
        o = int(np.prod(self.weight_shape, dtype=np.int64)) // (g * k)
        return g, t, k, o

    @property
    def multiplications(self) -> int:
        """G T K O."""
        return int(np.prod(self.sizes))

    def _free(self, which: int) -> tuple[int, ...]:
        rank = len((self.data_shape, self.weight_shape)[which])
        return tuple(axis for axis in range(rank) if axis not in (*self.batch[which], *self.contract[which]))

    def _canonical(self, operands: Sequence[Array], G: Sequence[Array]) -> tuple[Array, Array]:
        """A ``[g, T, K]`` and G ``[g, T, O]``."""
        g, t, k, o = self.sizes
        data = operands[1 - self.operand]
        A = data.transpose(*self.batch[0], *self._free(0), *self.contract[0]).reshape(g, t, k)
        if self.operand == 1:  # z's axes are batch, free axes of the left operand, free axes of the right
            return A, G[0].reshape(g, t, o)
        return A, G[0].reshape(g, o, t).transpose(0, 2, 1)

    def gradient(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """Σ_t A[g,t,k] G[g,t,o], in the shape of w.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        A, cotangent = self._canonical(operands, G)
        canonical = jnp.einsum("gtk,gto->gko", A, cotangent)
        order = (*self.batch[1], *self.contract[1], *self._free(1))
        moved = canonical.reshape([self.weight_shape[axis] for axis in order])
        return moved.transpose(np.argsort(order))

    def features(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """The gradient's entries, flat.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        A, cotangent = self._canonical(operands, G)
        return jnp.einsum("gtk,gto->gko", A, cotangent).reshape(-1)

    @property
    def factors(self) -> Factors | None:
        """One kernel point that joins equal positions; none for several groups."""
        g, t, k, o = self.sizes
        whole = (range(t),)
        return Factors((t,), (t,), k, o, ((whole, whole),)) if g == 1 else None

    def activations(self, operands: Sequence[Array]) -> Array:
        """A ``[T, K]``."""
        _, t, k, _ = self.sizes
        data = operands[1 - self.operand]
        return data.transpose(*self.batch[0], *self._free(0), *self.contract[0]).reshape(t, k)

    def cotangents(self, G: Sequence[Array]) -> Array:
        """G ``[T, O]``."""
        _, t, _, o = self.sizes
        return G[0].reshape(t, o) if self.operand == 1 else G[0].reshape(o, t).T


@dataclass(frozen=True)
class ConvSite:
    """A convolution of data with a kernel, of any rank, stride, padding, dilation and number of groups."""

    position: int
    operand: int
    params: Any  # of lax.conv_general_dilated
    data_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def label(self) -> str:
        """Kernel, channels, stride and output positions."""
        lhs, rhs, out = self.params["dimension_numbers"]
        groups = self.params["feature_group_count"]
        strides = self.params["window_strides"]
        kernel = times(tuple(self.kernel_shape[axis] for axis in rhs[2:]))
        places = times(tuple(self.output_shape[axis] for axis in out[2:]))
        extra = (f" /{times(strides)}" if max(strides) > 1 else "") + (f" groups {groups}" if groups > 1 else "")
        return f"conv {kernel} {self.data_shape[lhs[1]]}→{self.kernel_shape[rhs[0]]}{extra} at {places}"

    @property
    def _kernel(self) -> tuple[int, ...]:
        return tuple(self.kernel_shape[axis] for axis in self.params["dimension_numbers"][1][2:])

    @property
    def _places(self) -> tuple[int, ...]:
        return tuple(self.output_shape[axis] for axis in self.params["dimension_numbers"][2][2:])

    @property
    def multiplications(self) -> int:
        """Kernel entries times output positions."""
        frames = self.output_shape[self.params["dimension_numbers"][2][0]]
        return int(np.prod(self.kernel_shape, dtype=np.int64)) * int(np.prod(self._places)) * frames

    def _channels_last(self, operands: Sequence[Array], G: Sequence[Array]) -> tuple[Array, Array]:
        """Data ``[n, space..., C]``, dilated and padded, and G ``[n, places..., O]``."""
        lhs, _, out = self.params["dimension_numbers"]
        data = operands[0].transpose(lhs[0], *lhs[2:], lhs[1])
        edges = zip(self.params["padding"], self.params["lhs_dilation"], strict=True)
        config = [(0, 0, 0), *[(low, high, dilation - 1) for (low, high), dilation in edges], (0, 0, 0)]
        padded = lax.pad(data, jnp.zeros((), data.dtype), config)
        return padded, G[0].transpose(out[0], *out[2:], out[1])

    def _gradient(self, operands: Sequence[Array], G: Sequence[Array]) -> tuple[Array, bool]:
        """∂g/∂w ``[rows, columns, f, c, o]`` or, when the flag is set, ``[f, columns, c, rows, o]``.

        ``columns`` runs over the kernel's last axis, ``rows`` over its others, f over groups.  Patches are cut along
        the last axis alone; the other offsets are products of their own, or shifts of G where the strides are 1.
        """
        data, cotangent = self._channels_last(operands, G)
        groups, kernel, places = self.params["feature_group_count"], self._kernel, self._places
        strides, gaps = self.params["window_strides"], self.params["rhs_dilation"]
        axes, c, o = len(kernel), data.shape[-1] // groups, cotangent.shape[-1] // groups
        columns = [
            lax.slice_in_dim(data, i * gaps[-1], i * gaps[-1] + (places[-1] - 1) * strides[-1] + 1, strides[-1], axes)
            for i in range(kernel[-1])
        ]
        X = jnp.stack(columns, axes + 1)  # [n, space..., places[-1], columns, C]
        rows = list(product(*(range(size) for size in kernel[:-1])))
        if all(stride == 1 for stride in strides[:-1]):
            shifted = []
            for row in rows:
                before = [gap * at for gap, at in zip(gaps, row, strict=False)]
                spans = zip(X.shape[1:axes], before, places, strict=False)
                config = [(0, 0, 0), *[(low, length - low - size, 0) for length, low, size in spans], *[(0, 0, 0)] * 2]
                shifted.append(lax.pad(cotangent, jnp.zeros((), cotangent.dtype), config))
            Gs = jnp.stack(shifted, axes + 1).reshape(-1, len(rows), groups, o)
            return jnp.einsum("mkfc,mrfo->fkcro", X.reshape(-1, kernel[-1], groups, c), Gs), True
        flat = cotangent.reshape(-1, groups, o)
        parts = []
        for row in rows:
            part = X
            for axis, at in enumerate(row):
                start, step = at * gaps[axis], strides[axis]
                part = lax.slice_in_dim(part, start, start + (places[axis] - 1) * step + 1, step, axis + 1)
            parts.append(jnp.einsum("mkfc,mfo->kfco", part.reshape(-1, kernel[-1], groups, c), flat))
        return jnp.stack(parts), False

    def gradient(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """∂g/∂w in the shape of the kernel.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        canonical, shifted = self._gradient(operands, G)
        rhs = self.params["dimension_numbers"][1]
        order = (3, 1, 2, 0, 4) if shifted else (0, 1, 3, 2, 4)  # to [rows, columns, c, f, o]
        ordered = canonical.transpose(order).reshape(
            *self._kernel, self.kernel_shape[rhs[1]], self.kernel_shape[rhs[0]]
        )
        places = (*rhs[2:], rhs[1], rhs[0])
        return ordered.transpose(np.argsort(places))

    def features(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """The gradient's entries, flat.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        return self._gradient(operands, G)[0].reshape(-1)

    @cached_property
    def factors(self) -> Factors | None:
        """Kernel points as shifts of positions; none for groups, dilated data, several frames or padding alone."""
        lhs, rhs, _ = self.params["dimension_numbers"]
        plain = self.params["feature_group_count"] == 1 and all(step == 1 for step in self.params["lhs_dilation"])
        if not plain or self.data_shape[lhs[0]] != 1:
            return None
        space = tuple(self.data_shape[axis] for axis in lhs[2:])
        lows = [low for low, _ in self.params["padding"]]
        steps = zip(self.params["window_strides"], self.params["rhs_dilation"], lows, strict=True)
        along = [
            [_meet(size, places, point, *step) for point in range(points)]
            for size, places, points, step in zip(space, self._places, self._kernel, steps, strict=True)
        ]
        offsets = tuple(
            (tuple(one[0] for one in point), tuple(one[1] for one in point))
            for point in product(*along)
            if all(len(one[0]) for one in point)
        )
        if not offsets:
            return None
        return Factors(space, self._places, self.data_shape[lhs[1]], self.kernel_shape[rhs[0]], offsets)

    def activations(self, operands: Sequence[Array]) -> Array:
        """A ``[space..., C]``."""
        lhs = self.params["dimension_numbers"][0]
        return operands[0].transpose(lhs[0], *lhs[2:], lhs[1])[0]

    def cotangents(self, G: Sequence[Array]) -> Array:
        """G ``[places..., O]``."""
        out = self.params["dimension_numbers"][2]
        return G[0].transpose(out[0], *out[2:], out[1])[0]


def _meet(space: int, places: int, point: int, stride: int, gap: int, pad: int) -> tuple[range, range]:
    """Which inputs a kernel's point reads along one axis, and for which outputs: input = stride t + gap point - pad."""
    shift = gap * point - pad
    first = max(0, -(shift // stride))  # the smallest t with stride t + shift >= 0
    last = min(places - 1, (space - 1 - shift) // stride)
    outputs = range(first, last + 1)
    return range(stride * first + shift, stride * last + shift + 1, stride) if outputs else range(0), outputs


class Params(dict[str, Any]):
    """A primitive's parameters, equal only to themselves: they hold values that cannot be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def _size(shape: Sequence[int], axes: Sequence[int]) -> int:
    return int(np.prod([shape[axis] for axis in axes], dtype=np.int64))


def times(sizes: Sequence[int]) -> str:
    """Write sizes as ``3×3``."""
    return "×".join(str(size) for size in sizes) or "scalar"
