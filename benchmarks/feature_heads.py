"""What a linear network on a pretrained network's features should be: the form of its inputs, and the ridge.

    python benchmarks/backbone_features.py --data-root DIR --train 10000 --test 2000 --out cifar10.npz
    python benchmarks/feature_heads.py cifar10.npz --labels 10,20,50,100,200,400 --seeds 0-11
    python benchmarks/feature_heads.py cifar10.npz --classes 3,5 --labels 5,10,20,40,80,160

Labelled sets are drawn at random; accuracy on all test samples, means over the seeds, %.  ``least`` is the least ridge,
``chosen`` what ``trainer.exact`` chooses by leaving one out, ``lowest error`` the ridge with the lowest such error, and
``best`` the best of all for each draw, which nobody can know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from pipeline.sweep.grid import parse_seeds
from trainer.exact import RIDGES, Spectrum, choose_ridge

Form = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
WAYS = ("least", "chosen", "lowest error", "best")


def unit(x: np.ndarray) -> np.ndarray:
    """Divide rows by their lengths."""
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


FORMS: dict[str, Form] = {
    "as they are": lambda x, t: (x / np.sqrt(x.shape[1]), t / np.sqrt(x.shape[1])),
    "centred, one scale": lambda x, t: scaled(x, t, x.mean(0), np.sqrt(x.var(0).mean())),
    "each feature standardised": lambda x, t: scaled(x, t, x.mean(0), x.std(0) + 1e-6),
    "unit length": lambda x, t: (unit(x), unit(t)),
    "centred, unit length": lambda x, t: (unit(x - x.mean(0)), unit(t - x.mean(0))),
}


def scaled(x: np.ndarray, t: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(x - mean) / (spread sqrt(d))`` of both halves."""
    factor = spread * np.sqrt(x.shape[1])
    return (x - mean) / factor, (t - mean) / factor


def accuracies(h: np.ndarray, y: np.ndarray, t: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Return the accuracies of ``WAYS`` for one labelled set.

    Args:
        h: its features ``[L, d]``.
        y: labels ``[L]``.
        t: features of the test samples ``[T, d]``.
        truth: their labels ``[T]``.
        classes: C.

    """
    spectrum, ones = Spectrum(h, np.eye(classes)[y]), np.ones((len(t), 1))
    right = {r: float(((np.hstack([t, ones]) @ spectrum.weights(r)).argmax(1) == truth).mean()) for r in RIDGES}
    choice = choose_ridge(spectrum)
    lowest = RIDGES[int(choice.errors.mean(1).argmin())]
    return [right[RIDGES[0]], right[choice.ridge], right[lowest], max(right.values())]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--classes", help="Those that count, such as 3,5.  [all]")
@click.option("--labels", default="20,50,100,200", show_default=True)
@click.option("--seeds", default="0-11", show_default=True)
def main(file: Path, classes: str | None, labels: str, seeds: str) -> None:
    """Print accuracies for FILE, an archive with x_train, y_train, x_test and y_test, as a Markdown table."""
    with np.load(file) as archive:
        x, y, t, truth = (archive[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    x, t = (half.reshape(len(half), -1).astype(np.float64) for half in (x, t))
    kept = sorted({int(one) for one in classes.split(",")}) if classes else sorted(set(y.tolist()))
    mine, theirs = np.isin(y, kept), np.isin(truth, kept)
    x, y, t, truth = x[mine], np.searchsorted(kept, y[mine]), t[theirs], np.searchsorted(kept, truth[theirs])
    click.echo(f"| inputs | labels | {' | '.join(WAYS)} |\n|---|---|{'---|' * len(WAYS)}")
    for name, form in FORMS.items():
        h, h_test = form(x, t)
        for n in (int(one) for one in labels.split(",")):
            drawn = [np.random.default_rng(seed).permutation(len(h))[:n] for seed in parse_seeds(seeds)]
            rows = [accuracies(h[ids], y[ids], h_test, truth, len(kept)) for ids in drawn]
            click.echo(f"| {name} | {n} | {' | '.join(f'{100 * value:.1f}' for value in np.mean(rows, axis=0))} |")


if __name__ == "__main__":
    main()
