"""Features learned from the training images alone, for runs to start from: SimCLR, without any label.

    python benchmarks/pretrain.py train --dataset cifar10 --data-root data --model resnet18 --option width=16 \
        --epochs 25 --out pretrained.safetensors
    pipeline run --dataset cifar10 --data-root data --model resnet18 --set model.options.width=16 \
        --init-weights pretrained.safetensors
    python benchmarks/pretrain.py features --dataset cifar10 --data-root data --model resnet18 --option width=16 \
        --weights pretrained.safetensors --out features.npz
    pipeline run --dataset npz:features.npz --model mlp                                # the features stay as they are
    python benchmarks/pretrain.py train --dataset digits --epochs 1 --out x.safetensors             # a smoke run

Two random crops of every image, flipped and recoloured, are to be told from all other crops of the batch, by a
projection of the network's features (Chen et al., A simple framework for contrastive learning, ICML 2020, with the
settings of its section B.9 for small images but for a batch of 512 and few epochs).  What is written is the network
in eval mode with a last layer of zeros, so that every output is 0 until labels come.  Test images are not trained on;
the range that scales the features to bytes is that of the training images'.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.parsing import parse_yaml
from trainer.data import DataSet, load
from trainer.data.arrays import SplitName
from trainer.features import embed
from trainer.models import build_model

BATCH = 512
TEMPERATURE = 0.5
PEAK_LR = 0.6
WARM_UP = 200  # steps
CLIPPED = 0.9999  # the quantile of the features that becomes 1
SMALLEST_CROP = 0.2  # of the image's area
BRIGHTNESS, HUE, JITTERED, GREY = 0.4, 0.1, 0.8, 0.2
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def crops(x: Tensor) -> Tensor:
    """Crop, stretch and flip every image at random, ``[N, C, H, W]``."""
    n = len(x)
    area = torch.empty(n).uniform_(SMALLEST_CROP, 1)
    ratio = torch.exp(torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3)))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 2] = (torch.rand(n) * 2 - 1) * (1 - width)
    theta[:, 1, 2] = (torch.rand(n) * 2 - 1) * (1 - height)
    theta[:, 0, 0] = width * torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = height
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="reflection")


def recoloured(x: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue at random; images of one channel: the first two."""
    n, jittered = len(x), torch.rand(len(x)) < JITTERED

    def factor() -> Tensor:
        return torch.where(jittered, torch.empty(n).uniform_(1 - BRIGHTNESS, 1 + BRIGHTNESS), 1.0)

    x = x * factor().view(n, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * factor().view(n, 1, 1, 1) + mean
    if x.shape[1] == 3:
        saturation = torch.where(torch.rand(n) < GREY, torch.zeros(n), factor())
        angle = torch.where(jittered, torch.empty(n).uniform_(-HUE, HUE) * 2 * math.pi, 0.0)
        turn = torch.zeros(n, 3, 3)  # chroma turned and scaled, luma kept
        turn[:, 0, 0] = 1
        turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()
        turn[:, 2, 1] = saturation * angle.sin()
        turn[:, 1, 2] = -turn[:, 2, 1]
        x = torch.einsum("nij,njhw->nihw", torch.inverse(YIQ) @ turn @ YIQ, x)
    return x.clamp(0, 1)


def contrast(z: Tensor) -> Tensor:
    """NT-Xent: the cross-entropy of finding each crop's other half among all others, ``[2N, D]`` to a scalar."""
    z = F.normalize(z)
    similar = (z @ z.T / TEMPERATURE).fill_diagonal_(-1e9)
    return F.cross_entropy(similar, torch.arange(len(z)).roll(len(z) // 2))


def last_layer(net: nn.Module) -> str:
    """Return the name of the last linear layer."""
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1]


def pretrain(net: nn.Module, data: DataSet, epochs: int) -> None:
    """Train the network's features in place; the last layer ends as zeros."""
    head = last_layer(net)
    linear = net.get_submodule(head)
    assert isinstance(linear, nn.Linear)
    net.set_submodule(head, nn.Identity())
    project = nn.Sequential(
        nn.Linear(linear.in_features, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128)
    )
    images = data.train.images
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std))
    batch = min(BATCH, len(images))
    steps = epochs * (len(images) // batch)
    net.train().to(memory_format=torch.channels_last)
    parameters = [*net.parameters(), *project.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=PEAK_LR, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    started = time.perf_counter()
    for epoch in range(epochs):
        order, total = torch.randperm(len(images)).split(batch), 0.0
        whole = [chosen for chosen in order if len(chosen) == batch]
        for chosen in whole:
            x = torch.from_numpy(images[chosen.numpy()]).float() / data.scale
            views = torch.cat([(recoloured(crops(x)) - mean) / std for _ in range(2)])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                features = net(views.contiguous(memory_format=torch.channels_last))
            loss = contrast(project(features.float()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total / len(whole):.3f}, {time.perf_counter() - started:.0f} s",
            flush=True,
        )
    net.set_submodule(head, linear)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


@click.group()
def main() -> None:
    """Learn features from images without labels, for runs to start from."""


def into_a_folder(_: click.Context, __: click.Parameter, out: Path) -> Path:
    if not out.parent.is_dir():  # found out now, not after half an hour
        raise click.BadParameter(f"expected a file in a folder that exists, got {out}: make {out.parent} first")
    return out


network_options = [
    click.option("--dataset", default="cifar10", show_default=True),
    click.option("--data-root", type=click.Path(path_type=Path)),
    click.option("--model", default="resnet18", show_default=True),
    click.option("--option", "options", multiple=True, help="Of the model, KEY=VALUE."),
]


def of_network(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(network_options):
        command = option(command)
    return command


def built(data: DataSet, model: str, options: tuple[str, ...], seed: int = 0) -> nn.Module:
    if wrong := [option for option in options if "=" not in option]:
        raise click.BadParameter(f"expected KEY=VALUE, got {wrong[0]!r}", param_hint="--option")
    chosen = {key: parse_yaml(value, key) for key, value in (option.split("=", 1) for option in options)}
    return build_model(model, data.input_shape, data.num_classes, seed=seed, **chosen)


@main.command()
@of_network
@click.option("--epochs", default=25, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    callback=into_a_folder,
    help="The .safetensors file to write.",
)
def train(
    dataset: str, data_root: Path | None, model: str, options: tuple[str, ...], epochs: int, seed: int, out: Path
) -> None:
    """Pretrain a network on a data set's training images without their labels."""
    torch.manual_seed(seed)
    data = load(dataset, root=data_root)
    net = built(data, model, options, seed)
    pretrain(net, data, epochs)
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, out)
    print(f"weights: {out}")


@main.command()
@of_network
@click.option("--weights", type=click.Path(path_type=Path, exists=True), required=True, help="What `train` wrote.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, callback=into_a_folder, help="The .npz data set to write."
)
def features(
    dataset: str, data_root: Path | None, model: str, options: tuple[str, ...], weights: Path, out: Path
) -> None:
    """Write what the last layer sees as a data set of one-channel images of height 1, from 0 to 1."""
    data = load(dataset, root=data_root)
    net = built(data, model, options)
    net.load_state_dict(load_file(weights))
    halves: tuple[SplitName, ...] = ("train", "test")
    ours = {half: split_features(net, data, half) for half in halves}
    write_features(out, ours, data.train.labels, data.test.labels)


def write_features(
    out: Path, ours: Mapping[SplitName, NDArray[np.float32]], y_train: NDArray[np.integer], y_test: NDArray[np.integer]
) -> None:
    """Write both halves' features ``[N, D]`` as a data set, scaled by the range of the training images'."""
    low, high = ours["train"].min(), np.quantile(ours["train"], CLIPPED)
    arrays = {f"x_{half}": np.clip((h - low) / (high - low), 0, 1)[:, None] for half, h in ours.items()}
    np.savez(out, y_train=y_train, y_test=y_test, **arrays)
    print(f"features [{arrays['x_train'].shape[2]}]: {out}")


def split_features(net: nn.Module, data: DataSet, half: SplitName) -> NDArray[np.float32]:
    """Features of all images of a half, ``[N, D]``."""
    count = len(getattr(data, half))
    return np.concatenate(
        [embed(net, data.inputs(half, ids)).features for ids in np.array_split(np.arange(count), count // BATCH + 1)]
    )


if __name__ == "__main__":
    main()
