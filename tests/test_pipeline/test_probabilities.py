import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from common.losses import get_loss
from common.probabilities import project_onto_simplex, softmax

outputs = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-5, 5, width=32))


def test_projection_worked_by_hand():
    # Already on the simplex; one class far ahead; two classes kept: τ = (0.9 + 0.5 - 1)/2 = 0.2; a constant row.
    f = np.array([[0.2, 0.3, 0.5], [3.0, 0.0, 0.0], [0.9, 0.5, -1.0], [7.0, 7.0, 7.0]])
    expected = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.7, 0.3, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(project_onto_simplex(f), expected, atol=1e-12)


@given(outputs)
def test_projection_is_the_nearest_point_of_the_simplex(f):
    p = project_onto_simplex(f)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)
    # Variational inequality: (f - p)·(v - p) ≤ 0 for every vertex v.
    for vertex in np.eye(f.shape[1]):
        assert (((f - p) * (vertex - p)).sum(1) <= 1e-9).all()


@given(outputs)
def test_softmax_is_a_distribution_and_keeps_the_order(f):
    p = softmax(f)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (np.diff(np.take_along_axis(p, np.argsort(f, axis=1), axis=1), axis=1) >= 0).all()


def test_each_loss_has_its_own_probabilities():
    f = np.array([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(get_loss("l2").probabilities.of(f), [[1, 0, 0]])
    np.testing.assert_allclose(get_loss("cross-entropy").probabilities.of(f)[0, 0], np.e / (np.e + 2))
