"""What a comparison's cells came to, kept as a table, and one strategy tested against all others.

    pipeline compare --dataset npz:cifar10.npz --model linear --seeds 0-15 ... --out runs/cifar10
    python benchmarks/against_all.py keep runs/cifar10 benchmarks/against_all/cifar10.csv
    python benchmarks/against_all.py table benchmarks/against_all/cifar10.csv --seeds 0-15

Differences are those of the areas under the accuracy curves (AUBC) over the seeds that both have, with the half-width
of Student's 95 % band; p is Wilcoxon's signed-rank test's, in brackets after Holm's correction over all others of the
table.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click

from pipeline.report.statistics import holm, student_t, wilcoxon
from pipeline.run.rundir import read_config
from pipeline.run.summary import accuracy_curve, area_of, read_rows
from pipeline.sweep.grid import parse_seeds

FIELDS = ("strategy", "seed", "labels", "aubc", "final")


@click.group()
def main() -> None:
    """Keep a comparison's results, and print how one strategy compares with all others."""


@main.command()
@click.argument("grid", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
def keep(grid: Path, out: Path) -> None:
    """Write the area and the final accuracy of every finished cell of GRID to OUT."""
    rows = []
    for path in sorted(one.parent for one in grid.glob("*/metrics.csv")):
        config, curve = read_config(path), accuracy_curve(read_rows(path))
        if len(curve) == config.cycles:
            rows.append(
                (config.query.strategy, config.seed, curve[-1][0], f"{area_of(curve):.6f}", f"{curve[-1][1]:.6f}")
            )
    with out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([FIELDS, *sorted(rows)])
    click.echo(f"{len(rows)} cells: {out}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--baseline", default="margin-influence-sequential", show_default=True, help="Which is tested.")
@click.option("--strategies", help="Names with commas, beside which it is tested.  [all]")
@click.option("--seeds", help="Those that count, such as 0-15.  [all]")
def table(file: Path, baseline: str, strategies: str | None, seeds: str | None) -> None:
    """Print the baseline beside all others as a Markdown table."""
    areas: dict[str, dict[int, float]] = {}
    final: dict[str, list[float]] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            counts = seeds is None or int(row["seed"]) in parse_seeds(seeds)
            if counts and (strategies is None or row["strategy"] in {baseline, *strategies.split(",")}):
                areas.setdefault(row["strategy"], {})[int(row["seed"])] = 100 * float(row["aubc"])
                final.setdefault(row["strategy"], []).append(100 * float(row["final"]))
    if baseline not in areas:
        raise click.BadParameter(f"expected one of {', '.join(areas)}, got {baseline}", param_hint="--baseline")
    others = [name for name in areas if name != baseline]
    gains = {
        name: [areas[baseline][seed] - areas[name][seed] for seed in areas[name] if seed in areas[baseline]]
        for name in others
    }
    tests = {name: wilcoxon(gains[name]) for name in others}
    corrected = dict(zip(others, holm([tests[name].p for name in others]), strict=True))
    click.echo("| strategy | seeds | AUBC, % | final accuracy, % | baseline - strategy | seeds above | p |")
    click.echo("|---|---|---|---|---|---|---|")
    for name in sorted(areas, key=lambda one: -student_t(list(areas[one].values())).mean):
        area, last = student_t(list(areas[name].values())), student_t(final[name])
        line = f"| {name} | {area.n} | {area.mean:.2f} ± {area.half or 0:.2f} | {last.mean:.2f} | "
        if name == baseline:
            click.echo(line + "| | |")
            continue
        gain = student_t(gains[name])
        above = sum(one > 0 for one in gains[name])
        p = f"{tests[name].p:.4f} ({corrected[name]:.3f})"
        click.echo(f"{line}{gain.mean:+.2f} ± {gain.half or 0:.2f} | {above} of {gain.n} | {p} |")


if __name__ == "__main__":
    main()
