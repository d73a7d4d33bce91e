"""Metrics of the test set: cases worked by hand, scikit-learn, a slow loop; how a run keeps them, and older runs."""

import csv
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import f1_score, recall_score

from pipeline.config import load_config
from pipeline.metrics import class_accuracy, expected_calibration_error, macro_f1, quality
from pipeline.run.summary import CycleRow, metrics_csv, read_rows

LABELS = np.array([0, 0, 0, 1, 1, 3])
PREDICTED = np.array([0, 0, 1, 1, 3, 4])


def test_accuracy_of_each_class_worked_by_hand():
    # Class 2 has no images, 4 has none but is predicted once.
    assert class_accuracy(PREDICTED, LABELS, 6) == [2 / 3, 1 / 2, None, 0.0, None, None]


def test_macro_f1_worked_by_hand():
    # F1: 2·2/(3+2), 2·1/(2+2), 2·0/(1+1), 2·0/(0+1) over the classes 0, 1, 3, 4; class 2 is in neither.
    assert macro_f1(PREDICTED, LABELS) == pytest.approx((4 / 5 + 1 / 2 + 0 + 0) / 4)


def test_calibration_error_worked_by_hand():
    # Two bins, (0, 0.5] and (0.5, 1]: 0.5 belongs to the lower. Lower: one image, right. Upper: one right of two.
    p = np.array([[0.5, 0.5], [0.1, 0.9], [0.7, 0.3]])
    expected = (1 * abs(1 - 0.5) + 2 * abs(1 / 2 - (0.9 + 0.7) / 2)) / 3
    assert expected_calibration_error(p, np.array([0, 1, 1]), bins=2) == pytest.approx(expected)


def test_a_sure_network_is_calibrated_when_right_and_off_by_all_when_wrong():
    p = np.eye(3)
    assert expected_calibration_error(p, np.arange(3)) == 0
    assert expected_calibration_error(p, np.array([1, 2, 0])) == 1


@st.composite
def predictions(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, classes = draw(st.integers(1, 60)), draw(st.integers(2, 8))
    outputs = rng.normal(0, draw(st.sampled_from([0.1, 1.0, 5.0])), (n, classes)).astype(np.float32)
    return outputs, rng.integers(0, draw(st.integers(1, classes)), n)


@given(predictions())
def test_classes_and_f1_are_those_of_scikit_learn(case):
    outputs, labels = case
    predicted, classes = outputs.argmax(1), range(outputs.shape[1])
    assert macro_f1(predicted, labels) == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    recalls = recall_score(labels, predicted, labels=classes, average=None, zero_division=0)
    expected = [recall if (labels == c).any() else None for c, recall in zip(classes, recalls, strict=True)]
    assert class_accuracy(predicted, labels, len(classes)) == pytest.approx(expected)


def slow_calibration_error(p, labels, bins):
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i in range(len(p)) if (m - 1) / bins < max(p[i]) <= m / bins]
        if inside:
            right = sum(list(p[i]).index(max(p[i])) == labels[i] for i in inside) / len(inside)
            sure = sum(max(p[i]) for i in inside) / len(inside)
            total += len(inside) / len(p) * abs(right - sure)
    return total


@given(predictions(), st.sampled_from([1, 4, 15]), st.booleans())
def test_calibration_error_is_that_of_a_slow_loop(case, bins, on_edges):
    outputs, labels = case
    p = np.exp(outputs.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    if on_edges:  # every confidence exactly on a bin's edge
        top = np.maximum(np.ceil(p.max(1) * bins), 1) / bins
        p = np.where(np.arange(p.shape[1]) == p.argmax(1)[:, None], top[:, None], 0.0)
    assert expected_calibration_error(p, labels, bins) == pytest.approx(slow_calibration_error(p, labels, bins))


def test_confidence_follows_the_loss():
    outputs, labels = np.array([[1.0, 0.0]]), np.array([0])
    assert quality(outputs, labels, "l2")["ece"] == pytest.approx(0)
    assert quality(outputs, labels, "cross-entropy")["ece"] == pytest.approx(1 - np.e / (np.e + 1))


def rows_of(path):
    with (path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_keeps_them_in_its_summary_rows_and_table(start, go_on):
    path = start(query__strategy="random", cycles=1)
    [row] = go_on(path).rows
    summary = json.loads((path / "cycles/000/train/summary.json").read_text())
    assert row.classes == tuple(summary["classes"]) == tuple("0123456789")
    assert (row.test_macro_f1, row.test_ece) == (summary["test_macro_f1"], summary["test_ece"])
    assert row.test_class_accuracy == tuple(summary["test_class_accuracy"])
    assert 0 < row.test_macro_f1 < 1
    assert 0 < row.test_ece < 1
    named = {(r["split"], r["metric"]): float(r["value"]) for r in rows_of(path)}
    assert named["test", "macro_f1"] == pytest.approx(row.test_macro_f1, rel=1e-5)
    assert named["test", "ece"] == pytest.approx(row.test_ece, rel=1e-5)
    assert named["test", "accuracy[7]"] == pytest.approx(row.test_class_accuracy[7], rel=1e-5)
    assert len([name for name in named if name[1].startswith("accuracy[")]) == 10


def test_a_run_of_an_older_version_is_read_without_them(start, go_on):
    path = start(query__strategy="random", cycles=1)
    go_on(path)
    summary = path / "cycles/000/train/summary.json"
    new = ("test_macro_f1", "test_ece", "test_class_accuracy", "classes")
    summary.write_text(json.dumps({k: v for k, v in json.loads(summary.read_text()).items() if k not in new}))
    [row] = read_rows(path)
    assert (row.test_macro_f1, row.test_ece, row.test_class_accuracy, row.classes) == (None, None, (), ())
    assert [name for _, name, _ in row.metrics()] == ["accuracy", "accuracy", "residual_norm", "residual_rms"]


def test_odd_class_names_are_one_cell_each_and_classes_without_images_have_none():
    names = ('a,"b"', "two\nlines\r", "caf\u00e9", "\udc80", "empty")
    row = CycleRow(0, 10, 0.5, 1.0, 0.1, 0.1, True, 5, {}, 0.4, 0.1, (0.1, 0.2, 0.3, 0.4, None), names)
    text = metrics_csv(load_config(), [row]).encode().decode()
    cells = {line["metric"]: line["value"] for line in csv.DictReader(text.splitlines())}
    assert len(text.splitlines()) == len(cells) + 2  # the header; accuracy is there of test and of train
    expected = {'a,"b"': "0.1", r"two\nlines\r": "0.2", "caf\u00e9": "0.3", r"\udc80": "0.4"}
    assert {k: v for k, v in cells.items() if k.startswith("accuracy[")} == {
        f"accuracy[{name}]": value for name, value in expected.items()
    }
