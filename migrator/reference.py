"""What torch itself computes: outputs, gradients, and a block of the tangent kernel, by torch's autograd."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from migrator.errors import PrecisionLoss, UnsupportedOutput
from migrator.screen import check_module, named_tensors


class Reference:
    """A float64 or float32 copy of a module on the CPU; the module itself is not changed.

    Args:
        module: in evaluation mode.
        dtype: the precision of the copy.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype = torch.float64) -> None:
        check_module(module)
        self.dtype = dtype
        with torch.random.fork_rng(devices=[]):
            self.module = copy.deepcopy(module).cpu().to(dtype)
        parameters = self.module.named_parameters()
        self.trainable = {name: value for name, value in parameters if value.requires_grad}

    def forward(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """All outputs for a batch, as NumPy."""
        with torch.no_grad():
            return tuple(output.numpy() for output in self._outputs(inputs))

    def vjp(self, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """Gradient of `sum(cotangent * output)` for each trainable parameter by torch's name."""
        with torch.enable_grad():
            outputs = self._outputs(inputs)
            terms = [
                (output * torch.as_tensor(cotangent, dtype=self.dtype)).sum()
                for output, cotangent in zip(outputs, cotangents, strict=True)
                if output.is_floating_point()
            ]
            return self._gradients(sum(terms, torch.zeros((), dtype=self.dtype)))

    def _outputs(self, inputs: tuple[np.ndarray, ...]) -> list[Tensor]:
        values = [torch.from_numpy(np.array(value)) for value in inputs]
        output = run_in(self.dtype, self.module, *(v.to(self.dtype) if v.is_floating_point() else v for v in values))
        leaves = [leaf for leaf in tree_leaves(output) if leaf is not None]
        if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise UnsupportedOutput(
                f"the model returns a {type(output).__name__}, expected a tensor, or a tuple or dict of tensors; "
                "wrap it in a module whose forward returns the tensors that you need"
            )
        return leaves

    def _gradients(self, value: Tensor) -> dict[str, np.ndarray]:
        names, tensors = list(self.trainable), list(self.trainable.values())
        if not value.requires_grad:
            return {name: np.zeros(tensor.shape) for name, tensor in self.trainable.items()}
        gradients = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
        return {name: gradient.numpy() for name, gradient in zip(names, gradients, strict=True)}


def run_in(dtype: torch.dtype, module: nn.Module, *values: Tensor) -> Any:
    """What a module that was cast to `dtype` returns.

    A forward pass that makes tensors of torch's default type, such as a mask, runs with that type set to `dtype`, but
    only where it cannot run otherwise: a number like 0.1 would be another one than in the model.

    Raises:
        PrecisionLoss: when it only runs in the precision that it was written for.
    """
    try:
        return module(*values)
    except RuntimeError as error:
        if dtype == torch.get_default_dtype():
            raise
        first = error
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return module(*values)
    except RuntimeError:
        raise PrecisionLoss(
            f"the module does not run in {dtype}, in which ports are verified ({first}); "
            "make tensors in its forward pass with `dtype=x.dtype`"
        ) from first
    finally:
        torch.set_default_dtype(default)


def state(module: nn.Module) -> dict[str, np.ndarray]:
    """All parameters and buffers of a module by every qualified name, as NumPy."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in named_tensors(module).items()}


def trainable_names(module: nn.Module) -> set[str]:
    """Names of the parameters that training changes, tied ones once."""
    return {name for name, value in module.named_parameters() if value.requires_grad}


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: on few cores its threads and JAX's wait for each other, 80 times slower than one alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
