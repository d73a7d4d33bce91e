"""Compiled code kept on disk, so that the second run of a network does not compile it again."""

import os
from pathlib import Path
from typing import Any

import jax

from common.cache import user_cache

SHORTEST = 0.2
"""Seconds of compilation from which on its result is kept."""


def keep_compiled() -> Path | None:
    """Keep what XLA compiles in the user's cache directory, unless JAX has been told where, or the directory is closed.

    Returns:
        The directory; None where nothing is kept.

    """
    config: Any = jax.config
    chosen = config.jax_compilation_cache_dir
    if chosen:
        return Path(chosen)
    path = user_cache("xla")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(path, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    return path
