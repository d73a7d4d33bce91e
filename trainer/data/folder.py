"""``folder:PATH``: a user's own image files, in class folders or listed in ``labels.csv``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.arrays import DataSet
from trainer.data.constants import CHUNK_BYTES
from trainer.data.custom import (
    ImageOptions,
    assemble,
    counted,
    draw_test,
    listed,
    require_labels,
    require_memory,
)
from trainer.data.decode import UPPER_BYTE, Depth, Header, Unreadable, choose_depth, read_headers, read_images
from trainer.data.labels import UNLABELLED
from trainer.data.labels_csv import NAME, list_csv
from trainer.data.listing import Listing, Sample, list_classes
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

SHOWN = 3  # unreadable files named in one message


def load_folder(
    path: Path, options: ImageOptions, memory_limit: int | None = None, labelled_only: bool = False
) -> DataSet:
    """Read a folder of images.

    They are in ``PATH/CLASS/``, in ``PATH/train/CLASS/`` and ``PATH/test/CLASS/``, or listed in ``PATH/labels.csv``;
    those that are in none of these have no label. Images are in the order of their paths, in the training half first
    those with a label, and classes in that of their names. Where the data does not say which images are for testing,
    ``trainer.data.custom.draw_test`` does, among those with a label. Mean and standard deviation are the training
    half's.

    Args:
        path: the folder.
        options: size, colours, test share, classes, what to do about unreadable files.
        memory_limit: bytes that the images may take; None means half of the machine's memory.
        labelled_only: leave out what has no label, unopened.

    Returns:
        The data set, with the path of each image and notes on the files that were left out.

    Raises:
        DataNotFound: no such folder, or no images in it.
        DataCorrupt: files that cannot be read.
        TrainerError: anything else that makes no data set, in one line.

    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataNotFound(f"folder:{path} {what}; give the folder that holds the class folders or {NAME}")
    root = path.resolve()
    found = (list_csv if (root / NAME).is_file() else list_classes)(root, options.names)
    if labelled_only:
        found.samples = [sample for sample in found.samples if sample.label is not None]
        if not found.samples:
            raise require_labels(f"folder:{path}", found.unlabelled.total())
    found.samples = _with_halves(found.samples, options.test_fraction)
    samples, headers, skipped = _readable(found, options)
    size = options.size or _common_size(samples, headers)
    grey = options.mode == "grey" or (options.mode == "auto" and all(header.grey for header in headers))
    require_memory(len(samples), 1 if grey else 3, size, memory_limit)
    depth, deep = _depth(root, samples, headers)
    ordered = sorted(samples, key=lambda s: (s.split == "test", s.label is None, s.name))  # as ``assemble`` wants them
    images, problems = read_images([root / sample.name for sample in ordered], size, 1 if grey else 3, depth)
    bad = {sample.name: problem for sample, problem in zip(ordered, problems, strict=True) if problem}
    if bad:
        skipped |= _skippable(found, bad, options)
        images = images[[not problem for problem in problems]]
        ordered = [sample for sample in ordered if sample.name not in bad]
    if options.mode == "auto" and not grey and _colourless(images):
        images = np.ascontiguousarray(images[:, :1])
    notes = found.notes(left_out=labelled_only)
    if skipped:
        notes = (*notes, f"{_described(found, skipped)} cannot be read and are left out")
    return _assembled(found, ordered, images, (*notes, *deep), depth)


def _depth(root: Path, samples: list[Sample], headers: list[Header]) -> tuple[Depth, tuple[str, ...]]:
    """Return how 16-bit images become bytes, and what is to be said about it."""
    greys = [root / sample.name for sample, header in zip(samples, headers, strict=True) if header.deep]
    cut = sum(header.cut for header in headers)
    depth, (low, high) = choose_depth(greys) if greys else (UPPER_BYTE, (0, 0))
    notes = []
    if depth != UPPER_BYTE:
        notes.append(
            f"{counted(len(greys), '16-bit image')} under {root} use only the values {low:,} to {high:,}: these, not "
            f"0 to 65,535, are read as black to white, in steps of {1 << depth.shift}"
        )
    if cut:
        notes.append(
            f"{counted(cut, 'image')} under {root} with 16 bits a colour, of which the upper 8 are "
            "read: if they use fewer, save them with 8"
        )
    return depth, tuple(notes)


