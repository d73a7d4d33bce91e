"""What each strategy picked, as small pictures that travel inside the page."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PipelineError
from pipeline.report.picks import BY_CHANCE, BY_GRID, INITIAL_SET, Groups, Pick
from pipeline.report.results import Experiment, Run, initial_set
from pipeline.run.context import load_data
from pipeline.run.pool import INITIAL
from trainer.data import DataSet

MOST_PICKS, MOST_CYCLES, MOST_STRATEGIES = 12, 8, 12
LARGEST_SIDE, SMALLEST_SIDE = 48, 28  # pixels


@dataclass(frozen=True)
class Thumbnail:
    """One picked image.

    Args:
        uri: a PNG as a ``data:`` URI.
        sample: its id.
        path: what a person finds it by.
        label: the name of the class that the annotator gave it.

    """

    uri: str
    sample: int
    path: str
    label: str


@dataclass(frozen=True)
class Strip:
    """What one strategy picked after one cycle.

    Args:
        caption: the cycle and its number of labels.
        picks: the first of them, in rank order.
        left_out: how many more there were.

    """

    caption: str
    picks: tuple[Thumbnail, ...]
    left_out: int


@dataclass(frozen=True)
class Sheet:
    """The picks of every strategy at one seed.

    Args:
        seed: the seed; the lowest at which all strategies finished, else the lowest of all.
        strips: by strategy; the initial set comes first under its own name.
        missing: why there is no sheet, or what it leaves out; empty when complete.

    """

    seed: int
    strips: dict[str, tuple[Strip, ...]]
    missing: str = ""


def make_sheet(experiment: Experiment) -> Sheet:
    """Return the sheet of an experiment; without pictures, and saying why, when the data set cannot be read."""
    seeds = [set(experiment.of(name)) for name in experiment.strategies]
    seed = min(set.intersection(*seeds) or set.union(*seeds))
    try:
        data = _load(experiment)
    except (PipelineError, OSError) as error:
        return Sheet(
            seed, {}, f"The picks are not shown, as the images cannot be read here: {str(error).splitlines()[0]}"
        )
    if data.fingerprint() != experiment.runs[0].start["dataset_sha256"]:
        return Sheet(seed, {}, "The picks are not shown: the data set found here is not the one that the runs used.")
    data = data.pictures
    if data.holds_features:
        return Sheet(seed, {}, "The picks are not shown, as the data set holds features and no images.")
    chosen = [run for name in experiment.strategies if (run := experiment.of(name).get(seed))]
    strips: dict[str, tuple[Strip, ...]] = {
        INITIAL_SET: (_strip(data, chosen[0], "before the first training", initial_set(chosen[0])),)
    }
    for run in chosen[:MOST_STRATEGIES]:
        named = {run.strategy: run.picks.asked, BY_CHANCE: run.picks.drawn, BY_GRID: run.picks.grids}
        for name, groups in named.items():
            key = name if name == run.strategy or len(chosen) == 1 else f"{run.strategy}, {name}"
            if made := _strips(data, run, groups, name == BY_CHANCE):
                strips[key] = made
    hidden = len(chosen) - MOST_STRATEGIES
    return Sheet(seed, strips, f"{hidden} more strategies are not shown." if hidden > 0 else "")


def _load(experiment: Experiment) -> DataSet:
    """Load the images as the runs did, but fetch nothing."""
    config = experiment.config
    fetching = config.data.model_copy(update={"download": False})
    return load_data(
        config.model_copy(update={"data": fetching}), run=experiment.runs[0].path, checked=False, features=False
    )


def _strips(data: DataSet, run: Run, groups: Groups, by_chance: bool) -> tuple[Strip, ...]:
    rounds = [round_ for round_, picks in groups.items() if round_ != INITIAL and picks]
    if len(rounds) > MOST_CYCLES:
        positions = np.linspace(0, len(rounds) - 1, MOST_CYCLES).round().astype(int)
        rounds = [rounds[position] for position in positions]
    labels = {row.cycle: row.n_labelled for row in run.rows}

    def caption(cycle: int) -> str:
        if by_chance:
            return f"round {cycle}, as no network could choose then"
        return f"cycle {cycle}, at {labels[cycle]} labels" if cycle in labels else f"cycle {cycle}"

    return tuple(_strip(data, run, caption(cycle), groups[cycle]) for cycle in rounds)


def _strip(data: DataSet, run: Run, caption: str, picks: tuple[Pick, ...]) -> Strip:
    shown = tuple(
        Thumbnail(
            png_uri(data.train.images[sample], data.scale),
            sample,
            data.sample_path("train", sample),
            run.classes[label],
        )
        for sample, label in picks[:MOST_PICKS]
    )
    return Strip(caption, shown, len(picks) - len(shown))


def png_uri(image: np.ndarray, scale: float) -> str:
    """Return an image as a ``data:`` URI of a PNG of 28 to 48 pixels.

    Args:
        image: bytes ``[C, H, W]`` between 0 and ``scale``.
        scale: the value of white.

    """
    from PIL import Image

    pixels = np.clip(image.astype(np.float64) * (255.0 / scale), 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) != 3 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    side = max(picture.size)
    if side > LARGEST_SIDE:
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    elif side < SMALLEST_SIDE:
        times = -(-SMALLEST_SIDE // side)
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
