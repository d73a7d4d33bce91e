"""MNIST, Fashion-MNIST, CIFAR and SVHN through torchvision's own classes, read without touching the data root."""

import gzip
import tempfile
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.arrays import DataSet, Split
from trainer.errors import DataCorrupt, DataNotFound

DEFAULT_ROOT = Path("data")
MAX_IDX_BYTES = 64 * 2**20  # the largest idx file of the family (MNIST's training images) has 47,040,016 bytes
BYTE_SCALE = 255.0

# Mean and standard deviation per channel of the training images divided by 255.
CONSTANTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
_IDX_STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load_mnist(root: Path | None = None, download: bool = False) -> DataSet:
    """Load MNIST: 60,000 + 10,000 handwritten digits, ``[1, 28, 28]``.

    Args:
        root: torchvision's root, with ``MNIST/raw/*-ubyte`` or ``*-ubyte.gz`` under it.
        download: fetch what is missing into the root.

    Raises:
        DataNotFound: a file is missing.
        DataCorrupt: a file is damaged.

    """
    return _load_idx("mnist", "MNIST", root, download)


def load_fashion_mnist(root: Path | None = None, download: bool = False) -> DataSet:
    """Load Fashion-MNIST: 60,000 + 10,000 pieces of clothing, ``[1, 28, 28]``.

    Args:
        root: torchvision's root, with ``FashionMNIST/raw/*-ubyte`` or ``*-ubyte.gz`` under it.
        download: fetch what is missing into the root.

    Raises:
        DataNotFound: a file is missing.
        DataCorrupt: a file is damaged.

    """
    return _load_idx("fashion-mnist", "FashionMNIST", root, download)


def load_cifar10(root: Path | None = None, download: bool = False) -> DataSet:
    """Load CIFAR-10: 50,000 + 10,000 colour images, ``[3, 32, 32]``.

    Args:
        root: torchvision's root, with ``cifar-10-batches-py/`` under it.
        download: fetch what is missing into the root.

    Raises:
        DataNotFound: a file is missing.
        DataCorrupt: a file differs from its published checksum.

    """
    return _load_cifar("cifar10", "CIFAR10", root, download)


def load_cifar100(root: Path | None = None, download: bool = False) -> DataSet:
    """Load CIFAR-100: 50,000 + 10,000 colour images, ``[3, 32, 32]``.

    Args:
        root: torchvision's root, with ``cifar-100-python/`` under it.
        download: fetch what is missing into the root.

    Raises:
        DataNotFound: a file is missing.
        DataCorrupt: a file differs from its published checksum.

    """
    return _load_cifar("cifar100", "CIFAR100", root, download)


def load_svhn(root: Path | None = None, download: bool = False) -> DataSet:
    """Load SVHN, cropped digits: 73,257 + 26,032 colour images, ``[3, 32, 32]``.

    Args:
        root: torchvision's root, with ``train_32x32.mat`` and ``test_32x32.mat`` in it.
        download: fetch what is missing into the root.

    Raises:
        DataNotFound: a file is missing.
        DataCorrupt: a file differs from its published checksum.

    """
    from torchvision.datasets import SVHN

    root = root or DEFAULT_ROOT
    files = _Files("svhn", root, [root / SVHN.split_list[half][1] for half in ("train", "test")])
    files.require(download, lambda: [SVHN(root, split=half, download=True) for half in ("train", "test")])
    halves = []
    for half in ("train", "test"):
        loaded = files.read(partial(SVHN, root, split=half))
        halves.append(Split(np.ascontiguousarray(loaded.data), loaded.labels))
    return _assemble("svhn", tuple(str(digit) for digit in range(10)), *halves)


