import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cases
import reference
from linearize import LinearizeError, NonFiniteError
from linearize.heads import make_head
from linearize.kernel import empirical_ntk, network_outputs
from linearize.options import KernelOptions


@pytest.mark.parametrize("head", ["sum-of-logits", "single-logit"])
@pytest.mark.parametrize("block", [3, 4, 11, 64])
@pytest.mark.usefixtures("x64")
def test_kernel_equals_one_jacobian_at_a_time(head, block):
    apply_fn, variables = cases.tiny_conv_net()
    x = cases.images(1, 11)
    by_definition = {"sum-of-logits": lambda f: f.sum() / np.sqrt(3), "single-logit": lambda f: f[1]}
    expected = reference.dense_ntk(apply_fn, variables, x, by_definition[head])
    theta = empirical_ntk(apply_fn, variables, x, options=KernelOptions(make_head(head, 1), block=block))
    np.testing.assert_allclose(theta, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_buffers_contribute_exactly_zero():
    """The published code differentiated the running statistics; a kernel that does is a different one."""
    apply_fn, variables = cases.tiny_conv_net()
    x = cases.images(2, 5)
    theta = empirical_ntk(apply_fn, variables, x)
    # The same network with its statistics baked in as literals has no buffers at all.
    stats = variables["batch_stats"]
    baked = empirical_ntk(lambda v, xi: apply_fn({**v, "batch_stats": stats}, xi), {"params": variables["params"]}, x)
    assert np.array_equal(theta, baked)
    # And differentiating them as well, as the published code does, changes the kernel: the test can tell the two apart.
    wrong = empirical_ntk(lambda v, xi: apply_fn(v["params"], xi), {"params": variables}, x)
    assert np.abs(wrong - theta).max() > 1e-3 * np.abs(theta).max()


def test_float32_kernel_is_close_to_float64():
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x = cases.images(1, 16, np.float32)
    single = empirical_ntk(apply_fn, variables, x)
    with jax.enable_x64(True):
        apply_fn, variables = cases.tiny_conv_net()
        double = empirical_ntk(apply_fn, variables, x.astype(np.float64))
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-5 * np.abs(double).max())


def test_network_outputs_ignore_the_padding():
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x = cases.images(1, 10, np.float32)
    np.testing.assert_allclose(network_outputs(apply_fn, variables, x, block=4), apply_fn(variables, x), rtol=1e-5)


def test_progress_reaches_the_total():
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    seen = []
    x = cases.images(1, 10, np.float32)
    empirical_ntk(apply_fn, variables, x, options=KernelOptions(block=4), progress=lambda *at: seen.append(at))
    assert seen == sorted(seen)
    assert len(seen) == 3 + 6  # blocks of features, tiles
    assert seen[-1] == (1000, 1000)


def test_bad_inputs_are_named():
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x = cases.images(1, 4, np.float32)
    with pytest.raises(LinearizeError, match="no trainable parameter"):
        empirical_ntk(apply_fn, {**variables, "params": {}}, x)
    with pytest.raises(LinearizeError, match="at least one input"):
        empirical_ntk(apply_fn, variables, x[:0])
    with pytest.raises(LinearizeError, match="between 0 and 2, got 3"):
        empirical_ntk(apply_fn, variables, x, options=KernelOptions(make_head("single-logit", 3)))
    with pytest.raises(LinearizeError, match=r"expected one of .* got 'sum'"):
        make_head("sum")
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    with pytest.raises(NonFiniteError):
        network_outputs(apply_fn, broken, x)
    with pytest.raises(NonFiniteError):
        empirical_ntk(apply_fn, broken, x)
