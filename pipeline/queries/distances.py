"""Squared distances from norms and products, without the noise that their difference leaves of equal points."""

import numpy as np

SAME = 1e-12
"""‖u - v‖²/(‖u‖² + ‖v‖²) up to which u and v count as equal: a distance of 1e-6, the rounding of float32 features."""
NOISE = 1 << 12  # a float64 has 52 bits behind its first one; the last 12 of them are rounded away


def rounded(x: np.ndarray) -> np.ndarray:
    """Round numbers to 41 significant bits, so that those which differ by rounding alone are equal.

    Of equals the first is then taken, in whatever order a machine adds up.

    Args:
        x: float64; infinities stay what they are.

    """
    bits = np.asarray(x, np.float64).view(np.int64)
    return ((bits + NOISE // 2) & -NOISE).view(np.float64)


def squared_distances(norms: np.ndarray, products: np.ndarray, center_norms: np.ndarray | float) -> np.ndarray:
    """‖u‖² + ‖v‖² - 2 u·v, and exactly 0 where u and v differ by no more than rounding; equal ones are equal.

    Args:
        norms: ‖u‖², float64, broadcast against the products.
        products: u·v, float64.
        center_norms: ‖v‖², float64, likewise.

    Returns:
        Squared distances of the products' shape, each 0 or positive, as of ``rounded``.

    """
    total = norms + center_norms
    squared = total - 2 * products
    return rounded(np.where(squared > SAME * total, squared, 0.0))
