"""Layers in which parameters meet data in every way that we could think of, and random networks made of them."""

from layers import (
    control_flow,
    convolutions,
    elementwise,
    functions,
    movement,
    normalisation,
    products,
    sharing,
    special,
)
from layers.base import LAYERS, D, T, chains, inputs, network

__all__ = [
    "LAYERS",
    "D",
    "T",
    "chains",
    "control_flow",
    "convolutions",
    "elementwise",
    "functions",
    "inputs",
    "movement",
    "network",
    "normalisation",
    "products",
    "sharing",
    "special",
]
