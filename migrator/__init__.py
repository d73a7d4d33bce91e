"""Port any PyTorch model in evaluation mode to Flax, and prove it down to its gradients."""

from migrator.convert import migrate, refresh
from migrator.errors import MigratorError, PortMismatch
from migrator.port import Migrated
from migrator.report import Check, Report
from migrator.source import apply_source, to_source
from migrator.store import load, save
from migrator.to_torch import to_state_dict
from migrator.verify import verify

__all__ = [
    "Check",
    "Migrated",
    "MigratorError",
    "PortMismatch",
    "Report",
    "apply_source",
    "load",
    "migrate",
    "refresh",
    "save",
    "to_source",
    "to_state_dict",
    "verify",
]
