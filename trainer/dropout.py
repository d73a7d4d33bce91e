"""Monte Carlo dropout: what a trained network says with some of its units left out, again and again."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from trainer.errors import TrainerError
from trainer.predict import placed

BY_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
"""Layers that leave out whole channels."""
ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
ALPHA_PRIME = -1.7580993408473766
"""What these put in the place of what they leave out: the limit of SELU, -λα.  Source: Klambauer et al. 2017."""


def sample_outputs(
    model: nn.Module, x: NDArray[np.float32], *, passes: int, seed: int, batch_size: int = 128, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return outputs of a network in K passes, each with masks of its own that all inputs of the pass share.

    So each pass is one function, a draw of the network's approximate posterior, and outputs of several inputs in one
    pass are joint draws.  All else is in eval mode: batch norm uses its running statistics.  Masks depend on the seed,
    the pass, the layer and how often it ran before in a forward pass, not on the inputs, their order or the batches.

    Dropout that is no layer cannot be found: ``torch.nn.functional.dropout`` in a network of one's own, and what
    attention and recurrent layers do inside.  It stays off, as in eval mode.

    Source: Gal & Ghahramani 2016 for the posterior; Kirsch et al. 2019, section 3 and code, for masks that are shared.

    Args:
        model: the network, ours or anyone's; its modes, device and hooks and torch's generators are afterwards what
            they were.
        x: normalised inputs, float32 ``[N, C, H, W]``; left as they are.
        passes: K.
        seed: of the masks, 0 or more.
        batch_size: images in one forward pass; bounds the memory.
        device: where to compute; the masks are the same everywhere.

    Returns:
        float32 ``[K, N, num_classes]``: as trained, so not probabilities.

    Raises:
        TrainerError: no dropout layer with p > 0 runs, or one sees the images in another axis than the first.

    """
    masks = _Masks(seed)
    outputs = []
    with _sampling(model, masks, device), torch.no_grad():
        for k in range(passes):
            masks.begin(k)
            parts = []
            for start in range(0, max(len(x), 1), batch_size):
                batch = torch.tensor(x[start : start + batch_size], device=device)  # a copy: a layer may work in place
                masks.enter(len(batch))
                parts.append(model(batch).float().cpu().numpy())
            if not masks.drawn and len(x):
                raise TrainerError(
                    "dropout: expected a network in which dropout layers with p > 0 run (torch.nn.Dropout and its "
                    f"kind), got {type(model).__name__} without: give it some with --set model.options.dropout=0.25, "
                    "or choose a strategy without dropout"
                )
            outputs.append(np.concatenate(parts))
    return np.stack(outputs)


class _Masks:
    """The masks of one pass, drawn when a layer first runs and kept for the batches that follow.

    ``drawn`` holds what a layer's values are multiplied by and what is added then, by the layer's number and its run
    in one forward pass.

    Args:
        seed: of all passes.

    """

    def __init__(self, seed: int) -> None:
        self.drawn: dict[tuple[int, int], tuple[Tensor, Tensor | float]] = {}
        self._seed, self._pass, self._images = seed, 0, 0
        self._runs: dict[int, int] = {}

    def begin(self, k: int) -> None:
        """Forget the masks: another pass begins."""
        self._pass = k
        self.drawn.clear()

    def enter(self, images: int) -> None:
        """Count runs anew: another batch enters the network."""
        self._images = images
        self._runs.clear()

    def apply(self, number: int, layer: _DropoutNd, values: Tensor) -> Tensor:
        run = self._runs.get(number, 0)
        self._runs[number] = run + 1
        if (number, run) not in self.drawn:
            self.drawn[number, run] = self._draw(number, run, layer, values)
        scale, shift = self.drawn[number, run]
        axes = slice(1, 2) if isinstance(layer, BY_CHANNEL) else slice(1, None)
        if values.ndim == 0 or len(values) % max(self._images, 1) or values.shape[axes] != scale.shape[axes]:
            raise TrainerError(
                f"dropout: expected {self._images} images in the first axis of what {type(layer).__name__} is given, "
                f"and the others alike in all batches, got {list(values.shape)}: masks could not be shared by images"
            )
        if layer.inplace:
            return values.mul_(scale).add_(shift)
        return values * scale + shift

    def _draw(self, number: int, run: int, layer: _DropoutNd, values: Tensor) -> tuple[Tensor, Tensor | float]:
        """Draw from a stream of the pass's, the layer's and the run's own, so that no other draw matters to it."""
        shape = [1, *values.shape[1:]]
        if isinstance(layer, BY_CHANNEL):
            shape[2:] = [1] * len(shape[2:])
        p, rng = layer.p, np.random.default_rng([self._seed, self._pass, number, run])
        kept = torch.from_numpy((rng.random(shape) >= p).astype(np.float32)).to(values)
        if not isinstance(layer, ALPHA):
            return kept / (1 - p) if p < 1 else kept, 0.0
        a = 1 / math.sqrt((1 - p) * (1 + p * ALPHA_PRIME**2)) if p < 1 else 0.0
        return a * kept, a * ALPHA_PRIME * (1 - kept - p)


@contextmanager
def _sampling(model: nn.Module, masks: _Masks, device: str) -> Iterator[None]:
    """Lend a network to a device in eval mode, its dropout layers masked; and leave all as it was."""
    modes = {module: module.training for module in model.modules()}
    layers = [module for module in model.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    handles = [layer.register_forward_hook(_masking(masks, number)) for number, layer in enumerate(layers)]
    try:
        with placed(model, device), _generators_kept(device):
            model.eval()
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def _generators_kept(device: str) -> Any:
    """Give torch's generators back their states at the end, should a network draw from them."""
    return torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else [])


def _masking(masks: _Masks, number: int) -> Any:
    """Return a hook that masks what a dropout layer, which in eval mode changes nothing, lets through."""

    def hook(layer: _DropoutNd, given: tuple[Any, ...], values: Tensor) -> Tensor:
        return masks.apply(number, layer, values)

    return hook
