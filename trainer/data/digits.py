"""The offline default: scikit-learn's 1,797 real 8x8 scans of handwritten digits."""

from pathlib import Path

import numpy as np

from trainer.data.arrays import DataSet, Split

N_TEST = 500
MEAN, STD = (0.3052,), (0.3759,)  # of the 1,297 training scans divided by 16


def load_digits(root: Path | None = None, download: bool = False) -> DataSet:
    """Load the digits that ship inside scikit-learn, with a split that is the same for ever.

    Scan ``i`` of the published order is a test image exactly when ``(500 i) mod 1797 < 500``. As 500 and 1797
    have no common factor this takes 500 scans spread evenly through the file, and it involves no random
    number generator: neither a run's seed nor a library's version can move it. Both halves keep the
    published order.

    Source: Alpaydin & Kaynak 1998, as distributed by scikit-learn.

    Args:
        root: not used; the scans need no data root.
        download: not used; the scans need no download.

    Returns:
        1,297 training and 500 test images ``[1, 8, 8]`` with values 0..16, ten classes.

    """
    from sklearn import datasets

    scans = datasets.load_digits()
    images = np.asarray(scans.images).astype(np.uint8)[:, None]  # [1797, 1, 8, 8]
    labels = np.asarray(scans.target).astype(np.int64)
    total = len(labels)
    test = (np.arange(total) * N_TEST) % total < N_TEST
    return DataSet(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        train=Split(images[~test], labels[~test]),
        test=Split(images[test], labels[test]),
        scale=16.0,
        mean=MEAN,
        std=STD,
    )
