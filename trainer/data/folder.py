"""``folder:PATH``: a user's own image files, in class folders or listed in ``labels.csv``."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from trainer.data.arrays import DataSet
from trainer.data.custom import ImageOptions, assemble, listed, require_labels, require_memory
from trainer.data.folder_images import Images, Progress, described, plan_images, read_into_memory
from trainer.data.halves import in_halves
from trainer.data.image_cache import read_through_cache
from trainer.data.labels import UNLABELLED
from trainer.data.labels_csv import NAME, list_csv
from trainer.data.listed import Listed, Sample
from trainer.data.listed_again import beside, list_again, require_readable
from trainer.data.listing import Listing, list_classes
from trainer.errors import DataCorrupt, DataNotFound, TrainerError


def load_folder(
    path: Path,
    options: ImageOptions,
    memory_limit: int | None = None,
    labelled_only: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
    before: Listed | Literal["unlisted"] | None = None,
) -> DataSet:
    """Read a folder of images.

    They are in ``PATH/CLASS/``, in ``PATH/train/CLASS/`` and ``PATH/test/CLASS/``, or listed in ``PATH/labels.csv``;
    those that are in none of these have no label. Images are in the order of their paths, in the training half first
    those with a label, and classes in that of their names. Where the data does not say which images are for testing,
    ``custom.draw_test`` does, among those with a label that can be read, or among these of each class. Mean
    and standard deviation are the training half's.

    Args:
        path: the folder.
        options: size, colours, test share, classes, what to do about unreadable files.
        memory_limit: bytes that the images may take; None means half of the machine's memory.
        labelled_only: leave out what has no label, unopened.
        cache: a folder in which the decoded images are kept and from which they are mapped into memory, where they may
            take more than ``memory_limit``; None decodes into memory.
        progress: is told how many of how many images are decoded, while they are.
        before: how it was listed before (``DataSet.listed``), to be read so again: the same images, labels and halves,
            whatever labels and images came since; ``unlisted`` passes over ``labels.csv``.

    Returns:
        The data set, with the path of each image and notes on the files that were left out.

    Raises:
        DataNotFound: no such folder, or no images in it.
        DataCorrupt: files that cannot be read.
        TrainerError: anything else that makes no data set, in one line.

    """
    if isinstance(before, Listed):
        found = list_again(_root(path), before)
    else:
        found = list_folder(path, options, by_list=before is None)
        if labelled_only:
            found.samples = [sample for sample in found.samples if sample.label is not None]
            if not found.samples:
                raise require_labels(f"folder:{path}", found.unlabelled.total())
    again: tuple[str, ...] = ()
    if cache is not None:
        read, again = read_through_cache(found, options, cache, progress)
    else:
        plan = plan_images(found, options)
        require_memory(len(plan.samples), plan.channels, plan.size, memory_limit)
        read = read_into_memory(found, plan, options, progress)
    if isinstance(before, Listed):
        require_readable(found.root, before, read.skipped)
    notes = found.notes(left_out=labelled_only)
    if read.skipped:
        notes = (*notes, f"{described(found, read.skipped)} cannot be read and are left out")
    samples = in_halves(found.samples, options, read.skipped)
    data = _assembled(found, samples, read, (*notes, *read.notes, *again))
    if isinstance(before, Listed):
        return replace(data, listed=before)
    half = {sample.name: sample.split for sample in samples}
    held = tuple(sample._replace(split=half.get(sample.name, sample.split or "train")) for sample in found.samples)
    return replace(
        data, listed=Listed(data.classes, held, tuple(read.skipped), beside(found.root, held), found.labels_file)
    )


def list_folder(path: Path, options: ImageOptions, by_list: bool = True) -> Listing:
    """Find the images of a folder, without opening any.

    Args:
        path: the folder.
        options: say which classes there are.
        by_list: whether its ``labels.csv`` is read, where it has one.

    Returns:
        The images, sorted by path; which half they belong to may not be said yet.

    Raises:
        DataNotFound: no such folder, or no images in it.
        TrainerError: anything else that makes no data set, in one line.

    """
    root = _root(path)
    listing = list_csv if by_list and (root / NAME).is_file() else list_classes
    return listing(root, options.names, options.left_out)


def _root(path: Path) -> Path:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataNotFound(f"folder:{path} {what}; give the folder that holds the class folders or {NAME}")
    return path.resolve()


def _assembled(found: Listing, samples: list[Sample], read: Images, notes: tuple[str, ...]) -> DataSet:
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
        read.images,
        np.array(labels, np.int64),
        n_train,
        paths=tuple(sample.name for sample in samples),
        root=found.root,
        notes=notes,
        depth=read.depth,
        normal=(read.mean, read.std),
    )
