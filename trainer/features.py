"""What the last layer of a trained network sees: the penultimate features."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.predict import predict


class LastLayer(NamedTuple):
    """A network's last layer, ``outputs = features W^T + b``.

    Args:
        W: weights, float64 ``[C, d]``.
        b: biases, float64 ``[C]``; zeros where it has none.

    """

    W: NDArray[np.float64]
    b: NDArray[np.float64]


class Embedding(NamedTuple):
    """Inputs and outputs of a network's last layer, ``outputs = features W^T + b``.

    Args:
        features: h(x), float32 ``[N, d]``.
        outputs: f(x), float32 ``[N, C]``, as ``predict`` gives them.

    """

    features: NDArray[np.float32]
    outputs: NDArray[np.float32]


def embed(model: nn.Module, x: NDArray[np.float32], *, batch_size: int = 128, device: str = "cpu") -> Embedding:
    """Return penultimate features and outputs of a network in eval mode, without gradients and never augmented.

    The last layer is the ``torch.nn.Linear`` that runs last; the tensor that it returns must be the one that the
    network returns, or a view that is laid out alike, with nothing written into it in between.

    Source: Sener & Savarese 2018; Ash et al. 2020 use this layer.

    Args:
        model: the network, ours or anyone's; its mode, device and hooks are afterwards what they were.
        x: normalised inputs, float32 ``[N, C, H, W]``.
        batch_size: images in one forward pass; bounds the memory, and more would not stay in a processor's cache.
        device: where to compute.

    Raises:
        TrainerError: the network does not end in a linear layer.

    """
    recorder, outputs = _watched(model, x, batch_size, device)
    return Embedding(np.concatenate(recorder.features), outputs)


def last_layer(model: nn.Module, x: NDArray[np.float32]) -> LastLayer:
    """Return weights and biases of the layer whose inputs ``embed`` gives.

    Args:
        model: the network; its mode, device and hooks are afterwards what they were.
        x: any of its inputs, float32 ``[N, C, H, W]``: which layer runs last is seen when they pass.

    Raises:
        TrainerError: the network does not end in a linear layer.

    """
    layer = _last(model, x)
    W = layer.weight.detach().cpu().double().numpy()
    b = np.zeros(len(W)) if layer.bias is None else layer.bias.detach().cpu().double().numpy()
    return LastLayer(W, b)


def last_layer_has_bias(model: nn.Module, x: NDArray[np.float32]) -> bool:
    """Tell whether the layer whose inputs ``embed`` gives adds biases, which ``last_layer`` does not say of zeros.

    Args:
        model: the network; its mode, device and hooks are afterwards what they were.
        x: any of its inputs, float32 ``[N, C, H, W]``.

    Raises:
        TrainerError: the network does not end in a linear layer.

    """
    return _last(model, x).bias is not None


def last_layer_name(model: nn.Module, x: NDArray[np.float32]) -> str:
    """Return the name of the layer whose inputs ``embed`` gives; nothing where it is the network itself.

    Args:
        model: the network; its mode, device and hooks are afterwards what they were.
        x: any of its inputs, float32 ``[N, C, H, W]``.

    Raises:
        TrainerError: the network does not end in a linear layer.

    """
    layer = _last(model, x)
    return next(name for name, module in model.named_modules() if module is layer)


def _last(model: nn.Module, x: NDArray[np.float32]) -> nn.Linear:
    layer = _watched(model, x, len(x), "cpu")[0].layer
    assert layer is not None  # or the network was refused
    return layer


def _watched(
    model: nn.Module, x: NDArray[np.float32], batch_size: int, device: str
) -> tuple["_LastLinear", NDArray[np.float32]]:
    """Let inputs pass through a network, and return what was seen of its last layer, and its outputs."""
    recorder = _LastLinear()
    handles = [
        layer.register_forward_hook(recorder.layer_ran, with_kwargs=True)
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    ]
    handles.append(model.register_forward_hook(recorder.network_ran))  # after the layer's own, if they are the same
    try:
        outputs = predict(model, x, batch_size=batch_size, device=device)
    finally:
        for handle in handles:
            handle.remove()
    return recorder, outputs


class _LastLinear:
    """Remembers the linear layer that ran last and, batch by batch, what it was given."""

    def __init__(self) -> None:
        self.features: list[NDArray[np.float32]] = []
        self.layer: nn.Linear | None = None
        self._given: Tensor | None = None
        self._returned: Tensor | None = None
        self._version = 0

    def layer_ran(self, layer: nn.Linear, given: tuple[Any, ...], named: dict[str, Any], returned: Tensor) -> None:
        self.layer = layer
        self._given = given[0] if given else named["input"]
        self._returned, self._version = returned, returned._version

    def network_ran(self, network: nn.Module, given: tuple[Any, ...], outputs: Any) -> None:
        if self._given is None or not self._is_untouched(outputs):
            what = "has no torch.nn.Linear that runs" if self._given is None else "goes on after its last linear layer"
            raise TrainerError(
                "features: expected a network that returns what its last torch.nn.Linear returns, but "
                f"{type(network).__name__} {what}: end it in a linear layer, or choose a strategy without features"
            )
        self.features.append(self._given.flatten(1).float().cpu().numpy())
        self._given = self._returned = None

    def _is_untouched(self, outputs: Any) -> bool:
        """Whether the outputs are the layer's own memory: values can be equal by chance, as after a ReLU of positives.

        Torch counts in ``_version`` what is written into a tensor in place, through any of its views.
        """
        return (
            isinstance(outputs, Tensor)
            and self._returned is not None
            and outputs.is_set_to(self._returned)
            and outputs._version == self._version
        )
