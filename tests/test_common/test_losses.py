"""What every record of a loss must keep, registered or made up; the registered ones by hand."""

import math

import numpy as np
import pytest
import torch
from made_up import SQUARED_HINGE

from common.losses import CROSS_ENTROPY, L2, LOSSES, get_loss

EVERY = [*LOSSES.values(), SQUARED_HINGE]
N, C = 40, 5


@pytest.fixture
def outputs():
    return np.random.default_rng(0).normal(size=(N, C)), np.eye(C)[np.arange(N) % C]


def by_name(loss):
    return loss.name


@pytest.mark.parametrize("loss", EVERY, ids=by_name)
def test_labels_pull_against_the_gradient_of_what_is_minimised(loss, outputs):
    """By torch's own differentiation, one example at a time, but for one factor that all share."""
    f, Y = outputs
    gradients = []
    for one, y in zip(f, Y, strict=True):
        leaf = torch.tensor(one[None], requires_grad=True)
        loss.value(leaf, torch.tensor(y[None])).backward()
        gradients.append(leaf.grad.numpy()[0])
    pull = loss.pseudo_residual(f).of(Y)
    factor = (np.array(gradients) * pull).sum() / (pull**2).sum()
    assert factor < 0
    np.testing.assert_allclose(gradients, factor * pull, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", EVERY, ids=by_name)
def test_probabilities_are_some_and_agree_with_decisions(loss, outputs):
    f, _ = outputs
    p = loss.probabilities.of(f)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p >= 0).all()
    np.testing.assert_array_equal(p.argmax(1), f.argmax(1))
    np.testing.assert_allclose(loss.probabilities.of(f.reshape(4, 10, C)), p.reshape(4, 10, C))


@pytest.mark.parametrize("loss", EVERY, ids=by_name)
def test_the_target_is_where_the_pull_leads_and_the_scale_stretches_it(loss, outputs):
    f, Y = outputs
    np.testing.assert_allclose(loss.target(f, Y) - f, loss.pseudo_residual(f).of(Y), atol=1e-12)
    calibrated = loss.calibrated(f, Y)
    np.testing.assert_allclose(
        calibrated.pseudo_residual(f).of(Y), calibrated.scale * loss.pseudo_residual(f).of(Y), atol=1e-12
    )
    assert calibrated.scale >= 1


@pytest.mark.parametrize("loss", EVERY, ids=by_name)
def test_nothing_is_left_where_training_ends(loss, outputs):
    _, Y = outputs
    end = {"cross-entropy": 60.0 * Y, "squared-hinge": 2 * Y - 1}.get(loss.name, Y)
    np.testing.assert_allclose(loss.residual(end, Y), 0, atol=1e-12)
    np.testing.assert_allclose(loss.pseudo_residual(end).of(Y), 0, atol=1e-12)


def test_least_squares_targets_are_the_labels_to_the_last_bit(outputs):
    f, Y = outputs
    np.testing.assert_array_equal(L2.target(f * 1e3, Y), Y)


def test_the_softmaxs_pull_is_worked_by_hand():
    """f = (log 3, 0): p = (3/4, 1/4), so at a scale of 2 the label 1 pulls by 2 (0 - 3/4, 1 - 1/4)."""
    f = np.array([[np.log(3.0), 0.0]])
    twice = CROSS_ENTROPY.calibrated(np.array([[2.0, 0.0], [5.0, 7.0]]), np.eye(2))  # labels stand 2 above the others
    assert twice.scale == pytest.approx(2)
    np.testing.assert_allclose(twice.pseudo_residual(f).of(np.array([[0, 1]])), [[-1.5, 1.5]])


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(ValueError, match=f"loss: expected one of {', '.join(LOSSES)}; got 'hinge'"):
        get_loss("hinge")


def test_l2_is_the_mean_over_batch_and_classes():
    outputs, y = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert LOSSES["l2"].value(outputs, y).item() == pytest.approx((0 + 4 + 0 + 1) / 4)


def test_cross_entropy_is_the_mean_over_the_batch():
    outputs, y = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert LOSSES["cross-entropy"].value(outputs, y).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_the_residual_is_read_where_each_loss_has_its_target():
    outputs, y = np.array([[0.0, math.log(3.0)]], np.float32), np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(LOSSES["l2"].residual(outputs, y), y - outputs.astype(np.float64))
    np.testing.assert_allclose(LOSSES["cross-entropy"].residual(outputs, y), [[-0.25, 0.25]], rtol=1e-6)
