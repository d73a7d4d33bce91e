"""Many architectures of a package, ported and verified: a table with one row each."""

from migrator.survey import run
from migrator.survey.run import PACKAGES, architectures, measure, survey
from migrator.survey.table import Row

__all__ = ["PACKAGES", "Row", "architectures", "measure", "run", "survey"]
