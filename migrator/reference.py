"""What torch itself computes: outputs, gradients, and a block of the tangent kernel, by torch's autograd."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from migrator.errors import MigratorError, UnsupportedGradient, UnsupportedOutput
from migrator.preflight import check_module, named_tensors


class Reference:
    """A float64 or float32 copy of a module on the CPU; the module itself is not changed.

    In float64, ``float32`` in the forward pass means float64: the model's own precision is what is raised.

    Args:
        module: in evaluation mode.
        dtype: the precision of the copy.

    """

    def __init__(self, module: nn.Module, dtype: torch.dtype = torch.float64) -> None:
        check_module(module)
        self.dtype = dtype
        raised = dtype == torch.float64 and all(value.dtype != dtype for value in module.parameters())
        self.precision: type[AbstractContextManager[Any]] = Upcast if raised else nullcontext
        require_no_cache(module)
        computed = {id(value): value.detach().clone() for value in _computed(module)}
        with torch.random.fork_rng(devices=[]):
            whole = copy.deepcopy(module, computed).cpu()
        self.module = whole.double() if dtype == torch.float64 else whole.float()  # `to` would cut complex buffers
        parameters = self.module.named_parameters()
        self.trainable = {name: value for name, value in parameters if value.requires_grad}

    def forward(self, inputs: tuple[np.ndarray, ...], *, gradients: bool = True) -> tuple[np.ndarray, ...]:
        """Return all outputs for a batch, as NumPy.

        Args:
            inputs: a batch, one array for each input.
            gradients: whether torch records for gradients; some of its layers compute otherwise where it does not.

        """
        with torch.set_grad_enabled(gradients):
            return tuple(output.detach().numpy() for output in self._outputs(inputs))

    def vjp(self, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """Return the gradient of Σ cotangent ⊙ output, for each trainable parameter by torch's name.

        Args:
            inputs: a batch, one array for each input.
            cotangents: one array for each output, in its shape; those of outputs that are no floats do not count.

        Raises:
            UnsupportedGradient: torch itself cannot differentiate the module.

        """
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
        with self.precision():
            output = run(self.module, tuple(v.to(self.dtype) if v.is_floating_point() else v for v in values))
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
        try:
            gradients = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UnsupportedGradient(f"torch itself cannot differentiate this module ({reason})") from error
        dense = (gradient.to_dense() if gradient.is_sparse else gradient for gradient in gradients)
        return {name: gradient.numpy() for name, gradient in zip(names, dense, strict=True)}


def require_no_cache(module: nn.Module) -> None:
    """Refuse a module that keeps, from one call to the next, what it computed from its parameters.

    Args:
        module: any.

    Raises:
        UnsupportedGradient: it names the layer and its attribute.

    """
    for name, layer in module.named_modules():
        for key, value in vars(layer).items():
            kept = tree_leaves(value) if isinstance(value, dict | list | tuple) else []
            if any(isinstance(leaf, Tensor) and leaf.grad_fn is not None for leaf in kept):
                where = f"{name}.{key}" if name else key
                raise UnsupportedGradient(
                    f"`{where}` keeps from one call to the next what was computed from parameters, so later calls have "
                    "no gradient of their own there; compute it in `forward` each time"
                )


def _computed(module: nn.Module) -> Iterator[Tensor]:
    """Tensors that hooks put into a module, such as the weight of an old ``weight_norm``; torch will not copy them."""
    for layer in module.modules():
        for value in vars(layer).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                yield value


class Upcast(TorchDispatchMode):
    """Runs a float32 forward pass in float64, the tensors that it makes itself included."""

    def __enter__(self) -> Upcast:
        self.finfo, self.defaults = torch.finfo, _Float32Defaults()
        torch.finfo = lambda dtype=torch.float32: self.finfo(_downcast(dtype))  # type: ignore[assignment, misc]
        self.defaults.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.defaults.__exit__(*error)
        torch.finfo = self.finfo  # type: ignore[misc]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            args, kwargs = tree_map(_upcast, (args, kwargs or {}))
            return tree_map(_upcast_tensor, func(*args, **kwargs))
        finally:
            torch.set_default_dtype(default)


class _Float32Defaults(TorchFunctionMode):
    """Keeps the numbers that torch chooses by a tensor's type before it calls an operator."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.rms_norm, torch.nn.functional.rms_norm) and len(args) < 4 and kwargs.get("eps") is None:
            kwargs = kwargs | {"eps": torch.finfo(torch.float32).eps}
        value = func(*args, **kwargs)
        if func is torch.Tensor.new_tensor and value.dtype == torch.float64:
            return torch.tensor(np.asarray(value, np.float32))  # a number such as 0.1 is rounded to float32
        return value


_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def _downcast(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype == torch.float64 else dtype


def _upcast(value: Any) -> Any:
    return _WIDER.get(value, value) if isinstance(value, torch.dtype) else _upcast_tensor(value)


def _upcast_tensor(value: Any) -> Any:
    return value.to(_WIDER[value.dtype]) if isinstance(value, Tensor) and value.dtype in _WIDER else value


def run(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Return what a module returns.

    Args:
        module: in evaluation mode.
        inputs: a batch, one tensor for each input.

    Raises:
        MigratorError: the module itself cannot be run on such inputs, naming the line of the user's code.

    """
    try:
        return module(*inputs)
    except MigratorError:
        raise
    except Exception as error:  # a module is the user's own code and may raise anything
        shapes = ", ".join(f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')}" for value in inputs)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        own = [
            frame for frame in frames if not PurePath(frame.filename).is_relative_to(PurePath(torch.__file__).parent)
        ]
        place = f" at {PurePath(own[-1].filename).name}:{own[-1].lineno}" if own else ""
        reason = (str(error).strip().splitlines() or [""])[0]
        raise MigratorError(
            f"the module itself cannot be run on {shapes} ({type(error).__name__}: {reason}){place}; "
            "give inputs of the shape, type and range that it takes"
        ) from error


def state(module: nn.Module) -> dict[str, np.ndarray]:
    """Return all parameters and buffers of a module by every qualified name, as NumPy."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in named_tensors(module).items()}


def trainable_names(module: nn.Module) -> set[str]:
    """Return the names of the parameters that training changes, tied ones once."""
    return {name for name, value in module.named_parameters() if value.requires_grad}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread.

    On few cores its threads and JAX's wait for each other, 80 times slower than one alone.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
