"""What verification costs, and how much less by compiling cheaply: CPU seconds of both, in turns, each in a process.

    python benchmarks/verification.py --model squeezenet1_1 --side 32

CPU seconds are of the whole verification, torch's side and running what was compiled included; the ratios count.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import click

PART = """
import sys, time
import numpy as np, torch
from jax import monitoring
from migrator import compilation, migrate, verify
from migrator.survey.of_torchvision import build

name, side, cheap = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "cheap"
if not cheap:
    compilation.CHEAP.clear()
module, images, _ = build(name, side)
port = migrate(module, torch.from_numpy(images[0][:2]))
compiled = []
monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(seconds) if event.endswith("backend_compile_duration") else None
)
start = time.process_time()
verify(module, port, images, ntk_examples=2)
print(time.process_time() - start, sum(compiled))
"""


def cost(name: str, side: int, how: str) -> tuple[float, float]:
    """CPU seconds of a verification, and seconds of it in XLA's compiler."""
    command = [sys.executable, "-W", "ignore", "-c", PART, name, str(side), how]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(output[-2]), float(output[-1])


@click.command()
@click.option("--model", default="squeezenet1_1", help="An architecture of torchvision.")
@click.option("--side", default=32, help="Of its images.")
@click.option("--repeats", default=1)
def main(model: str, side: int, repeats: int) -> None:
    """Print both costs and their ratio."""
    turns = [{how: cost(model, side, how) for how in ("cheap", "as by default")} for _ in range(repeats)]
    sides = {how: [turn[how] for turn in turns] for how in turns[0]}
    click.echo("| compiled | CPU seconds of `verify` | seconds in XLA's compiler |\n| --- | --- | --- |")
    for how, found in sides.items():
        click.echo(f"| {how} | {median(a for a, _ in found):.1f} | {median(b for _, b in found):.1f} |")
    one, other = (median(b for _, b in sides[how]) for how in ("as by default", "cheap"))
    click.echo(f"\ncompiling takes {one / other:.2f} times as long by default")


if __name__ == "__main__":
    main()
