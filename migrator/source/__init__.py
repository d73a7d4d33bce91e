"""Ports as readable Flax source, which stands alone beside JAX and Flax."""

from migrator.source.check import check_source
from migrator.source.codegen import to_source
from migrator.source.run import apply_source

__all__ = ["apply_source", "check_source", "to_source"]
