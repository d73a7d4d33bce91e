"""``pipeline predict``: a network that somebody was given, on images of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.places import check_file, runs_in
from pipeline.products.model_folder import ABOUT, FOLDER, About, read_about
from pipeline.products.networks import Say, outputs_of
from pipeline.products.new_data import NewData, open_new_data
from pipeline.products.predictions import judge, write_predictions

PRODUCTS = "products"


class Predicted(NamedTuple):
    """What was done.

    Args:
        about: the network that was used.
        data: the samples, those that could not be read, and notes.
        written: how many predictions.

    """

    about: About
    data: NewData
    written: int


def find_model(path: Path) -> Path:
    """Return the model folder that a run, its products or the folder itself lead to.

    Args:
        path: what the user gave.

    Raises:
        PipelineError: there is none.

    """
    for folder in (path, path / FOLDER, path / PRODUCTS / FOLDER):
        if (folder / ABOUT).is_file():
            return folder
    if not path.is_dir():
        raise PipelineError(f"{path} does not exist: give a run or a folder model of its products")
    if (path / "config.yaml").is_file():
        raise PipelineError(f"{path} has no {PRODUCTS}/{FOLDER} yet: write it first, 'pipeline products {path}'")
    if runs := runs_in(path):
        raise PipelineError(f"{path} holds runs and no {ABOUT}: name one of them, such as {runs[0]}")
    raise PipelineError(f"{path} has no {ABOUT}: expected a run, its folder {PRODUCTS}, or the folder {FOLDER} in it")


def predict_new(
    model: Path,
    given: str,
    out: Path,
    *,
    trust_code: bool = False,
    say: Say = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predicted:
    """Write what a network says of new samples, least sure first.

    Args:
        model: the model folder.
        given: a folder of images, or an archive of arrays.
        out: the file to write, which must not exist.
        trust_code: whether a network that is not built in may be imported, where the folder has no port.
        say: told what code runs.
        progress: called with samples done and all.

    Raises:
        PipelineError: the folder is damaged, or the samples are not what the network takes; nothing is written.

    """
    check_file(out, new=True)
    about = read_about(model)
    data = open_new_data(given, about)
    outputs = outputs_of(model, about, trust_code, say)
    pieces = _counted(data, progress)
    if (first := next(pieces, None)) is None:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in [*data.unreadable.items()][:3])
        raise PipelineError(f"{given}: none of {len(data)} images can be read ({reasons}): replace them")
    judged = judge((piece for part in ([first], pieces) for piece in part), outputs, about.trained_with)
    count = write_predictions(out, judged, about.classes, lambda i: data.names[i])
    return Predicted(about, data, count)


def _counted(data: NewData, progress: Callable[[int, int], None]) -> Iterator[np.ndarray]:
    for piece in data.pieces():
        yield piece
        progress(len(data.names) + len(data.unreadable), len(data))
