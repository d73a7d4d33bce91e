"""One-hot targets against values worked by hand."""

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.targets import one_hot


def test_one_hot():
    y = one_hot(np.array([2, 0]), 3)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("labels", [np.array([0, 3]), np.array([-1, 0]), np.array([0.0]), np.array([[0]])])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(TrainerError):
        one_hot(labels, 3)
