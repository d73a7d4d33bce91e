"""Who answers a query."""

from pipeline.oracle.base import Oracle
from pipeline.oracle.simulated import SimulatedOracle

__all__ = ["Oracle", "SimulatedOracle"]
