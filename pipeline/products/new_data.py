"""Samples that a network has never seen: images in a folder or arrays in an archive, read as the run read its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.errors import PipelineError
from pipeline.places import refuse_runs
from pipeline.products.model_folder import About
from trainer.data import custom_kind
from trainer.data.archive import HALVES, INPUTS, array_names, read_arrays
from trainer.data.array_forms import Named, read_inputs
from trainer.data.by_id import Stored
from trainer.data.custom import counted
from trainer.errors import TrainerError

PIECE_BYTES = 2**25
"""Of images that are held at once, as bytes; the network's own memory comes on top."""
MOST_IN_PIECE = 1024


class NewData(Protocol):
    """Samples to predict, known by name once they are read."""

    names: list[str]
    """Of the samples read so far, in order."""
    unreadable: dict[str, str]
    """Files that cannot be read, and why."""
    notes: list[str]
    """What a user should know of how they were read."""

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield normalised inputs ``[n, C, H, W]``, piece by piece."""
        ...

    def __len__(self) -> int: ...


def open_new_data(given: str, about: About) -> NewData:
    """Find what is to be predicted.

    Args:
        given: a folder of images, or an archive of arrays; ``folder:`` or ``npz:`` may stand in front.
        about: the network.

    Raises:
        PipelineError: there is nothing of the kind, or the network takes something else.

    """
    kind = custom_kind(given)
    path = Path(given.removeprefix(f"{kind}:") if kind else given).expanduser()
    if path.is_dir():
        if about.features:
            raise PipelineError(
                f"{path} is a folder, but the network takes {about.input_shape[0]:,} features of each sample, not "
                "images: give an archive FILE.npz with an array of them"
            )
        return ImageFiles(path, about)
    if not path.is_file():
        raise PipelineError(f"{path} does not exist: give a folder of images or an archive FILE.npz")
    return Arrays(path, about)


class ImageFiles:
    """All images in a folder and below it, in the order of their paths.

    Args:
        root: the folder.
        about: the network.

    Raises:
        PipelineError: it holds no images, or cannot be listed.

    """

    def __init__(self, root: Path, about: About) -> None:
        from trainer.data.listing import list_all

        refuse_runs(root)

        self._root, self._about = root.resolve(), about
        try:
            self._found = list_all(self._root)
        except TrainerError as error:
            raise PipelineError(str(error)) from error
        if not self._found:
            raise PipelineError(f"{root} holds no images, nor do the folders in it: name another")
        self.names: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self._found)

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the images that can be read, piece by piece."""
        from trainer.data.decode import Depth, Header, read_headers, read_images

        channels, height, width = self._about.input_shape
        step = min(max(1, PIECE_BYTES // (channels * height * width)), MOST_IN_PIECE)
        coloured = 0
        for start in range(0, len(self._found), step):
            names = self._found[start : start + step]
            paths = [self._root / name for name in names]
            if channels == 1:
                headers = read_headers(paths, turned=False)
                coloured += sum(isinstance(header, Header) and not header.grey for header in headers)
            images, problems = read_images(paths, (height, width), channels, Depth(*self._about.depth))
            self.unreadable |= {name: why.reason for name, why in zip(names, problems, strict=True) if why}
            readable = [not problem for problem in problems]
            self.names += [name for name, good in zip(names, readable, strict=True) if good]
            if any(readable):
                yield self._about.normalised(images[readable])
        if coloured:
            self.notes.append(
                f"{counted(coloured, 'file')} can hold colours and {'is' if coloured == 1 else 'are'} read as grey, as "
                "the network was trained on grey images"
            )


class Arrays:
    """The inputs of an archive, in its order; labels in it are not looked at.

    Args:
        path: the archive.
        about: the network.

    Raises:
        PipelineError: it holds no inputs that the network takes.

    """

    def __init__(self, path: Path, about: About) -> None:
        try:
            present = array_names(path)
            wanted = _inputs_among(present)
            arrays = read_arrays(path, wanted, None)
            stored, notes = read_inputs([Named(name, arrays.pop(name)) for name in wanted], about.span)
        except TrainerError as error:
            raise PipelineError(f"{path}: " + str(error).removeprefix(f"npz:{path}: ")) from error
        self._stored, self._about = stored, about
        _require_fit(path, wanted, stored, about)
        self.names = [
            f"{path.name}#{name}[{row}]" for name, x in zip(wanted, stored, strict=True) for row in range(len(x))
        ]
        self.unreadable: dict[str, str] = {}
        self.notes = [] if about.features else [f"{path}: {note}" for note in notes]

    def __len__(self) -> int:
        return len(self.names)

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the samples, piece by piece."""
        step = min(max(1, PIECE_BYTES // self._stored[0][:1].nbytes), MOST_IN_PIECE)
        for x in self._stored:
            for start in range(0, len(x), step):
                yield self._about.normalised(x[start : start + step])


def _inputs_among(present: list[str]) -> list[str]:
    """Return the arrays that hold inputs, by the names that data sets have, or the only array there is."""
    halves = dict.fromkeys(x for layout in HALVES for _, x, _ in layout if x in present)
    wanted = [*halves] or [x for x in INPUTS if x in present][:1] or (present if len(present) == 1 else [])
    if not wanted:
        raise TrainerError(
            f"expected one array, or one called {', '.join(INPUTS)}, x_train or x_test; it has {', '.join(present[:8])}"
        )
    return wanted


def _require_fit(path: Path, wanted: list[str], stored: list[Stored], about: About) -> None:
    expected = list(about.input_shape)
    for name, x in zip(wanted, stored, strict=True):
        features, got = x.dtype != np.uint8, list(x.shape[1:])
        if features != about.features or got != expected:
            wants = f"{expected[0]:,} features of each sample" if about.features else f"images {expected}"
            has = f"{got[0]:,} features" if features else f"images {got}"
            raise PipelineError(
                f"{path}: the network takes {wants}{'' if about.features else ' (channels, height, width)'}, but "
                f"{name} holds {has}: give what it was trained on"
            )
