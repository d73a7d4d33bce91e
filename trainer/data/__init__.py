"""The registered data sets, and the one way to load them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.data.arrays import DataSet, ImageView, Split, check_ids
from trainer.data.digits import load_digits
from trainer.data.vision import load_cifar10, load_cifar100, load_fashion_mnist, load_mnist, load_svhn
from trainer.errors import TrainerError

__all__ = ["DATASETS", "DataSet", "DataSetEntry", "ImageView", "Split", "check_ids", "load"]


@dataclass(frozen=True)
class DataSetEntry:
    """A registered data set.

    Args:
        name: the name users give.
        description: one line.
        source: whom to cite.
        loader: `loader(root, download)`.
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


def load(name: str, *, root: Path | None = None, download: bool = False) -> DataSet:
    """Load a registered data set as bytes; nothing is expanded to float here.

    Args:
        name: a key of `DATASETS`.
        root: data root in torchvision's layout; None means `data` in the working folder. The digits need none.
            It is only ever written to when `download` is set.
        download: fetch missing files into the root.

    Returns:
        The data set with its published train and test halves.

    Raises:
        TrainerError: unknown name. DataNotFound: a file is missing. DataCorrupt: a file is damaged.
    """
    if name not in DATASETS:
        raise TrainerError(f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name].loader(root, download)