def _load_idx(name: str, class_name: str, root: Path | None, download: bool) -> DataSet:
    """Read an idx data set from a temporary copy: torchvision insists on decompressed files next to each other."""
    from torchvision import datasets

    reader = getattr(datasets, class_name)
    root = root or DEFAULT_ROOT
    raw = root / class_name / "raw"
    stored = [_plain_or_gz(raw / stem) for stem in _IDX_STEMS]
    files = _Files(name, root, stored)
    if files.missing and download:
        files.require(download, lambda: reader(root, download=True))
        stored = [_plain_or_gz(raw / stem) for stem in _IDX_STEMS]
        files = _Files(name, root, stored)
    files.require(False, lambda: None)
    with tempfile.TemporaryDirectory(prefix="trainer-idx-") as scratch:
        copies = Path(scratch) / class_name / "raw"
        copies.mkdir(parents=True)
        for source, stem in zip(stored, _IDX_STEMS, strict=True):
            _place(source, copies / stem)
        train, test = (files.read(partial(reader, scratch, train=half)) for half in (True, False))
        halves = [Split(part.data.numpy()[:, None], part.targets.numpy()) for part in (train, test)]
    return _assemble(name, tuple(text.rsplit(" - ")[0] for text in reader.classes), *halves)


def _plain_or_gz(path: Path) -> Path:
    compressed = path.with_name(path.name + ".gz")
    return compressed if compressed.exists() and not path.exists() else path


def _place(source: Path, target: Path) -> None:
    """Decompress a .gz to ``target``, or link a plain file there."""
    if source.suffix != ".gz":
        target.symlink_to(source.resolve())
        return
    total = 0
    try:
        with gzip.open(source, "rb") as packed, target.open("wb") as plain:
            while block := packed.read(2**20):
                total += len(block)
                if total > MAX_IDX_BYTES:
                    raise DataCorrupt(
                        f"{source} decompresses to more than {MAX_IDX_BYTES} bytes, more than any file of this data "
                        "set has; fetch it again"
                    )
                plain.write(block)
    except (OSError, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{source} cannot be decompressed ({error}); fetch it again") from error


def _load_cifar(name: str, class_name: str, root: Path | None, download: bool) -> DataSet:
    """Read a CIFAR data set; torchvision compares every pickle with its published MD5 before opening any."""
    from torchvision import datasets

    reader = getattr(datasets, class_name)
    root = root or DEFAULT_ROOT
    folder = root / reader.base_folder
    names = [entry[0] for entry in (*reader.train_list, *reader.test_list)] + [reader.meta["filename"]]
    files = _Files(name, root, [folder / file for file in names])
    files.require(download, lambda: reader(root, download=True))
    halves = []
    classes: tuple[str, ...] = ()
    for half in (True, False):
        loaded = files.read(partial(reader, root, train=half))
        images = np.ascontiguousarray(loaded.data.transpose(0, 3, 1, 2))  # [N, 3, 32, 32]
        halves.append(Split(images, np.asarray(loaded.targets, np.int64)))
        classes = tuple(loaded.classes)
    return _assemble(name, classes, *halves)


@dataclass(frozen=True)
class _Files:
    """The files a data set needs, and what to say when they are not as they should be."""

    name: str
    root: Path
    paths: Sequence[Path]

    @property
    def missing(self) -> list[Path]:
        return [path for path in self.paths if not path.is_file()]

    def require(self, download: bool, fetch: Callable[[], Any]) -> None:
        """Fetch missing files if allowed, else say which one is missing and how to get it."""
        if self.missing and download:
            try:
                fetch()
            except (OSError, RuntimeError) as error:
                raise DataNotFound(
                    f"{self.name} could not be downloaded into {self.root} ({_one_line(error)}); check the network and "
                    "that the folder can be written, or put the files there by hand"
                ) from error
        if self.missing:
            raise DataNotFound(
                f"{self.name} needs {self.missing[0]}, which does not exist; add --download to fetch it into "
                f"{self.root}, or name with --data-root the folder that holds it in torchvision's layout"
            )

    def read(self, load: Callable[[], Any]) -> Any:
        """Run a torchvision reader, turning its failures into one clear line."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # CIFAR's pickles were written by a NumPy of another age
                return load()
        except (OSError, RuntimeError, AssertionError, ValueError, TypeError, KeyError, IndexError) as error:
            raise DataCorrupt(
                f"{self.name} under {self.root} is not what its publisher distributes ({_one_line(error)}); remove "
                "those files and fetch them again with --download"
            ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _assemble(name: str, classes: tuple[str, ...], train: Split, test: Split) -> DataSet:
    mean, std = CONSTANTS[name]
    return DataSet(name, classes, train, test, BYTE_SCALE, mean, std)
