"""The prior of the stop advice fitted to learning curves, and the advice validated on data that it was not fitted to.

    python benchmarks/stop_advice.py grids /runs/a /runs/b --out benchmarks/stop_advice/grids.csv.gz
    python benchmarks/stop_advice.py fit benchmarks/stop_advice/*.csv.gz --out pipeline/advise/prior.json
    python benchmarks/stop_advice.py validate benchmarks/stop_advice/*.csv.gz

Curves come from ``learning_curves.py`` and from comparisons of real runs.  ``validate`` leaves each data set out in
turn, with its features, fits the prior to all others, and asks for advice along each of its curves as a person would:
from a held-out test set, and from check sets of 60 and 120 images, which a third of the questions were about.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, logit, stdtrit

from common.reading import read_text
from pipeline.advise.curves import Forecast, Point, Prior, condition, forecast, measured
from pipeline.advise.verdict import MORE, WORTH, decide
from pipeline.run.reading import read_config
from pipeline.run.summary import accuracy_curve, read_rows

SHARED = 0.75
"""Correlation of being right between neighbouring rungs, over all curves that say so (0.69 to 0.88 by data set)."""
FIELDS = ("data", "network", "strategy", "seed", "classes", "test", "labels", "accuracy", "right")
LEAST_SPREAD = 1.5
"""Of the intercept: a backbone that the fitted curves know nothing of may begin anywhere."""
SEEN = (10, 20, 40, 60, 80, 100, 120, 160, 180, 200, 220, 260)
"""Rungs at which a run has a network; the others are there to be predicted."""
WORTHS = (0.01, 0.02, 0.03, 0.05)
RANGES = (("all", 0, 999), ("to 20", 0, 20), ("21 to 80", 21, 80), ("over 80", 81, 999))


class Curve(NamedTuple):
    """One run.

    Args:
        family: data that it shares with others: images and features of them are of one.
        name: data, network, strategy, seed.
        classes: C.
        points: measured on all test images.
        right: by labels, which of the first test images are right; empty where nobody kept it.

    """

    family: str
    name: tuple[str, ...]
    classes: int
    points: dict[int, Point]
    right: dict[int, np.ndarray]


FAMILIES = {"cats and dogs": "cifar10", "features of catsdogs": "cifar10", "features of cifar10": "cifar10",
            "features of photos": "photos", "mnist": "mnist5k"}  # fmt: skip


def read(paths: Sequence[Path]) -> list[Curve]:
    found: dict[tuple[str, ...], Curve] = {}
    for path in paths:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else read_text(path)
        for row in csv.DictReader(io.StringIO(text)):
            name = (row["data"], row["network"], row["strategy"], row["seed"])
            family = FAMILIES.get(row["data"], row["data"])
            one = found.setdefault(name, Curve(family, name, int(row["classes"]), {}, {}))
            labels, images = int(row["labels"]), int(row["test"])
            one.points[labels] = Point(labels, round(float(row["accuracy"]) * images), images)
            if row["right"]:
                bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["right"]), np.uint8))
                one.right[labels] = bits[: min(images, len(bits))].astype(bool)
    return list(found.values())


# ---- fitting


def prior_of(values: Sequence[float]) -> Prior:
    a, log_sa, b, log_sb, log_sg, log_l, s0, s1, log_dof = map(float, values)
    return Prior(
        a,
        max(float(np.exp(log_sa)), LEAST_SPREAD),
        b,
        *np.exp([log_sb, log_sg, log_l]),
        s0,
        s1,
        SHARED,
        float(np.exp(log_dof)),
    )


class Group(NamedTuple):
    """Curves with points at the same places ``[n]``, with the weight of each."""

    x: np.ndarray
    z: np.ndarray  # [curves, n]
    error: np.ndarray  # [curves, n, n]
    weight: np.ndarray


def values_of(prior: Prior) -> list[float]:
    logs = [float(np.log(one)) for one in (prior.intercept_sd, prior.slope_sd, prior.bend_sd, prior.bend_length)]
    return [prior.intercept, logs[0], prior.slope, *logs[1:], prior.noise, prior.noise_slope, float(np.log(prior.dof))]


def surprise(values: Sequence[float], groups: Sequence[Group]) -> float:
    """Negative log marginal likelihood (Shah, Wilson & Ghahramani 2014), every data set with the same weight."""
    prior, total = prior_of(values), 0.0
    for group in groups:
        F = np.linalg.cholesky(
            prior.covariance(group.x, group.x) + np.diag(prior.training_variance(group.x)) + group.error
        )
        w = np.linalg.solve(F, (group.z - prior.mean(group.x))[..., None])[..., 0]  # [curves, n]
        nu, n = prior.dof, len(group.x)
        each = (nu + n) / 2 * np.log1p((w**2).sum(1) / nu) + np.log(np.diagonal(F, axis1=1, axis2=2)).sum(1)
        each += gammaln(nu / 2) - gammaln((nu + n) / 2) + n / 2 * np.log(nu)
        total += float(group.weight @ each)
    return total


def grouped(curves: Sequence[Curve]) -> list[Group]:
    families, found = [curve.family for curve in curves], dict[tuple[int, ...], list[Curve]]()
    for curve in curves:
        found.setdefault((curve.classes, *curve.points), []).append(curve)
    groups = []
    for (classes, *labels), mine in found.items():
        z, error = zip(*(measured(list(curve.points.values()), SHARED) for curve in mine), strict=True)
        weight = np.array([1 / families.count(curve.family) for curve in mine])
        groups.append(Group(np.log(np.array(labels) / classes), np.array(z), np.array(error), weight))
    return groups


def fitted(curves: Sequence[Curve], start: Sequence[float] | None = None, steps: int = 40) -> Prior:
    """The prior under which the curves are likeliest."""
    bounds = [(-5, 5), (-3, 2), (-1, 3), (-4, 1), (-4, 1), (-2, 2), (-4, 0), (-1, 1), (0.7, 4)]
    start = (-0.4, -0.3, 0.5, -1.4, -1.2, -0.3, -3.0, -0.3, 1.6) if start is None else start
    found = minimize(
        surprise, start, (grouped(curves),), "L-BFGS-B", bounds=bounds, options={"maxiter": steps, "ftol": 1e-6}
    )
    return prior_of(found.x)


# ---- asking along a curve


class Asked(NamedTuple):
    """One piece of advice, and what became of it."""

    family: str
    name: tuple[str, ...]
    basis: str
    labels: int
    more: int
    inside: bool
    width: float
    gain: float
    expected: Forecast
    points: list[Point]

    def verdict(self, worth: float) -> str:
        """What was said."""
        return decide(self.expected, worth, self.points)


def checked(curve: Curve, labels: Sequence[int], size: int) -> list[Point]:
    """The points that a check set measures, by its first images as many as were asked about by the last point."""
    images = min(size, labels[-1] // 2)
    return [Point(n, int(curve.right[n][:images].sum()), images) for n in labels if images]


def sources(curve: Curve) -> Iterator[tuple[str, list[Point], dict[int, Point]]]:
    """What advice may rest on at each point of a curve, and what came later."""
    seen = [labels for labels in sorted(curve.points) if labels in SEEN or not curve.right]
    for at, now in enumerate(seen):
        later = {more: curve.points[now + more] for more in MORE if now + more in curve.points}
        if later:
            yield "test set", [curve.points[n] for n in seen[: at + 1]], later
            for size in (60, 120) if curve.right else ():
                yield f"check set of {size}", checked(curve, seen[: at + 1], size), later


def asked(curve: Curve, prior: Prior) -> Iterator[Asked]:
    for basis, points, later in sources(curve):
        now = points[-1].labels
        expected = forecast(prior, points, curve.classes, MORE, draws=1000)
        for more, point in later.items():
            k, truth = MORE.index(more), point.right / point.images
            here = curve.points[now].right / curve.points[now].images
            half = 0.5 / point.images
            inside = expected.low[k] - half <= truth <= expected.high[k] + half
            width = float(expected.high[k] - expected.low[k])
            yield Asked(curve.family, curve.name, basis, now, more, bool(inside), width, truth - here, expected, points)


def share_inside(rows: Sequence[Asked], more: int | None = None) -> float:
    """Share of truths inside the band, every data set with the same weight."""
    rows = [row for row in rows if more in (None, row.more)]
    families = sorted({row.family for row in rows})
    return float(np.mean([np.mean([row.inside for row in rows if row.family == one]) for one in families]))


def widened(curves: Sequence[Curve], prior: Prior) -> Prior:
    """The prior with bands as wide as 95 % of the truths need of data that it was not fitted on: each left out in turn.

    Every data set has the same weight.
    """
    apart, weight = [], []
    for family in sorted({curve.family for curve in curves}):
        other = fitted([curve for curve in curves if curve.family != family], start=values_of(prior), steps=8)
        mine = [curve for curve in curves if curve.family == family]
        found = [
            one
            for curve in mine
            for _, points, later in sources(curve)
            for one in standardised(curve, other, points, later)
        ]
        apart += found
        weight += [1 / max(len(found), 1)] * len(found)
    order = np.argsort(apart)
    reached = np.searchsorted(np.cumsum(np.array(weight)[order]) / sum(weight), 0.95)
    return replace(prior, widening=float(max(1.0, np.array(apart)[order][reached])))


def standardised(curve: Curve, prior: Prior, points: Sequence[Point], later: dict[int, Point]) -> list[float]:
    """How far the truth was from what was expected, as a share of half the band, half an image left out."""
    posterior = condition(prior, points, curve.classes, [point.labels for point in later.values()])
    found = []
    for mean, sd, point in zip(posterior.mean, posterior.sd, later.values(), strict=True):
        share, half = point.right / point.images, 0.5 / point.images
        ends = logit(np.clip([share - half, share + half], 1e-12, 1 - 1e-12))
        found.append(float(max(0.0, ends[0] - mean, mean - ends[1]) / sd / stdtrit(posterior.dof, 0.975)))
    return found


# ---- commands


@click.group()
def main() -> None:
    """Fit and validate the stop advice."""


@main.command()
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def grids(directories: Sequence[Path], out: Path) -> None:
    """Keep the curves of the finished cells of comparisons."""
    from pipeline.run.context import load_data

    rows, sizes = [FIELDS], dict[str, tuple[int, int]]()
    for cell in sorted(path.parent for directory in directories for path in directory.glob("*/metrics.csv")):
        config = read_config(cell)
        curve = accuracy_curve(read_rows(cell))
        if len(curve) < config.cycles:
            continue
        name = config.data.name
        if name not in sizes:
            data = load_data(config, run=cell)
            sizes[name] = data.num_classes, len(data.test)
        shown = f"features of {Path(name).stem}" if name.startswith("npz:") else name
        for labels, accuracy in curve:
            rows.append((shown, config.model.name, config.query.strategy, config.seed, *sizes[name], labels,
                         f"{accuracy:.4f}", ""))  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    click.echo(f"{len(rows) - 1} points: {out}")


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--coverage", default="", help="JSON of what 'validate' found, kept beside the prior.")
def fit(files: Sequence[Path], out: Path, coverage: str) -> None:
    """Fit the prior that the project ships."""
    curves = read(files)
    prior = widened(curves, fitted(curves))
    data, networks, strategies = (sorted({curve.name[part] for curve in curves}) for part in range(3))
    content = {
        "format": 1,
        "what": "prior over learning curves of 'pipeline advise', made by benchmarks/stop_advice.py fit",
        "fitted_on": {
            "curves": len(curves),
            "points": sum(len(curve.points) for curve in curves),
            "data": data,
            "networks": networks,
            "strategies": strategies,
        },
        "prior": {name: round(value, 4) for name, value in asdict(prior).items()},
        "validated": json.loads(coverage) if coverage else {},
    }
    out.write_text(json.dumps(content, indent=2) + "\n")
    click.echo(json.dumps(content["prior"]))


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="Coverage as JSON, for 'fit'.")
def validate(files: Sequence[Path], out: Path | None) -> None:
    """Leave each data set out in turn, and count."""
    curves = read(files)
    rows: list[Asked] = []
    for family in sorted({curve.family for curve in curves}):
        others = [curve for curve in curves if curve.family != family]
        prior = widened(others, fitted(others))
        mine = [row for curve in curves if curve.family == family for row in asked(curve, prior)]
        share = {
            basis: f"{share_inside([r for r in mine if r.basis == basis]):.3f}" for basis in {r.basis for r in mine}
        }
        print(f"{family}: widening {prior.widening:.1f}, inside {share}", flush=True)
        rows += mine
    report(rows, len({row.name for row in rows}))
    if out is not None:
        out.write_text(json.dumps(coverage_of(rows)))


def coverage_of(rows: Sequence[Asked]) -> dict[str, object]:
    inside = {
        basis: {str(more): round(share_inside([r for r in rows if r.basis == basis], more), 3) for more in MORE}
        for basis in sorted({row.basis for row in rows})
    }
    right: dict[str, dict[str, list[int]]] = {}
    for basis, verdict in itertools.product(inside, ("stop", "go on")):
        some = [row for row in rows if (row.basis, row.more) == (basis, 100) and row.verdict(WORTH) == verdict]
        held = sum((row.gain < WORTH) == (verdict == "stop") for row in some)
        right.setdefault(basis, {})[verdict] = [held, len(some)]
    runs = {basis: len({row.name for row in rows if row.basis == basis}) for basis in inside}
    return {"runs": runs, "data": len({row.family for row in rows}), "inside": inside, "right": right}


def report(rows: Sequence[Asked], runs: int) -> None:
    print(f"\n{runs} runs; in brackets with the same weight for every data set\n")
    print("| from | labels now | more | advice | inside the band | median width |\n|---|---|---|---|---|---|")
    bases = sorted({row.basis for row in rows})
    for basis, (name, low, high), more in itertools.product(bases, RANGES, MORE):
        some = [row for row in rows if (row.basis, row.more) == (basis, more) and low <= row.labels <= high]
        if some:
            inside, equal = 100 * float(np.mean([row.inside for row in some])), 100 * share_inside(some)
            width = 100 * float(np.median([row.width for row in some]))
            print(f"| {basis} | {name} | {more} | {len(some)} | {inside:.1f} % ({equal:.1f} %) | {width:.1f} points |")
    print("\n| from | worth | verdict | asked | gained in 100 labels, mean | over what it is worth |")
    print("|---|---|---|---|---|---|")
    for basis, worth, verdict in itertools.product(bases, WORTHS, ("stop", "go on", "cannot tell yet")):
        some = [row for row in rows if (row.basis, row.more) == (basis, 100) and row.verdict(worth) == verdict]
        if some:
            gains = np.array([row.gain for row in some])
            over = f"{100 * (gains >= worth).mean():.0f} %"
            print(
                f"| {basis} | {100 * worth:g} | {verdict} | {len(some)} | {100 * gains.mean():+.2f} points | {over} |"
            )
    print(
        "\n| from | worth | runs told to stop | after the best moment, median labels | before it | never told in time |"
    )
    print("|---|---|---|---|---|---|")
    for basis, worth in itertools.product(bases, WORTHS):
        print(stopped([row for row in rows if (row.basis, row.more) == (basis, 100)], basis, worth))


def stopped(rows: Sequence[Asked], basis: str, worth: float) -> str:
    """How late or early "stop" came: the best moment is that after which 100 labels never brought their worth."""
    late, early, never = list[int](), 0, 0
    for name in {row.name for row in rows}:
        mine = sorted((row for row in rows if row.name == name), key=lambda row: row.labels)
        best = next((row.labels for k, row in enumerate(mine) if all(s.gain < worth for s in mine[k:])), None)
        said = next((row.labels for row in mine if row.verdict(worth) == "stop"), None)
        never += best is not None and said is None
        if said is not None and best is not None and said >= best:
            late.append(said - best)
        early += said is not None and (best is None or said < best)
    wasted = f"{np.median(late):.0f} ({len(late)} runs)" if late else "-"
    return f"| {basis} | {100 * worth:g} | {len(late) + early} | {wasted} | {early} | {never} |"


if __name__ == "__main__":
    main()
