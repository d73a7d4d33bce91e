"""Where the engine computes: one device, or several that share the columns of the features.

Examples are split over the devices for the forward and backward pass, features are exchanged so that every device has
all rows of its own columns, and the tiles' sums are added up over the devices.  XLA inserts the exchanges.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linearize.errors import LinearizeError
from linearize.types import Array

AXIS = "parameters"


@dataclass(frozen=True)
class Devices:
    """The devices that compute one kernel.

    Args:
        members: as ``jax.devices()`` lists them.

    """

    members: tuple[Any, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.members)

    @property
    def platform(self) -> str:
        """``cpu``, ``gpu`` or ``tpu``."""
        return str(self.members[0].platform)

    @cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.members), (AXIS,))

    @cached_property
    def replicated(self) -> NamedSharding:
        """All of an array on every device."""
        return NamedSharding(self._mesh, PartitionSpec())

    @cached_property
    def rows(self) -> NamedSharding:
        """The first axis split."""
        return NamedSharding(self._mesh, PartitionSpec(AXIS))

    def block(self, block: Any) -> Any:
        """How a block is split: pieces by columns, factors of ghosts by rows."""
        by_columns = NamedSharding(self._mesh, PartitionSpec(None, AXIS))

        def by_rows(shape: Any) -> NamedSharding:
            return NamedSharding(self._mesh, PartitionSpec(*[None] * (len(shape.shape) - 2), AXIS, None))

        return type(block)(
            tuple(by_columns for _ in block.pieces),
            tuple(by_rows(shape) for shape in block.activations),
            tuple(by_rows(shape) for shape in block.cotangents),
        )

    def spread(self, arrays: Any) -> Any:
        """Put arrays whole on every device."""
        if self.count == 1:
            return jax.device_put(arrays, self.members[0])
        return jax.tree.map(lambda array: self._place(array, self.replicated), arrays)

    def split(self, x: np.ndarray) -> Array:
        """Split examples over the devices."""
        return jax.device_put(x, self.members[0]) if self.count == 1 else self._place(x, self.rows)

    def scalar(self, value: int) -> Array:
        """Put a 32-bit integer on every device."""
        return self.spread(np.asarray(value, np.int32))

    def zeros(self, block: Any) -> Any:
        """Make an empty block."""
        if self.count == 1:
            with jax.default_device(self.members[0]):
                return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), block)
        return jax.tree.map(_zeros, block, self.block(block))

    def fetch(self, array: Array) -> np.ndarray:
        """Bring an array that is whole on every device to the host, in float64."""
        local = array if self.count == 1 else array.addressable_data(0)
        return np.asarray(local, np.float64)

    def _place(self, array: Any, sharding: NamedSharding) -> Array:
        value = np.asarray(array)
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def _zeros(shape: Any, sharding: NamedSharding) -> Array:
    def part(index: Any) -> np.ndarray:
        sizes = [len(range(*along.indices(size))) for along, size in zip(index, shape.shape, strict=True)]
        return np.zeros(sizes, shape.dtype)

    return jax.make_array_from_callback(shape.shape, sharding, part)


def use(count: int | None = None) -> Devices:
    """Take the first devices of JAX's default backend, all of them where ``count`` is None.

    Args:
        count: how many.

    Raises:
        LinearizeError: there are not so many.

    """
    present = jax.devices()
    if count is not None and not 1 <= count <= len(present):
        raise LinearizeError(f"devices: expected 1 to {len(present)} of this machine's, got {count}")
    return Devices(tuple(present[:count]))
