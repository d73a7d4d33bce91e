"""Reading images between their points."""

from __future__ import annotations

import itertools
import math
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from migrator.ops.elementwise import clamp
from migrator.ops.registry import rule

BILINEAR = 0
NEAREST = 1
BICUBIC = 2
ZEROS = 0
REFLECTION = 2
SHARPNESS = -0.75
"""The constant of torch's cubic kernel."""


@rule("aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default")
def grid_sample(x: Array, grid: Array, mode: int, padding: int, align_corners: bool) -> Array:
    """The values of images at places between -1 and 1.

    Args:
        x: ``[N, C, spatial...]``.
        grid: ``[N, points..., spatial axes]``, the last spatial axis first.
        mode: 0 between the neighbours linearly, 1 the nearest, 2 cubic.
        padding: beyond the border 0 there are zeros, 1 it goes on, 2 the image is reflected.
        align_corners: whether -1 and 1 are the middles of the outermost points, not their edges.

    Returns:
        ``[N, C, points...]``.

    """
    sizes = x.shape[2:]
    flat = grid.reshape(grid.shape[0], -1, len(sizes))
    places = []
    for axis, size in enumerate(sizes):
        place = flat[..., len(sizes) - 1 - axis]
        place = (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2
        places.append(place if mode == BICUBIC else _inside(place, size, padding, align_corners))
    taps = [_taps(place, mode) for place in places]
    total = jnp.zeros((), x.dtype)
    for chosen in itertools.product(*taps):
        weight = math.prod((part for _, part in chosen), start=jnp.ones((), x.dtype))
        index = jnp.zeros((), int)
        for (near, _), size in zip(chosen, sizes, strict=True):
            spot = _inside(near, size, padding, align_corners) if mode == BICUBIC else near
            weight = jnp.where((spot >= 0) & (spot <= size - 1), weight, 0.0)
            index = index * size + jnp.clip(spot, 0, size - 1).astype(int)
        values = jnp.take_along_axis(x.reshape(*x.shape[:2], -1), index[:, None], 2)
        total = total + values * weight[:, None]
    return total.reshape(*x.shape[:2], *grid.shape[1:-1])


def _inside(place: Array, size: int, padding: int, align_corners: bool) -> Array:
    """A place brought back between the borders, unless beyond them there are zeros."""
    if padding == ZEROS:
        return place
    if padding == REFLECTION:
        low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
        if span == 0:
            return jnp.zeros_like(place)
        offset = jnp.where(place - low < 0, low - place, place - low)
        flips = lax.stop_gradient(jnp.floor(offset / span))
        rest = offset - flips * span
        place = jnp.where(flips % 2 == 0, rest + low, span - rest + low)
    return clamp(place, 0, size - 1)


def _taps(place: Array, mode: int) -> list[tuple[Array, Array]]:
    """The points of one axis that are read, and their weights."""
    if mode == NEAREST:
        return [(lax.stop_gradient(jnp.round(place)), jnp.ones_like(place))]
    first = lax.stop_gradient(jnp.floor(place))
    past = place - first
    if mode == BILINEAR:
        return [(first, 1 - past), (first + 1, past)]
    outer, inner = [past + 1, 2 - past], [past, 1 - past]
    far = [((SHARPNESS * t - 5 * SHARPNESS) * t + 8 * SHARPNESS) * t - 4 * SHARPNESS for t in outer]
    near = [((SHARPNESS + 2) * t - (SHARPNESS + 3)) * t * t + 1 for t in inner]
    weights = [far[0], near[0], near[1], far[1]]
    return [(first + offset, weight) for offset, weight in zip((-1, 0, 1, 2), weights, strict=True)]


def resize_smoothed(
    x: Array,
    sizes: tuple[int, ...],
    align_corners: bool,
    scale_height: float | None = None,
    scale_width: float | None = None,
    *,
    reach: int,
) -> Array:
    """Images in another size; where it is smaller, each point is a mean of all that it stands for (``antialias=True``).

    Args:
        x: ``[N, C, H, W]``.
        sizes: the new H and W.
        align_corners: must be false; ``preflight`` refuses it, for torch's own result is the same in every row then.
        scale_height: new height over old one; the ratio of the sizes where there is none.
        scale_width: likewise.
        reach: over how many points the mean goes where the size stays: 2 linear, 4 cubic, 6 Lanczos.

    """
    scales = (scale_height, scale_width)
    rows, columns = (
        jnp.asarray(_shares(old, new, scale, reach), x.dtype)
        for old, new, scale in zip(x.shape[2:], sizes, scales, strict=True)
    )
    return jnp.einsum("nchw,ih,jw->ncij", x, rows, columns, precision=lax.Precision.HIGHEST)


def _shares(old: int, new: int, scale: float | None, reach: int) -> np.ndarray:
    """What each old point of an axis contributes to each new one ``[new, old]``."""
    step = 1 / scale if scale else old / new
    wide = max(step, 1.0)
    shares = np.zeros((new, old))
    for i in range(new):
        centre = step * (i + 0.5)
        first = max(int(centre - reach / 2 * wide + 0.5), 0)
        points = np.arange(first, min(int(centre + reach / 2 * wide + 0.5), old))
        weights = _bump((points - centre + 0.5) / wide, reach)
        shares[i, points] = weights / (weights.sum() or 1.0)
    return shares


def _bump(distance: np.ndarray, reach: int) -> np.ndarray:
    """The weight of a point at a distance: a triangle, a cubic (-0.5, as in Pillow), or Lanczos's window of three."""
    t = np.abs(distance)
    if reach == 2:
        return np.maximum(1 - t, 0)
    if reach == 4:
        outer = -0.5 * (((t - 5) * t + 8) * t - 4)
        return np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, np.where(t < 2, outer, 0))
    return np.where(t < 3, np.sinc(t) * np.sinc(t / 3), 0)


for _name, _reach in (("bilinear", 2), ("bicubic", 4), ("lanczos", 6)):
    rule(f"aten._upsample_{_name}2d_aa.default")(partial(resize_smoothed, reach=_reach))
