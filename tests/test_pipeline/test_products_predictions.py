"""Classes, probabilities and the order of review from outputs, by hand."""

import csv

import numpy as np
import pytest

from common.losses import get_loss
from pipeline.products.predictions import Judged, judge, write_predictions

L2, CROSS_ENTROPY = get_loss("l2"), get_loss("cross-entropy")


def test_outputs_of_the_squared_error_are_projected():
    judged = Judged.of(np.array([[0.1, 0.9, 0.0], [3.0, 0.0, 1.0], [0.5, 0.5, 0.5]]), L2)
    assert judged.first.tolist() == [1, 0, 0]
    assert judged.second.tolist() == [0, 2, 1]  # of two zeros the one with the larger output
    np.testing.assert_allclose(judged.p_first, [0.9, 1.0, 1 / 3])
    np.testing.assert_allclose(judged.p_second, [0.1, 0.0, 1 / 3])
    np.testing.assert_allclose(judged.entropy, [0.325083, 0, np.log(3)], atol=1e-6)


def test_outputs_of_the_cross_entropy_are_logits():
    judged = Judged.of(np.log(np.array([[0.2, 0.5, 0.3]])), CROSS_ENTROPY)
    np.testing.assert_allclose([*judged.p_first, *judged.p_second, *judged.margin], [0.5, 0.3, 0.2])


def test_the_least_sure_come_first_also_among_the_certain():
    outputs = np.array([[9.0, 0.0], [0.6, 0.4], [2.0, 0.0], [0.4, 0.5]])  # margins 1, 0.2, 1, 0.1
    assert Judged.of(outputs, L2).order().tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize("loss", [L2, CROSS_ENTROPY])
def test_pieces_give_what_all_at_once_gives(loss):
    x = np.random.default_rng(0).normal(size=(50, 4))
    whole = Judged.of(x @ np.eye(4), loss)
    pieces = judge((x[start : start + 7] for start in range(0, 50, 7)), lambda piece: piece @ np.eye(4), loss)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_table(tmp_path):
    judged = Judged.of(np.array([[0.1, 0.9], [0.6, 0.4]]), L2)
    names = ("=a.png", "b.png")
    write_predictions(tmp_path / "p.csv", judged, ("-1", "cat"), names.__getitem__, ("split",), lambda i: ("train",))
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text("utf-8-sig").splitlines()))
    assert [row["path"] for row in rows] == ["b.png", "./=a.png"]
    assert [row["review_rank"] for row in rows] == ["1", "2"]
    assert rows[0] == {
        "path": "b.png",
        "predicted": "'-1",
        "probability": "0.600000",
        "second": "cat",
        "second_probability": "0.400000",
        "margin": "0.200000",
        "entropy": "0.673012",
        "review_rank": "1",
        "split": "train",
    }
