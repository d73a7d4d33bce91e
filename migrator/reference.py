"""What torch itself computes: outputs, gradients, and a block of the tangent kernel, by torch's autograd."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """The output for a batch, as NumPy."""
        with torch.no_grad():
            return self._output(inputs).numpy()

    def vjp(self, inputs: np.ndarray, cotangent: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of `sum(cotangent * output)` for each trainable parameter by torch's name."""
        with torch.enable_grad():
            value = (self._output(inputs) * torch.as_tensor(cotangent, dtype=self.dtype)).sum()
            return self._gradients(value)

    def _output(self, inputs: np.ndarray) -> Tensor:
        value = torch.from_numpy(np.array(inputs))
        output = run_in(self.dtype, self.module, value.to(self.dtype) if value.is_floating_point() else value)
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, Tensor):
            raise UnsupportedOutput(
                f"the model returns a {type(output).__name__}, expected one tensor or a tuple that begins with one; "
                "wrap it in a module whose forward returns the tensor that you need"
            )
        return first

    def _gradients(self, value: Tensor) -> dict[str, np.ndarray]:
        names, tensors = list(self.trainable), list(self.trainable.values())
        if not value.requires_grad:
            return {name: np.zeros(tensor.shape) for name, tensor in self.trainable.items()}
        gradients = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
        return {name: gradient.numpy() for name, gradient in zip(names, gradients, strict=True)}


def run_in(dtype: torch.dtype, module: nn.Module, value: Tensor) -> Any:
    """What a module that was cast to `dtype` returns.

    A forward pass that makes tensors of torch's default type, such as a mask, runs with that type set to `dtype`, but
    only where it cannot run otherwise: a number like 0.1 would be another one than in the model.

    Raises:
        PrecisionLoss: when it only runs in the precision that it was written for.
    """
    try:
        return module(value)
    except RuntimeError as error:
        if dtype == torch.get_default_dtype():
            raise
        first = error
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return module(value)
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
