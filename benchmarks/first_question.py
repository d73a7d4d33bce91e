"""From an empty folder to the first question on the page: what `pipeline label` takes for many unlabelled images.

    python benchmarks/first_question.py --dataset cifar10 --data-root data --images 20000 --backbone efficientnet-lite0

Writes images as JPEGs into a folder without labels, starts the command as a person does, asks for the first question
until one comes; then the same as a new run, whose features are kept.  Seconds of processor are those of all processes;
where others use the machine, they say more than those of the clock.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil
from label_latency import Person, memory
from PIL import Image

from trainer.data import load


def write(dataset: str, data_root: str | None, images: int, pixels: int, folder: Path) -> None:
    """Write the first training images of a data set as JPEGs."""
    data = load(dataset, root=Path(data_root) if data_root else None)
    for n in range(images):
        stored = np.asarray(data.train.images[n % len(data.train)])
        picture = Image.fromarray(stored.transpose(1, 2, 0).squeeze())
        picture.resize((pixels, pixels), Image.Resampling.BICUBIC).save(folder / f"{n:06d}.jpg", quality=90)


def used(pid: int) -> float:
    """Seconds of processor that a process and its children, also those that ended, took."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def measure(folder: Path, out: Path, cache: Path, options: list[str]) -> str:
    """Start the command, wait for the first question, end it, and return a row of the table."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "label", str(folder), "--no-browser"]
    command += ["--out", str(out), "--classes", "a,b", *options]
    began = time.perf_counter()
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"XDG_CACHE_HOME": str(cache)}
    )
    try:
        assert server.stdout is not None
        link = next(found.group() for line in server.stdout if (found := re.search(r"http://\S+", line)))
        linked = f"{time.perf_counter() - began:.0f}, {used(server.pid):.1f}"
        person = Person(link)
        while (question := person.get("/question?annotator=me"))["kind"] == "wait":
            time.sleep(0.1)
        asked = f"{time.perf_counter() - began:.0f}, {used(server.pid):.1f}"
        return f"{linked} | {asked} | {question['kind']} | {memory(server.pid):.0f}"
    finally:
        server.terminate()
        server.wait()


@click.command()
@click.option("--dataset", default="mnist5k", show_default=True)
@click.option("--data-root", type=click.Path())
@click.option("--images", type=int, default=2000, show_default=True)
@click.option("--pixels", type=int, default=96, show_default=True, help="Of a side of the JPEGs.")
@click.option("--backbone", help="Passed on; none by default.")
@click.option("--backbone-size", help="Passed on.")
@click.option("--keep", type=click.Path(), help="Folder for images, features and runs; a temporary one by default.")
def main(
    dataset: str,
    data_root: str | None,
    images: int,
    pixels: int,
    backbone: str | None,
    backbone_size: str | None,
    keep: str | None,
) -> None:
    """Measure and print."""
    options = [
        *(["--backbone", backbone] if backbone else []),
        *(["--backbone-size", backbone_size or ""] * bool(backbone_size)),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(keep or temporary)
        photos = place / "photos"
        if not photos.is_dir():
            photos.mkdir(parents=True)
            write(dataset, data_root, images, pixels, photos)
        print("images, options | link: s, processor s | first question: s, processor s | question | MiB", flush=True)
        for n, what in enumerate(("first", "again")):
            row = measure(photos, place / f"run-{len(list(place.glob('run-*')))}-{n}", place / "cache", options)
            print(f"{images:,} {' '.join(options)} {what} | {row}", flush=True)


if __name__ == "__main__":
    main()
