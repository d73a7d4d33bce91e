"""Learning features from images without their labels."""

from trainer.pretraining import barlow_twins, byol, simclr, vicreg
from trainer.pretraining.base import Encoder, Method, Pretext

__all__ = ["DEFAULT_METHOD", "METHODS", "Encoder", "Method", "Pretext"]

METHODS: dict[str, Method] = {module.METHOD.name: module.METHOD for module in (simclr, byol, barlow_twins, vicreg)}
DEFAULT_METHOD = "vicreg"
"""Of what was tried at equal time, the best in mean (benchmarks/RESULTS.md)."""
