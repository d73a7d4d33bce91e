"""Losses and one-hot targets against values worked by hand."""

import math

import numpy as np
import pytest
import torch

from trainer.errors import TrainerError
from trainer.losses import LOSSES, cross_entropy, l2, one_hot


def test_l2_is_the_mean_over_batch_and_classes():
    outputs, y = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert l2(outputs, y).item() == pytest.approx((0 + 4 + 0 + 1) / 4)


def test_cross_entropy_is_the_mean_over_the_batch():
    outputs, y = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert cross_entropy(outputs, y).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_the_residual_is_read_where_each_loss_has_its_target():
    outputs = torch.tensor([[0.0, math.log(3.0)]])
    assert torch.equal(LOSSES["l2"].readout(outputs), outputs)
    torch.testing.assert_close(LOSSES["cross-entropy"].readout(outputs), torch.tensor([[0.25, 0.75]]))


def test_one_hot():
    y = one_hot(np.array([2, 0]), 3)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("labels", [np.array([0, 3]), np.array([-1, 0]), np.array([0.0]), np.array([[0]])])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(TrainerError):
        one_hot(labels, 3)
