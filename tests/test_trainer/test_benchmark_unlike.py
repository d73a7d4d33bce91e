"""`benchmarks/unlike.py` runs; what it measures is for more seeds."""

import re

import numpy as np
import pytest

import benchmark_scripts
from benchmark_scripts import invoke


@pytest.fixture
def unlike(monkeypatch):
    return benchmark_scripts.benchmark(monkeypatch, "unlike")


def test_it_prints_a_row_for_each_data_set_and_network(unlike):
    output = invoke(unlike.main, "--small")
    rows = re.findall(r"^\| (colour only|20 labels), .* \| (cnn|mlp) \| \d, \d, \d \| 0 \| ", output, re.MULTILINE)
    assert rows == [(kind, network) for kind in ("colour only", "20 labels") for network in ("cnn", "mlp")]


@pytest.mark.parametrize("name", ["dark", "brightness only", "X-rays", "12x40", "embeddings 1x128", "digits"])
def test_its_data_sets_have_every_class_and_enough_labels(unlike, name):
    data, ids = unlike.made(name, 0, None)
    again, _ = unlike.made(name, 0, None)
    assert data.fingerprint() == again.fingerprint()
    assert len(np.unique(ids)) == unlike.KINDS[name].labels
    assert set(data.labels("train", ids)) == set(range(data.num_classes))
    assert data.train.images.std() > 1
