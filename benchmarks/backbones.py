"""What a pretrained backbone costs and gives: throughput, the first question, accuracy with and without it.

    python benchmarks/backbones.py throughput
    python benchmarks/backbones.py first-question --data-root data --images 2000
    python benchmarks/backbones.py accuracy --dataset folder:photos

Times are CPU seconds of one core, so that what else a machine does counts little.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from pipeline.run.summary import read_rows
from trainer.backbones import open_backbone
from trainer.backbones.featured import BATCH
from trainer.backbones.network import on_images
from trainer.data import load

BACKBONE = "efficientnet-lite0"
PIPELINE = (sys.executable, "-c", "from pipeline.cli import main; main()")


@click.group()
def main() -> None:
    """Measure a backbone."""


@main.command()
@click.option("--size", "sizes", multiple=True, type=int, default=(96, 128, 160, 224), show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of each measurement.")
def throughput(sizes: tuple[int, ...], seconds: float) -> None:
    """Images a CPU second, at several sizes."""
    torch.set_num_threads(1)
    backbone = open_backbone(BACKBONE)
    for size in sizes:
        net, x = on_images(backbone, (size, size), 3), torch.rand(BATCH, 3, size, size)
        with torch.inference_mode():
            net(x)
            started, count = time.process_time(), 0
            while time.process_time() - started < seconds:
                net(x)
                count += len(x)
        print(f"{size} px: {count / (time.process_time() - started):.0f} images/s", flush=True)


@main.command("first-question")
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--images", default=2000, show_default=True)
@click.option("--size", type=int, help="As --backbone-size.")
def first_question(data_root: Path | None, images: int, size: int | None) -> None:
    """From an unlabelled folder of CIFAR-10's images to the page's link, and again with features that are kept."""
    data = load("cifar10", root=data_root)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for i, image in enumerate(np.asarray(data.train.images[:images])):
            Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(photos / f"{i:06d}.png")
        given = ["--backbone-size", str(size)] if size else []
        environment = {**os.environ, "XDG_CACHE_HOME": folder, "OMP_NUM_THREADS": "1"}
        for what in ("at first", "features kept"):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            command = [
                *PIPELINE,
                "label",
                str(photos),
                "--classes",
                "a,b",
                "--no-browser",
                "--backbone",
                BACKBONE,
                *given,
            ]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment)
            assert process.stdout is not None
            line = process.stdout.readline()
            wall = time.perf_counter() - started
            process.terminate()
            process.wait()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{images} images, {what}: {cpu:.1f} CPU s, {wall:.1f} s ({line.split('#')[0].strip()})", flush=True)


@main.command()
@click.option("--dataset", required=True)
@click.option("--data-root")
@click.option("--seeds", default=2, show_default=True)
@click.option("--image-size", default="32", show_default=True, help="Without the backbone.")
def accuracy(dataset: str, data_root: str | None, seeds: int, image_size: str) -> None:
    """Test accuracy at 60 and 120 random labels, with the backbone and from scratch (cnn)."""
    own = dataset.startswith("folder:")
    shared = ["--set", "data.test_fraction=0.4", "--set", "data.stratified=true"] if own else []
    shared += ["--data-root", data_root] if data_root else []
    for name, given in (
        (BACKBONE, ["--backbone", BACKBONE]),
        ("cnn", ["--image-size", image_size] if own else []),
    ):
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                sizes = ["--n-init", "60", "--query-size", "60", "--cycles", "2", "--strategy", "random"]
                command = [*PIPELINE, "run", "--dataset", dataset, *shared, *given, *sizes, "--seed", str(seed)]
                subprocess.run([*command, "--out", str(run)], check=True, capture_output=True)
                figures = ", ".join(f"{row.n_labelled} labels {row.test_accuracy:.1%}" for row in read_rows(run))
            print(f"{name}, seed {seed}: {figures}", flush=True)


if __name__ == "__main__":
    main()
