"""Training that is solved for: ridge regression, and its ridge by leaving one out."""

import numpy as np
import pytest
from torch import nn

from trainer.errors import TrainerError
from trainer.exact import FEWEST, RIDGES, Spectrum, choose_ridge
from trainer.loop import fit
from trainer.models import ModelSpec, build
from trainer.options import options_for
from trainer.predict import predict

SIZES = [(30, 50), (60, 20), (21, 20), (25, 25), (1, 5), (2, 3)]  # labels, features


def data(n, d, C=3, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, d, 1, 1)).astype(np.float32), draw.integers(0, C, n)


def kernel_of(X):
    h = X.reshape(len(X), -1).astype(np.float64)
    return h @ h.T / h.shape[1] + 1


def solved(X, y, C=3, **given):
    net = build(ModelSpec("linear", X.shape[1:], C, {}), 0)
    return fit(net, X, y, C, options_for("linear", **given), seed=0), net


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_it_is_kernel_ridge_regression(n, d):
    X, y = data(n, d)
    found, net = solved(X, y)
    K, Y = kernel_of(X), np.eye(3)[y]
    truth = K @ np.linalg.solve(K + found.ridge * np.trace(K) / n * np.eye(n), Y)
    np.testing.assert_allclose(predict(net, X), truth, atol=1e-5)
    assert (found.ended, found.converged, found.epochs) == ("solved", True, 1)
    assert found.residual_norm == pytest.approx(np.linalg.norm(Y - truth), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("n", "d"), [size for size in SIZES if size[0] > 2])
@pytest.mark.parametrize("ridge", [1e-4, 0.1, 3.0])
def test_what_the_others_predict_of_each_is_that_of_solving_without_it(n, d, ridge):
    X, y = data(n, d)
    K, Y = kernel_of(X), np.eye(3)[y]
    lam = ridge * np.trace(K) / n
    truth = np.empty_like(Y)
    for i in range(n):
        others = np.arange(n) != i
        A = K[np.ix_(others, others)] + lam * np.eye(n - 1)
        truth[i] = Y[i] - K[i, others] @ np.linalg.solve(A, Y[others])
    h = X.reshape(n, d).astype(np.float64) / np.sqrt(d)
    np.testing.assert_allclose(Spectrum(h, Y).left_out(ridge), truth, atol=1e-8)


def test_two_examples_by_hand():
    """H = [[1, 1], [-1, 1]], K = 2 I, λ = 0.5 · 2: f = 2 / 3 Y, and alone each is told nothing by the other."""
    spectrum = Spectrum(np.array([[1.0], [-1.0]]), np.eye(2))
    np.testing.assert_allclose(spectrum.weights(0.5), [[1 / 3, -1 / 3], [1 / 3, 1 / 3]], atol=1e-12)
    np.testing.assert_allclose(spectrum.left_out(0.5), np.eye(2), atol=1e-12)


def noisy(n, wrong, seed=0):
    """Two classes along one of 40 axes, of which a share has the other one's label."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 2
    h = draw.normal(size=(n, 40)) * 0.5
    h[:, 0] += 2 * y - 1
    flipped = draw.random(n) < wrong
    return h, np.eye(2)[np.where(flipped, 1 - y, y)]


def test_the_ridge_grows_with_the_noise():
    clean, dirty = (choose_ridge(Spectrum(*noisy(80, wrong))).ridge for wrong in (0.0, 0.3))
    assert clean < dirty
    assert dirty >= 0.3


def test_it_is_the_least_that_is_not_worse_by_a_standard_error():
    for seed in range(10):
        ridge, errors = choose_ridge(Spectrum(*noisy(60, 0.1, seed)))
        lowest = errors.mean(1).argmin()
        more = errors - errors[lowest]
        fine = more.mean(1) <= more.std(1, ddof=1) / np.sqrt(60)
        assert ridge == RIDGES[int(np.argmax(fine))]


def test_few_labels_choose_none():
    few, more = (
        {choose_ridge(Spectrum(*noisy(n, 0.4, seed))).ridge for seed in range(10)} for n in (FEWEST - 1, FEWEST)
    )
    assert few == {RIDGES[0]}
    assert len(more) > 1
    for classes, chooses in ((9, True), (10, False)):  # four labels a class
        ridges = {
            choose_ridge(Spectrum(noisy(39, 0.4, seed)[0], np.eye(classes)[noisy(39, 0.4, seed)[1].argmax(1)])).ridge
            for seed in range(10)
        }
        assert (len(ridges) > 1) == chooses


def test_copies_with_different_labels_and_one_class_alone_are_solved():
    X, y = data(24, 6)
    X[1] = X[0]
    y[:2] = 0, 1
    _, net = solved(X, y)
    assert np.isfinite(predict(net, X)).all()
    only, net = solved(X, np.zeros(24, np.int64))
    assert only.train_accuracy == 1
    assert (predict(net, X).argmax(1) == 0).all()


def test_a_ridge_that_is_given_is_taken():
    assert solved(*data(30, 5), ridge=0.25)[0].ridge == 0.25


def test_features_that_are_not_finite_are_refused():
    X, y = data(30, 5)
    X[3, 2] = np.inf
    with pytest.raises(TrainerError, match="not finite for the labelled images"):
        solved(X, y)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, "exact"),
        ({"ridge": 0.1}, "exact"),
        ({"loss": "l2", "learner": "supervised", "augment": "none"}, "exact"),
        ({"loss": "cross-entropy"}, "sgd"),
        ({"max_lr": 2.5}, "sgd"),
        ({"epochs": 30}, "sgd"),
        ({"learner": "loss-prediction"}, "sgd"),
        ({"keep_epochs": (0, 5)}, "sgd"),
        ({"optimizer": "adam"}, "adam"),
        ({"model_options": {"dropout": 0.25}}, "sgd"),
        ({"model_options": {"dropout": 0.0}}, "exact"),
    ],
)
def test_who_asks_for_steps_gets_steps(given, taken):
    options = options_for("linear", **given)
    assert options.optimizer == taken
    assert options_for("linear", **vars(options)) == options  # as a run writes it down and reads it again


def test_other_networks_take_steps():
    assert options_for("mlp").optimizer == "sgd"
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(TrainerError, match="exact solves networks whose only weights are those of a last linear layer"):
        fit(net, *data(10, 5), 3, options_for("mlp", optimizer="exact"), seed=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "exact", "loss": "cross-entropy"}, "loss must be 'l2' with the optimizer exact"),
        ({"optimizer": "exact", "keep_epochs": (1,)}, "keep_epochs must be"),
        ({"optimizer": "sgd", "ridge": 0.1}, "ridge must be left out but for the optimizer exact"),
        ({"ridge": 0.0}, "ridge must be positive"),
        ({"ridge": float("nan")}, "ridge must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(TrainerError, match=message):
        options_for("linear", **given)
