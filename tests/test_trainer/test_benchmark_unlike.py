"""`benchmarks/unlike.py` runs; what it measures is for more seeds."""

import re

import numpy as np
import pytest

import benchmark_scripts
from benchmark_scripts import invoke

pytestmark = pytest.mark.long


@pytest.fixture
def unlike(monkeypatch):
    return benchmark_scripts.benchmark(monkeypatch, "unlike")


def test_it_prints_a_row_for_each_data_set_and_network(unlike):
    output = invoke(unlike.main, "--small")
    rows = re.findall(r"^\| (colour only|20 labels), .* \| (cnn|mlp) \| 1 \| \d, \d, \d \| 0 \| ", output, re.MULTILINE)
    assert rows == [(kind, network) for network in ("cnn", "mlp") for kind in ("colour only", "20 labels")]


def test_what_was_trained_is_kept_and_not_trained_again(unlike, tmp_path, monkeypatch):
    once = invoke(unlike.main, "--small", "--out", str(tmp_path))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: text.count(b"\n") for name, text in files.items()} == {"cnn.csv": 5, "mlp.csv": 5}
    monkeypatch.setattr(unlike, "train", None)
    assert invoke(unlike.main, "--small", "--out", str(tmp_path)) == once
    which = ("--kinds", "colour only,20 labels", "--networks", "cnn,mlp", "--rates", "0.1")
    assert invoke(unlike.main, "--table", *which, "--out", str(tmp_path)) == once
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_the_default_stands_for_its_own_rate_unless_it_began_again(unlike):
    def one(rate, restarts, kept):
        return unlike.Trained("dark", "cnn", 0, rate, "", restarts, kept, False, True, 0.01, 0.9, 1.0)

    kept = unlike.Kept(None)
    kept.trained["dark", "cnn", 0, 0.0] = one(0.0, 0, 1.0)
    assert kept.complete("dark", "cnn", [1.0]) == [0]
    assert kept.complete("dark", "cnn", [0.1]) == []
    assert kept.of("dark", "cnn", 0, 1.0).rate == 0.0
    kept.trained["dark", "cnn", 0, 0.0] = one(0.0, 1, 0.25)
    assert kept.complete("dark", "cnn", [0.25]) == []


@pytest.mark.parametrize("name", ["dark", "brightness only", "X-rays", "12x40", "embeddings 1x128", "digits"])
def test_its_data_sets_have_every_class_and_enough_labels(unlike, name):
    data, ids = unlike.made(name, 0, None)
    again, _ = unlike.made(name, 0, None)
    assert data.fingerprint() == again.fingerprint()
    assert len(np.unique(ids)) == unlike.KINDS[name].labels
    assert set(data.labels("train", ids)) == set(range(data.num_classes))
    assert data.train.images.std() > 1
