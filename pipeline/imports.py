"""Importing code that a user names, from an installed package or from the working directory."""

import importlib
import sys
from pathlib import Path
from typing import Any

from common.naming import did_you_mean
from common.settings import kept
from pipeline.errors import PipelineError
from pipeline.foreign import line_of


def imported(what: str, module: str, attribute: str) -> Any:
    """Return an object of a module.

    Args:
        what: it is taken for and its name, for messages.
        module: is looked for in the working directory, too.
        attribute: its name in the module, with dots.

    Raises:
        PipelineError: it cannot be imported, or is not there; one line.

    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; a console script does not
    try:
        with kept():
            found = origin = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{what} cannot be imported: {line_of(error)}"
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            reason += "; run in the directory that it lies in, or name that directory in PYTHONPATH"
        raise PipelineError(reason) from error
    for part in attribute.split("."):
        try:
            with kept():
                there, found = hasattr(found, part), getattr(found, part, found)
        except (Exception, SystemExit) as error:  # a module may have a __getattr__, and an object a property
            raise PipelineError(f"{what} cannot be read: {line_of(error)}") from error
        if not there:
            where = getattr(origin, "__file__", "built in")
            raise PipelineError(
                f"{what}: there is no {attribute} in the module {module} ({where}){did_you_mean(part, dir(found))}"
            )
    return found
