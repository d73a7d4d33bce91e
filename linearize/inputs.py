"""What the service is given: a network, its labelled set, its pool, and what the candidates are called."""

from typing import NamedTuple

import numpy as np

from linearize.errors import LinearizeError, NonFiniteError
from linearize.types import ApplyFn, Variables


class Network(NamedTuple):
    """What was linearised."""

    apply_fn: ApplyFn
    variables: Variables


class Data(NamedTuple):
    """What it was linearised on."""

    X: np.ndarray  # [L, ...]
    Y: np.ndarray  # [L, C]
    pool: np.ndarray  # [U, ...]
    ids: np.ndarray  # [U]
    f_U: np.ndarray  # [U, C], the network's outputs


def check_inputs(X: np.ndarray, Y: np.ndarray, pool: np.ndarray) -> None:
    """Check that inputs and targets are there, finite and of one shape.

    Args:
        X: labelled inputs ``[L, ...]``.
        Y: targets ``[L, C]``.
        pool: candidates ``[U, ...]``.

    Raises:
        LinearizeError: they are not.

    """
    if Y.ndim != 2 or len(X) != len(Y) or not len(X) or not len(pool) or X.shape[1:] != pool.shape[1:]:
        raise LinearizeError(
            f"expected X [L, ...], one-hot Y [L, C] and a pool [U, ...] of the same example shape, none empty; got "
            f"{X.shape}, {Y.shape} and {pool.shape}"
        )
    if Y.shape[1] < 2:
        raise LinearizeError("Y: expected a column for each of at least two classes, got one: nothing is left to learn")
    for name, array in (("X", X), ("Y", Y), ("the pool", pool)):
        check_finite(name, array)


def check_finite(name: str, array: np.ndarray) -> None:
    """Check that an array has neither NaN nor infinity.

    Args:
        name: what it is called in a message.
        array: numbers.

    Raises:
        NonFiniteError: it has.

    """
    if not np.isfinite(array).all():
        raise NonFiniteError(f"{name} contains NaN or infinity: remove or mend these examples")


def check_ids(ids: np.ndarray | None, U: int) -> np.ndarray:
    """Return the candidates' ids ``[U]``; their positions when absent.

    Args:
        ids: integers or strings ``[U]``.
        U: candidates.

    Raises:
        LinearizeError: they are not one integer or string each, or one stands twice.

    """
    names = np.arange(U) if ids is None else np.asarray(ids)
    if names.shape != (U,) or names.dtype.kind not in "iuU":
        raise LinearizeError(f"ids: expected {U} integers or strings, got {names.dtype} {list(names.shape)}")
    if len(np.unique(names)) != U:
        raise LinearizeError("ids: expected every id once, but some stand twice")
    return names
