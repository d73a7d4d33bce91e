"""Which images each step of an epoch sees: one pass over all of them, or as many steps as were asked for."""

from typing import Any

import torch
from torch import Tensor


class Stream:
    """An endless stream of passes over images, each in a fresh random order, cut into batches of one size.

    A batch may reach over the end of a pass; where it is larger than the number of images it holds some of them again.

    Args:
        count: number of images, at least 1.
        size: of a batch.
        generator: of the orders.

    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self.count, self.size, self.generator = count, size, generator
        self.left = torch.empty(0, dtype=torch.int64)

    def next(self) -> Tensor:
        """Return the positions of the next batch ``[size]``."""
        while len(self.left) < self.size:
            self.left = torch.cat([self.left, torch.randperm(self.count, generator=self.generator)])
        rows, self.left = self.left[: self.size], self.left[self.size :]
        return rows

    def state(self) -> dict[str, Any]:
        """Return what the next batches depend on beside the generator."""
        return {"left": self.left}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self.left = state["left"]


class Epochs:
    """The batches of each epoch.

    An epoch is one pass over the images in a fresh random order, cut into steps of equal size to within one image; or,
    where its steps are a number of their own, so many batches of a ``Stream``.

    Args:
        count: number of images.
        size: the most of them in one step of a pass; of a stream, as many in each.
        steps: of an epoch.
        streamed: whether these are a number of their own.
        generator: of the orders.

    """

    def __init__(self, count: int, size: int, steps: int, streamed: bool, generator: torch.Generator) -> None:
        self.count, self.steps, self.generator = count, steps, generator
        self.stream = Stream(count, size, generator) if streamed else None
        self.order = torch.empty(0, dtype=torch.int64)
        self.taken = steps  # steps of the present epoch

    @property
    def over(self) -> bool:
        """Whether an epoch has ended, or none has begun."""
        return self.taken == self.steps

    @property
    def images(self) -> int:
        """How many images an epoch sees, those that it sees again counted again."""
        return self.count if self.stream is None else self.steps * self.stream.size

    def begin(self) -> None:
        """Begin an epoch."""
        self.taken = 0
        if self.stream is None:
            self.order = torch.randperm(self.count, generator=self.generator)

    def next(self) -> Tensor:
        """Return the positions of the images of the next step ``[B]``."""
        taken, self.taken = self.taken, self.taken + 1
        return self.order.tensor_split(self.steps)[taken] if self.stream is None else self.stream.next()

    def state(self) -> dict[str, Any]:
        """Return what the next batches depend on beside the generator."""
        stream = {} if self.stream is None else self.stream.state()
        return {"order": self.order, "taken": self.taken, "stream": stream}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self.order, self.taken = state["order"], state["taken"]
        if self.stream is not None:
            self.stream.go_on_from(state["stream"])
