"""Run a small experiment as the command does, read what it measured, and draw it beside random."""

import csv
from pathlib import Path

import matplotlib
from click.testing import CliRunner

from pipeline.cli import cli

matplotlib.use("agg")
import matplotlib.pyplot as plt

STRATEGIES = ("random", "margin-influence-sequential")
SIZES = ["--n-init", "20", "--query-size", "10", "--cycles", "4", "--device", "cpu"]


def curve(run: Path) -> tuple[list[int], list[float]]:
    """Return the numbers of labels of a run and the test accuracies with them."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["metric"]) == ("test", "accuracy")]
    return [int(row["n_labeled"]) for row in rows], [float(row["value"]) for row in rows]


for strategy in STRATEGIES:
    out = Path("example-runs") / strategy
    if not out.exists():
        ran = CliRunner().invoke(
            cli, ["run", "--strategy", strategy, *SIZES, "--out", str(out)], catch_exceptions=False
        )
        if ran.exit_code:
            raise SystemExit(ran.output)
    labels, accuracies = curve(out)
    plt.plot(labels, accuracies, marker="o", label=strategy)
    print(strategy, *(f"{accuracy:.1%} with {count}" for count, accuracy in zip(labels, accuracies, strict=True)))
plt.xlabel("labels")
plt.ylabel("test accuracy")
plt.legend()
plt.savefig("accuracy.png", dpi=120)
print("picture accuracy.png")
