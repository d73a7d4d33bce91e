"""What to do with a run that stopped: the command that goes on, and the one that goes on with other settings."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.restarts import LOWER

AGAIN = "it failed so before, and will again as it is"


def other_settings(run: Path, failure: Mapping[str, Any]) -> str:
    """Return the command that goes on from a failed cycle with other settings.

    Args:
        run: the run's directory.
        failure: its ``failed`` event.

    """
    setting = f"train.max_lr={failure['max_lr'] * LOWER:.3g}" if "max_lr" in failure else "KEY=VALUE"
    return f"pipeline fork {shlex.quote(str(run))} --at-cycle {failure['cycle']} --set {setting}"


def advice(run: Path, failure: Mapping[str, Any], *, again: bool, theirs: bool) -> str:
    """Return what to do after a failure, to be added to its message.

    Args:
        run: the run's directory.
        failure: its ``failed`` event.
        again: whether the same cycle failed for the same reason before.
        theirs: whether code that the user named is at fault, which can be mended.

    """
    if theirs:
        return f"; mend it and go on with: pipeline resume {shlex.quote(str(run))} --trust-code"
    before = f"{AGAIN}; " if again else ""
    return f"; {before}with other settings a new run goes on from there: {other_settings(run, failure)}"