def _readable(found: Listing, options: ImageOptions) -> tuple[list[Sample], list[Header], dict[str, Unreadable]]:
    """Return the samples whose files say what they are, and what is wrong with the others."""
    headers = read_headers([found.root / sample.name for sample in found.samples], turned=options.size is None)
    pairs = list(zip(found.samples, headers, strict=True))
    bad = {sample.name: header for sample, header in pairs if isinstance(header, Unreadable)}
    skipped = _skippable(found, bad, options) if bad else {}
    good = [(sample, header) for sample, header in pairs if isinstance(header, Header)]
    return [sample for sample, _ in good], [header for _, header in good], skipped


def _skippable(found: Listing, bad: dict[str, Unreadable], options: ImageOptions) -> dict[str, Unreadable]:
    """Return the unreadable files, where they may be left out."""
    if options.skip_bad and len(bad) < len(found.samples):
        return bad
    raise DataCorrupt(
        f"{_described(found, bad)} cannot be read: replace or remove them, or leave them out with "
        "--set data.skip_bad=true"
    )


def _described(found: Listing, bad: dict[str, Unreadable]) -> str:
    shown = ", ".join(f"{name} ({problem.reason})" for name, problem in list(bad.items())[:SHOWN])
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return f"{len(bad)} of {len(found.samples)} images under {found.root}, {shown}{more},"


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


def _with_halves(samples: list[Sample], fraction: float) -> list[Sample]:
    """Give each sample a half, in the same order: before any file is opened, so that bad ones change no other's."""
    if samples[0].split is not None:
        return samples
    labelled = [sample.name for sample in samples if sample.label is not None]
    drawn = {name for name, test in zip(labelled, draw_test(labelled, fraction), strict=True) if test}
    return [sample._replace(split="test" if sample.name in drawn else "train") for sample in samples]


def _colourless(images: NDArray[np.uint8]) -> bool:
    """Whether red, green and blue are equal everywhere."""
    step = max(1, CHUNK_BYTES // images[:1].size)
    parts = (images[start : start + step] for start in range(0, len(images), step))
    return all(bool((part == part[:, :1]).all()) for part in parts)


def _assembled(
    found: Listing, samples: list[Sample], images: NDArray[np.uint8], notes: tuple[str, ...], depth: Depth
) -> DataSet:
    present = {sample.label for sample in samples if sample.label is not None}
    gone = sorted({sample.label for sample in found.samples if sample.label is not None} - present)
    if gone:
        raise DataCorrupt(f"folder:{found.root}: no image of {listed(gone)} can be read; replace them")
    n_train = sum(sample.split == "train" for sample in samples)
    halves = {"train": n_train, "test": len(samples) - n_train}
    wanted = {sample.split for sample in found.samples} | {"train"}
    if not all(halves[half] for half in wanted if half):
        raise TrainerError(
            f"folder:{found.root} has {n_train} readable training and {halves['test']} readable test images; "
            "expected at least one of each: add images"
        )
    empty = {Path(name).name for name in found.empty}
    classes = found.classes or tuple(sorted(present | empty))
    position = {name: label for label, name in enumerate(classes)}
    labels = [UNLABELLED if sample.label is None else position[sample.label] for sample in samples]
    return assemble(
        "folder",
        classes,
        images,
        np.array(labels, np.int64),
        n_train,
        paths=tuple(sample.name for sample in samples),
        root=found.root,
        notes=notes,
        depth=depth,
    )
