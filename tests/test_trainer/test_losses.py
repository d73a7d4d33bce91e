"""What training minimises, and what its residual is measured on, against values worked by hand."""

import math

import numpy as np
import pytest
import torch

from common.losses import LOSSES


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
