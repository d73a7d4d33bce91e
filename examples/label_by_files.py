"""People who answer by a table: a run asks, a person fills in a column, the run learns and asks again."""

import csv
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import cli


def pipeline(*arguments: str, done: int = 0) -> str:
    """Run a command as in a terminal; 75 says that the run waits for labels."""
    ran = CliRunner().invoke(cli, [*arguments])
    if ran.exit_code != done:
        raise SystemExit(ran.output)
    return ran.output


draw = np.random.default_rng(0)
truth = {}
for number in range(60):  # dark and bright pictures, none of them labelled
    bright = number % 2
    truth[f"{number:02}.png"] = "bright" if bright else "dark"
    Path("pictures").mkdir(exist_ok=True)
    pixels = draw.integers(0, 120, (16, 16)) + 120 * bright
    Image.fromarray(pixels.astype(np.uint8)).save(f"pictures/{number:02}.png")

sizes = [
    "--n-init",
    "4",
    "--query-size",
    "4",
    "--subset-size",
    "20",
    "--cycles",
    "3",
    "--epochs",
    "20",
    "--device",
    "cpu",
]
strategy = ["--strategy", "margin-influence-greedy", "--annotator", "files", "--classes", "bright,dark"]
said = pipeline("run", "--dataset", "folder:pictures", *strategy, *sizes, "--out", "example-labels", done=75)
print("| round | asked for |\n|---|---|")
for round_ in range(3):
    pipeline("export", "example-labels")
    table = Path("example-labels/to_label.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = truth[Path(row["path"]).name]  # where a person types
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(f"| {round_} | {', '.join(Path(row['path']).name for row in rows)} |")
    pipeline("ingest", "example-labels", str(table))
    pipeline("resume", "example-labels", done=0 if round_ == 2 else 75)
