"""What starting a cell costs: the same comparison with forked cells and with fresh processes, one after the other.

    python benchmarks/cell_start.py --models linear,cnn --seeds 0-3

Prints a line each: seconds of wall clock and of processor, and per cell.  Where others use the machine, the processor's
seconds say more.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STARTS = ("fork", "fresh")
OPTIONS = ["--cycles", "4", "--n-init", "40", "--query-size", "20", "--jobs", "1", "--cpus-per-cell", "1"]


def measure(model: str, start: str, strategies: str, seeds: str, folder: Path) -> tuple[float, float, int]:
    """Compute one comparison.

    Args:
        model: name of the network.
        start: ``fork`` or ``fresh``.
        strategies: names with commas.
        seeds: such as ``0-3``.
        folder: for the runs.

    Returns:
        Seconds of wall clock, seconds of processor of all processes, and the number of cells.

    """
    out = folder / f"{model}-{start}"
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "compare"]
    command += ["--model", model, "--strategies", strategies, "--seeds", seeds, "--start", start, "--out", str(out)]
    began, before = time.perf_counter(), os.times()
    subprocess.run([*command, *OPTIONS], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    cells = len(list(out.glob("*-seed*")))
    shutil.rmtree(out)
    return seconds, used, cells


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="linear,cnn")
    parser.add_argument("--strategies", default="random,margin-influence-sequential")
    parser.add_argument("--seeds", default="0-3")
    given = parser.parse_args()
    print(f"{'network':<8}  {'start':<5}  cells  wall s  processor s  processor s a cell", flush=True)
    for model in given.models.split(","):
        for start in STARTS:
            with tempfile.TemporaryDirectory() as folder:
                wall, used, cells = measure(model, start, given.strategies, given.seeds, Path(folder))
            print(f"{model:<8}  {start:<5}  {cells:5}  {wall:6.0f}  {used:11.0f}  {used / cells:18.1f}", flush=True)


if __name__ == "__main__":
    main()
