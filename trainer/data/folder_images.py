"""The images of a folder as bytes: which can be read, their size and colours, and decoding piece by piece."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.constants import byte_constants, count_bytes
from trainer.data.custom import ImageOptions, counted
from trainer.data.decode import UPPER_BYTE, Depth, Header, Unreadable, choose_depth, read_headers, read_images
from trainer.data.halves import in_halves
from trainer.data.listed import Sample
from trainer.data.listing import Listing
from trainer.errors import DataCorrupt, TrainerError

SHOWN = 3  # unreadable files named in one message
PIECE_BYTES, PIECE_IMAGES = 2**25, 128  # decoded at a time: at most so many bytes, and so many images
Progress = Callable[[int, int], None]
"""Told how many of how many images are decoded."""


class Plan(NamedTuple):
    """How the images of a folder are to be decoded, from their headers.

    Args:
        samples: those whose headers can be read, in the order of the data set.
        size: (height, width).
        channels: 1 or 3.
        perhaps_grey: whether one channel is enough if no pixel has a colour.
        depth: how 16-bit greys become bytes.
        notes: what is to be said of them.
        skipped: why others cannot be read, by name.

    """

    samples: list[Sample]
    size: tuple[int, int]
    channels: int
    perhaps_grey: bool
    depth: Depth
    notes: tuple[str, ...]
    skipped: dict[str, str]


class Images(NamedTuple):
    """What was read of a folder.

    Args:
        images: uint8 ``[N, C, H, W]``, in the order of the data set, without those that cannot be read.
        mean: per channel, of the training half divided by 255.
        std: likewise.
        depth: how 16-bit greys became bytes.
        notes: what is to be said of them.
        skipped: why files cannot be read, by name.

    """

    images: NDArray[np.uint8]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    depth: Depth
    notes: tuple[str, ...]
    skipped: dict[str, str]


def plan_images(found: Listing, options: ImageOptions) -> Plan:
    """Read the headers of all files, and decide on size, colours and depth.

    Args:
        found: the files, each with its half.
        options: size, colours, and what to do about unreadable files.

    Raises:
        DataCorrupt: files that cannot be read.
        TrainerError: sizes that differ where none is given.

    """
    headers = read_headers([found.root / sample.name for sample in found.samples], turned=options.size is None)
    pairs = list(zip(found.samples, headers, strict=True))
    bad = {sample.name: header.reason for sample, header in pairs if isinstance(header, Unreadable)}
    if bad:
        require_skippable(found, bad, options)
    good = [(sample, header) for sample, header in pairs if isinstance(header, Header)]
    samples, kinds = [sample for sample, _ in good], [header for _, header in good]
    grey = options.mode == "grey" or (options.mode == "auto" and all(header.grey for header in kinds))
    size = options.size or _common_size(samples, kinds)
    depth, notes = _depth(found.root, samples, kinds)
    notes += _several(found.root, samples, kinds)
    return Plan(
        samples=in_halves(found.samples, options, bad),
        size=size,
        channels=1 if grey else 3,
        perhaps_grey=options.mode == "auto" and not grey,
        depth=depth,
        notes=notes,
        skipped=bad,
    )


class Decoding:
    """Decodes what was planned piece by piece, and counts on the way what would need a second look.

    Args:
        found: the files.
        plan: what is decoded, and how.
        progress: is told after every piece.

    """

    def __init__(self, found: Listing, plan: Plan, progress: Progress | None = None) -> None:
        self.found, self.plan, self.progress = found, plan, progress
        self.bad: dict[str, str] = {}
        self.colourless = plan.perhaps_grey
        self._counts = np.zeros((plan.channels, 256))

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images that can be read, uint8 ``[n, C, H, W]``, in order and a few at a time."""
        plan = self.plan
        step = min(max(1, PIECE_BYTES // (plan.channels * plan.size[0] * plan.size[1])), PIECE_IMAGES)
        for start in range(0, len(plan.samples), step):
            samples = plan.samples[start : start + step]
            paths = [self.found.root / sample.name for sample in samples]
            images, problems = read_images(paths, plan.size, plan.channels, plan.depth)
            self.bad |= {sample.name: bad.reason for sample, bad in zip(samples, problems, strict=True) if bad}
            if any(problems):
                images = images[[not problem for problem in problems]]
            for_training = sum(
                sample.split == "train" and not problem for sample, problem in zip(samples, problems, strict=True)
            )
            self._counts += count_bytes(images[:for_training])
            self.colourless = self.colourless and bool((images == images[:, :1]).all())
            yield images
            if self.progress:
                self.progress(start + len(samples), len(plan.samples))

    def drawn_again(self, options: ImageOptions) -> Plan | None:
        """Return another plan where files that turned out to be unreadable had a part in drawing the halves.

        Args:
            options: as those of the plan.

        """
        bad = self.plan.skipped | self.bad
        samples = in_halves(self.found.samples, options, bad)
        if samples == [sample for sample in self.plan.samples if sample.name not in bad]:
            return None
        return self.plan._replace(samples=samples, skipped=bad)

    def finished(self, images: NDArray[np.uint8], options: ImageOptions) -> Images:
        """Return what was read, when all pieces were.

        Args:
            images: all pieces; of three channels or, where these are equal everywhere, of one.
            options: what to do about unreadable files.

        Raises:
            DataCorrupt: files that cannot be read.

        """
        self.require_skippable(options)
        mean, std = byte_constants(self._counts[: images.shape[1]])
        return Images(images, mean, std, self.plan.depth, self.plan.notes, self.plan.skipped | self.bad)

    def require_skippable(self, options: ImageOptions) -> None:
        """Refuse what could not be decoded, unless it may be left out.

        Args:
            options: what to do about unreadable files.

        Raises:
            DataCorrupt: it may not.

        """
        if self.bad:
            require_skippable(self.found, self.bad, options)


def read_into_memory(found: Listing, plan: Plan, options: ImageOptions, progress: Progress | None = None) -> Images:
    """Decode all images.

    Args:
        found: the files.
        plan: how they are decoded.
        options: what to do about unreadable files.
        progress: is told after every piece.

    Raises:
        DataCorrupt: files that cannot be read.

    """
    decoding = Decoding(found, plan, progress)
    images, count = np.empty((len(plan.samples), plan.channels, *plan.size), np.uint8), 0
    for piece in decoding.pieces():
        images[count : count + len(piece)] = piece
        count += len(piece)
    decoding.require_skippable(options)
    if (again := decoding.drawn_again(options)) is not None:
        del images
        return read_into_memory(found, again, options, progress)
    images = images[:count]
    return decoding.finished(np.ascontiguousarray(images[:, :1]) if decoding.colourless else images, options)


def require_skippable(found: Listing, bad: dict[str, str], options: ImageOptions) -> None:
    """Refuse unreadable files, unless they may be left out and others remain.

    Args:
        found: all files.
        bad: why some cannot be read, by name.
        options: say whether these may be left out.

    Raises:
        DataCorrupt: they may not.

    """
    if not options.skip_bad or len(bad) >= len(found.samples):
        raise DataCorrupt(
            f"{described(found, bad)} cannot be read: replace or remove them, or leave them out with "
            "--set data.skip_bad=true"
        )


def described(found: Listing, bad: dict[str, str]) -> str:
    """Count unreadable files, and name the first few with the reason.

    Args:
        found: all files.
        bad: why some cannot be read, by name.

    """
    shown = ", ".join(f"{name} ({reason})" for name, reason in list(bad.items())[:SHOWN])
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return f"{len(bad)} of {len(found.samples)} images under {found.root}, {shown}{more},"


def _depth(root: Path, samples: list[Sample], headers: list[Header]) -> tuple[Depth, tuple[str, ...]]:
    """Return how 16-bit images become bytes, and what is to be said about it."""
    greys = [root / sample.name for sample, header in zip(samples, headers, strict=True) if header.deep]
    cut = sum(header.cut for header in headers)
    chosen = choose_depth(greys)
    notes = []
    if chosen.depth != UPPER_BYTE:
        span = f"{chosen.low:,} to {chosen.high:,}"
        notes.append(
            f"{counted(len(greys), '16-bit image')} under {root} use only the values {span}: these, not 0 to 65,535, "
            f"are read as black to white, in steps of {1 << chosen.depth.shift}"
        )
        if others := len(samples) - len(greys):
            notes.append(f"{counted(others, 'image')} beside them with 8 bits: let all have 8, or all 16, on one scale")
    if chosen.few:
        notes.append(chosen.few.said(f"{counted(len(greys), '16-bit image')} under {root}"))
    if cut:
        notes.append(
            f"{counted(cut, 'image')} under {root} with 16 bits a colour, of which the upper 8 are "
            "read: if they use fewer, save them with 8"
        )
    return chosen.depth, tuple(notes)


def _several(root: Path, samples: list[Sample], headers: list[Header]) -> tuple[str, ...]:
    """Return what is to be said of files of which one picture of several is read."""
    names = [sample.name for sample, header in zip(samples, headers, strict=True) if header.several]
    if not names:
        return ()
    return (
        f"{counted(len(names), 'file')} under {root} with several pictures, animated or in pages, such as {names[0]}: "
        "the first of each is read; save the others as files of their own if they matter",
    )


def _common_size(samples: list[Sample], headers: list[Header]) -> tuple[int, int]:
    """Return the size that all images have."""
    first = headers[0].size
    for sample, header in zip(samples, headers, strict=True):
        if header.size != first:
            sizes = [f"{name} is {h}x{w}" for name, (h, w) in ((samples[0].name, first), (sample.name, header.size))]
            raise TrainerError(
                f"images differ in size (height x width): {' and '.join(sizes)}; bring all to one with --image-size, "
                "such as --image-size 32"
            )
    return first
