"""Where what can be computed again is kept between commands: the user's cache directory."""

import os
from pathlib import Path


def user_cache(name: str) -> Path:
    """Return a folder of this project in the user's cache directory; nothing is made.

    Args:
        name: of the folder.

    Raises:
        RuntimeError: the user's home directory is not known.

    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ntk-lookahead" / name
