"""Ports as readable Flax source, which stands alone beside JAX and Flax."""

from migrator.source.author import apply_source, to_source
from migrator.source.check import check_source

__all__ = ["apply_source", "check_source", "to_source"]
