"""A service's state in one file: written as a whole or not at all, read without executing anything."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.files import replacing
from common.npz import read_arrays
from common.reading import parse_json, why
from linearize.errors import LinearizeError
from linearize.types import Variables

FORMAT = "linearize.LookAhead 3"


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write an npz file as a whole or not at all.

    Args:
        path: the file.
        **arrays: by name.

    """
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def write_state(path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a service's state.

    Args:
        path: the file.
        meta: plain values.
        arrays: by name.

    Raises:
        OSError: it cannot be written.

    """
    write_npz(path, meta=np.array(json.dumps({"format": FORMAT, **meta})), **arrays)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what ``write_state`` was given.

    Args:
        path: the file.

    Raises:
        LinearizeError: there is no such file, or it is another one.

    """
    expected = f"{path}: expected a file that LookAhead.save wrote"
    try:
        arrays = read_arrays(path)
        meta = parse_json(str(arrays.pop("meta")))
        found = meta.get("format")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise LinearizeError(f"{expected}; cannot read it ({why(error)})") from error
    if found != FORMAT:
        raise LinearizeError(f"{expected}; its format is {found!r}, not {FORMAT!r}: fit the service again")
    return meta, arrays


def fingerprint(variables: Variables) -> str:
    """Return a hex digest of a network's collections: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables)):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
