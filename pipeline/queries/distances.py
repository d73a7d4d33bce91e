"""Squared distances from norms and products, without the noise that their difference leaves of equal points."""

import numpy as np

SAME = 1e-12
"""‖u - v‖²/(‖u‖² + ‖v‖²) up to which u and v count as equal: a distance of 1e-6, the rounding of float32 features."""


def squared_distances(norms: np.ndarray, products: np.ndarray, center_norms: np.ndarray | float) -> np.ndarray:
    """‖u‖² + ‖v‖² - 2 u·v, and exactly 0 where u and v differ by no more than rounding.

    Args:
        norms: ‖u‖², float64, broadcast against the products.
        products: u·v, float64.
        center_norms: ‖v‖², float64, likewise.

    Returns:
        Squared distances of the products' shape, each 0 or positive.

    """
    total = norms + center_norms
    squared = total - 2 * products
    return np.where(squared > SAME * total, squared, 0.0)
