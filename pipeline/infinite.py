"""The infinite-width kernel of a run: which twin stands for its network, what it takes, and how it is computed.

A twin has the layers of its network.  Widths vanish in the limit; batch norm, see ``linearize.infinite_twin``, and
dropout, which is of training alone, are left out.  ResNet-18 adds x after its ReLU, for which no limit is known: its
twin is the pre-activated ResNet-18 of He et al., arXiv:1603.05027.  Networks with max pooling have none, since the
largest of several Gaussian variables is not Gaussian and has no kernel that is known; nor has one of a user's own.  A
stand-in of another architecture would say nothing of them, so they are refused.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from linearize import KernelOptions, LinearizeError
from linearize.infinite import InfinitePlan, infinite_kernel, plan_infinite, regression_bytes
from linearize.infinite_twin import Conv, Dense, Flatten, GlobalAverage, Layer, Relu, Residual, Twin
from linearize.types import Kernel
from pipeline.errors import PipelineError
from pipeline.progress import StageProgress, silent
from trainer.models import MODELS, ModelSpec
from trainer.models.cnn import SMALL


@dataclass(frozen=True)
class InfiniteKernel:
    """The infinite-width kernel over labelled ∪ candidates.

    Args:
        blocks: Θ∞(X,X), Θ∞(X,U) and Θ∞(U,U).
        ridge: λ relative to the mean diagonal of Θ∞(X,X), as the run says.
        seconds: what it took.
        bytes: at most, beside the regression.

    """

    blocks: Kernel
    ridge: float = 0.0
    seconds: float = 0.0
    bytes: int = 0


def twin_of(spec: ModelSpec) -> Twin:
    """Return the infinite-width counterpart of a network.

    Args:
        spec: the network.

    Raises:
        PipelineError: it is a user's own, or has max pooling.

    """
    options = MODELS[spec.name].resolve(spec.options) if spec.name in _TWINS else {}
    pooled = bool(options.get("imagenet_stem"))
    if spec.name not in _TWINS or pooled:
        named = f"{spec.name} with imagenet_stem" if pooled else spec.name
        raise PipelineError(
            f"model.name: the infinite-width kernel is known of {', '.join(_TWINS)}, and {named} has no twin: "
            "choose one of them, or a strategy that linearises the network itself, such as mlmoc"
        )
    return _TWINS[spec.name](spec, options)


def check_affordable(spec: ModelSpec, options: KernelOptions, L: int, U: int) -> None:
    """Check before a run that its largest infinite kernel can be computed, with neural-tangents and in memory.

    Args:
        spec: the network.
        options: the memory budget is read.
        L: labels of the last query.
        U: candidates.

    Raises:
        PipelineError: it cannot; one line.

    """
    twin = twin_of(spec)
    try:
        afterwards = regression_bytes(L, U)
        plan_infinite(twin, spec.input_shape, L + U, memory_budget=options.memory_budget, afterwards=afterwards)
    except LinearizeError as error:
        raise PipelineError(str(error)) from error


def kernel_maker(
    spec: ModelSpec, options: KernelOptions, progress: StageProgress = silent
) -> Callable[[np.ndarray, np.ndarray], InfiniteKernel]:
    """Return what maps labelled inputs and candidates to the kernel over both.

    Args:
        spec: the network.
        options: the memory budget and the ridge are read; the others are of networks that have weights.
        progress: called after every block; told what is about to be computed.

    """

    def make(X: np.ndarray, pool: np.ndarray) -> InfiniteKernel:
        twin, plans = twin_of(spec), list[InfinitePlan]()

        def announce(plan: InfinitePlan) -> None:
            plans.append(plan)
            progress.plan(f"{plan.summary()}; twin of {spec.name}{twin.unlike and f', {twin.unlike}'}")

        start = time.perf_counter()
        budget = options.memory_budget
        blocks = infinite_kernel(twin, X, pool, memory_budget=budget, progress=progress, on_plan=announce)
        return InfiniteKernel(blocks, options.ridge, time.perf_counter() - start, plans[0].bytes)

    return make


def _mlp(_: ModelSpec, options: dict[str, Any]) -> Twin:
    return Twin((Flatten(), *(Dense(), Relu()) * options["depth"], Dense(1.0)))


def _cnn(spec: ModelSpec, options: dict[str, Any]) -> Twin:
    first = 1 if min(spec.input_shape[1:]) < SMALL else 2
    convs = [layer for stride in (first, 2, 2) for layer in (Conv(3, stride), Relu())]
    return Twin((*convs, Flatten(), Dense(1.0)), "without batch norm" if options["batch_norm"] else "")


def _cnn_gap(_: ModelSpec, options: dict[str, Any]) -> Twin:
    return Twin((*(Conv(), Relu()) * 3, GlobalAverage(), Dense(1.0)))


def _convnet(_: ModelSpec, options: dict[str, Any]) -> Twin:
    return Twin((*(Conv(), Relu()) * options["depth"], GlobalAverage(), Dense(1.0)))


def _resnet18(_: ModelSpec, options: dict[str, Any]) -> Twin:
    width = options["width"]
    blocks = _pre_activated(width, [width, 2 * width, 4 * width, 8 * width], 2, Relu())
    return Twin((Conv(), *blocks, Relu(), GlobalAverage(), Dense(1.0)), "without batch norm, pre-activated")


def _wide_resnet(_: ModelSpec, options: dict[str, Any]) -> Twin:
    groups = options["block_groups"]
    widths = [max(1, options["max_width"] // 2 ** (groups - 1 - group)) for group in range(groups)]
    relu = Relu(options["leaky_slope"])
    blocks = _pre_activated(options["stem_width"], widths, options["blocks_per_group"], relu)
    stem = Conv(3, options["stem_stride"])
    return Twin((stem, *blocks, relu, GlobalAverage(), Dense(1.0)), "without batch norm")


def _pre_activated(channels: int, widths: list[int], blocks_per_group: int, relu: Relu) -> Iterator[Layer]:
    """Groups of pre-activated blocks, of which each but the first halves the image."""
    for group, out in enumerate(widths):
        for block in range(blocks_per_group):
            stride = 2 if group > 0 and block == 0 else 1
            if stride != 1 or channels != out:  # branch and shortcut share the first ReLU
                yield relu
                yield Residual((Conv(3, stride), relu, Conv()), (Conv(1, stride),))
            else:
                yield Residual((relu, Conv(), relu, Conv()))
            channels = out


_TWINS: dict[str, Callable[[ModelSpec, dict[str, Any]], Twin]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "resnet18": _resnet18,
    "wide_resnet": _wide_resnet,
    "cnn_gap": _cnn_gap,
    "convnet": _convnet,
}
