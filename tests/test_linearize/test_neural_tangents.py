"""The optional peer: absent, it is named; present, its kernel equals ours."""

import jax
import numpy as np
import pytest
from peers import needs_neural_tangents

import cases
from linearize import LinearizeError, empirical_ntk
from linearize.neural_tangents import import_neural_tangents


@pytest.mark.usefixtures("without_neural_tangents")
def test_its_absence_is_named():
    with pytest.raises(LinearizeError, match="pip install --no-deps neural-tangents"):
        import_neural_tangents()


@needs_neural_tangents
@pytest.mark.filterwarnings("ignore")  # its own, on current Python and jax
def test_its_empirical_kernel_equals_ours():
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(True):
        nt = import_neural_tangents()
        apply_fn, variables = cases.tiny_conv_net()
        x = cases.images(1, 5)

        def g(params, x):
            return apply_fn({**variables, "params": params}, x).sum(1, keepdims=True) / np.sqrt(3)

        for implementation in (1, 2, 3):
            theirs = nt.empirical_ntk_fn(g, implementation=implementation)(x, None, variables["params"])
            np.testing.assert_allclose(np.asarray(theirs), empirical_ntk(apply_fn, variables, x), rtol=1e-9)
        _, _, kernel = nt.stax.serial(nt.stax.Dense(8), nt.stax.Relu(), nt.stax.Dense(1))
        infinite = np.asarray(kernel(x.reshape(5, -1), None, "ntk"))
        assert np.linalg.eigvalsh(infinite)[0] > 0
