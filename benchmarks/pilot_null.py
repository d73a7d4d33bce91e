"""How often ``pipeline pilot`` says yes, where there is nothing to gain and where there is: pilots on new data.

    python benchmarks/pilot_null.py --kind random-labels --repetitions 30
    python benchmarks/pilot_null.py --kind boundary --repetitions 10

Kinds: ``random-labels``, whose labels have nothing to do with the features; ``clusters``, which any few labels tell
apart; ``boundary``, where labels near a plane tell more than others.  Each pilot has its own data; runs are computed in
this process.  Prints a line a pilot and a count of the answers.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.pilot.begin import Asked, choose_for
from pipeline.pilot.measure import Shown, read_pilot
from pipeline.pilot.verdict import answer_of
from pipeline.progress import silent
from pipeline.run.context import open_context
from pipeline.run.loop import ActiveLearningLoop
from pipeline.run.rundir import RunDirectory, create_run
from pipeline.sweep.directory import opened
from pipeline.sweep.engine import EngineOptions


class Quiet:
    """A reporter that says nothing."""

    def stage(self, cycle: int, name: str) -> object:
        """Return what takes no notice of progress."""
        return silent

    def row(self, row: object) -> None:
        """Take no notice."""

    def warn(self, message: str) -> None:
        """Take no notice."""


def make(kind: str, seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels of one kind.

    Args:
        kind: see the module.
        seed: of this data.
        samples: how many.

    """
    rng = np.random.default_rng([seed, 7])
    if kind == "boundary":
        x = rng.normal(size=(samples, 8))
        return x, (x @ rng.normal(size=8) > 0).astype(np.int64)
    y = rng.integers(0, 3, samples)
    spread = 0.1 if kind == "clusters" else 1.0
    centers = rng.normal(size=(3, 6)) * (kind == "clusters")
    return centers[y] + spread * rng.normal(size=(samples, 6)), y


def pilot(kind: str, seed: int, samples: int, strategy: str, epochs: int) -> Shown:
    """Run one pilot on data of its own and return what it shows.

    Args:
        kind: of the data.
        seed: of the data.
        samples: labelled samples.
        strategy: compared with random.
        epochs: of a training.

    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        x, y = make(kind, seed, samples)
        np.savez(folder / "data.npz", X=x.astype(np.float32), y=y)
        fields = {"train.epochs": epochs, "device": "cpu", "threads": 1}
        asked = Asked(f"npz:{folder / 'data.npz'}", (strategy,), 6, None, None, fields, ())
        out = folder / "comparison"
        choice = choose_for(asked, folder, EngineOptions(), trust_code=False, say=lambda _: None)
        grid = choice.grid(asked).with_field("kernel", "memory_budget", 2**28)
        with opened(out, grid, grid):
            for cell in grid.cells():
                create_run(out / cell.name, cell.config)
                with RunDirectory(out / cell.name, lambda _: None) as run:
                    ActiveLearningLoop(run, open_context(cell.config), Quiet())()
        return read_pilot(out).shown[0]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="random-labels", choices=["random-labels", "clusters", "boundary"])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--strategy", default="margin")
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    answers: Counter[str] = Counter()
    for seed in range(given.first, given.first + given.repetitions):
        shown = pilot(given.kind, seed, given.samples, given.strategy, given.epochs)
        answer = answer_of(shown)
        answers[answer] += 1
        gain, saved = shown.gain, shown.saved
        print(
            f"{given.kind} {seed}: {answer:<4}  gain {100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to "
            f"{100 * gain.high:+.1f}), saved {saved.mean:+.0f} ({saved.low:+.0f} to {saved.high:+.0f}), p "
            f"{shown.test.corrected:.3f}",
            flush=True,
        )
    print(f"{given.kind}, {given.strategy}: {dict(answers)} of {given.repetitions}")


if __name__ == "__main__":
    main()
