"""The engine against dense Jacobians, for parameters that meet data in every way."""

from functools import cache

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import layers
import numpy as np
import pytest
from against_jacobian import CLASSES, close, compare, few, force, heads
from hypothesis import given
from jax import lax

import reference
from linearize import LinearizeError
from linearize.heads import make_head
from linearize.kernel import empirical_ntk, plan_ntk
from linearize.options import KernelOptions
from linearize.products import ntk_diagonal

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETWORK = layers.network(["conv2d_plain", "layer_norm", "dense"], classes=CLASSES)


@pytest.mark.parametrize("names", layers.chains(6))
@pytest.mark.usefixtures("x64")
def test_every_layer(names):
    apply_fn, variables = layers.network(names.split("+"), classes=CLASSES)
    compare(apply_fn, variables, layers.inputs(0, 3))


@few(5)
@given(
    names=st.lists(st.sampled_from(sorted(layers.LAYERS)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    head=heads,
    sizes=st.tuples(st.integers(1, 7), st.none() | st.integers(1, 7)),
    block=st.none() | st.integers(1, 8),
)
@pytest.mark.usefixtures("x64")
def test_random_networks(names, seed, head, sizes, block):
    apply_fn, variables = layers.network(names, seed, CLASSES)
    x, x2 = layers.inputs(seed, sizes[0]), None if sizes[1] is None else layers.inputs(seed + 1, sizes[1])
    compare(apply_fn, variables, x, x2, head=head, block=block)


@few(6)
@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 3), head=heads)
@pytest.mark.usefixtures("x64")
def test_random_convolutions(seed, rank, head):
    """Strides, groups, dilations of both sides, padding of all signs, and axes in any order."""
    apply_fn, variables = layers.network([f"conv{rank}d"], seed, CLASSES)
    compare(apply_fn, variables, layers.inputs(seed, 2), head=head)


@pytest.mark.parametrize(
    ("head", "n", "m", "block"),
    [
        ("sum-of-logits", 7, None, 3),
        ("sum-of-logits", 5, 8, 3),
        ("single-logit", 1, None, 4),
        ("trace", 5, None, 2),
        ("trace", 6, 1, 4),
        ("full", 7, None, 3),
        ("full", 1, 5, 2),
    ],
)
@pytest.mark.usefixtures("x64")
def test_heads_and_blocks(head, n, m, block):
    apply_fn, variables, x, J = worked_out()
    columns = slice(0, n) if m is None else slice(9 - m, 9)
    expected = reference.kernel_of(J[:n], J[columns], head, 1)
    kernel_settings = KernelOptions(make_head(head, 1), block=block)
    x2 = None if m is None else x[columns]
    close(empirical_ntk(apply_fn, variables, x[:n], x2, options=kernel_settings), expected)


@cache
def worked_out():
    """One network, nine inputs and their Jacobian."""
    apply_fn, variables = NETWORK
    x = layers.inputs(1, 9)
    return apply_fn, variables, x, reference.jacobian(apply_fn, variables, x)


# The last layer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["sum-of-logits", "full"])
@pytest.mark.usefixtures("x64")
def test_the_last_layer_alone(head):
    apply_fn, variables = NETWORK
    columns = reference.columns(variables, lambda path: "head" in path)
    assert 0 < columns.sum() < columns.size
    compare(apply_fn, variables, layers.inputs(1, 4), head=head, columns=columns, layers="last")


def after_the_last(v, x):
    p = v["params"]
    last = jnp.tanh(x @ p["first"]) @ (p["v"] * p["g"][None])
    return jnp.tanh(last + p["b"][None]) * p["scale"][None]


def tied(v, x):
    return jnp.tanh(x @ v["params"]["w"] + v["params"]["b"][None]) @ v["params"]["w"].T


@pytest.mark.parametrize(
    ("apply_fn", "shapes", "last"),
    [
        (after_the_last, {"first": (4, 5), "v": (5, 3), "g": (3,), "b": (3,), "scale": (3,)}, "v g b scale"),
        (tied, {"w": (4, 3), "b": (3,)}, "w"),
    ],
)
@pytest.mark.usefixtures("x64")
def test_what_belongs_to_the_last_layer(apply_fn, shapes, last):
    """All that its weight is made of and comes after; every use of a weight that is tied to it."""
    rng = np.random.default_rng(0)
    variables = {"params": {name: rng.normal(size=shape) for name, shape in shapes.items()}}
    columns = reference.columns(variables, lambda path: path.strip("[']") in last.split())
    compare(apply_fn, variables, rng.normal(size=(3, 4)), columns=columns, layers="last")


def test_a_network_without_a_linear_layer_has_no_last_one():
    variables = {"params": {"w": np.ones(3, np.float32)}}
    with pytest.raises(LinearizeError, match="no linear layer"):
        empirical_ntk(lambda v, x: x * v["params"]["w"][None], variables, np.ones((2, 3), np.float32), options=LAST)


LAST = KernelOptions(layers="last")


# Unusual networks and inputs ------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


def padding_alone(v, x):  # the kernel's only place lies beside the data
    y = lax.conv_general_dilated(
        x[:, None], v["params"]["w"], (1,), ((1, -1),), dimension_numbers=("NHC", "HIO", "NHC")
    )
    return y[:, 0] + x @ v["params"]["b"]


def one_place_of_three(v, x):
    y = lax.conv_general_dilated(x[:, None], v["params"]["w"], (1,), ((1, 1),), dimension_numbers=("NHC", "HIO", "NHC"))
    return y[:, 0]


def without_space(v, x):
    numbers = lax.ConvDimensionNumbers((0, 1), (1, 0), (0, 1))
    return lax.conv_general_dilated(x, v["params"]["w"], (), (), dimension_numbers=numbers)


def looked_up(v, x):
    return v["params"]["table"][x].reshape(len(x), -1) @ v["params"]["w"]


UNUSUAL = {
    "parameters without data": (lambda v, x: v["params"]["w"] ** 2, {"w": normal(1, 3)}, normal(4, 2)),
    "a parameter is the output": (lambda v, x: v["params"]["w"], {"w": normal(1, 3)}, normal(4, 2)),
    "examples without entries": (lambda v, x: v["params"]["w"] + x.sum(), {"w": normal(1, 3)}, normal(4, 0)),
    "examples that are numbers": (lambda v, x: x[:, None] * v["params"]["w"], {"w": normal(1, 3)}, normal(4)),
    "one logit": (lambda v, x: x @ v["params"]["w"], {"w": normal(3, 1)}, normal(4, 3)),
    "a list of parameters": (lambda v, x: x @ v["params"][0], [normal(3, 2), normal(5)], normal(4, 3)),
    "nothing but padding": (padding_alone, {"w": normal(1, 3, 2), "b": normal(3, 2)}, normal(4, 3)),
    "mostly padding": (one_place_of_three, {"w": normal(3, 3, 2)}, normal(4, 3)),
    "a convolution without space": (without_space, {"w": normal(3, 2)}, normal(4, 3)),
    "integers": (looked_up, {"table": normal(6, 2), "w": normal(6, 2)}, RNG.integers(0, 6, (4, 3))),
    "bytes": (lambda v, x: (x / 255) @ v["params"]["w"], {"w": normal(3, 2)}, RNG.integers(0, 9, (4, 3), np.uint8)),
    "booleans": (lambda v, x: jnp.where(x, v["params"]["w"], 0.0), {"w": normal(1, 3)}, RNG.random((4, 3)) > 0.5),
}


@pytest.mark.parametrize("case", UNUSUAL)
@pytest.mark.usefixtures("x64")
def test_unusual_networks(case):
    apply_fn, params, x = UNUSUAL[case]
    expected = compare(apply_fn, {"params": params}, x)
    assert np.abs(expected).max() > 1e-3
    diagonal = ntk_diagonal(apply_fn, {"params": params}, x, options=KernelOptions(make_head("full")))
    close(diagonal, np.diag(expected))


@pytest.mark.usefixtures("x64")
def test_a_layer_in_lower_precision_than_the_network():
    def apply_fn(v, x):
        low = (x.astype(jnp.float32) @ v["params"]["low"]).astype(x.dtype)
        return low + jnp.tanh(x @ v["params"]["high"].astype(x.dtype))

    variables = {"params": {"low": normal(3, 2).astype(np.float32), "high": normal(3, 2)}}
    compare(apply_fn, variables, normal(4, 3), tolerance=1e-6)


def test_a_network_that_ignores_its_parameters_is_named():
    with pytest.raises(LinearizeError, match="depend on none of the parameters"):
        empirical_ntk(lambda v, x: x, {"params": {"w": np.ones(3, np.float32)}}, np.ones((2, 3), np.float32))


@pytest.mark.parametrize("apply_fn", [lambda v, x: x @ v["params"]["w"][:, 0], lambda v, x: (x, x)])
def test_outputs_that_are_no_logits_are_named(apply_fn):
    with pytest.raises(LinearizeError, match=r"expected logits \[1, C\] for one example"):
        empirical_ntk(apply_fn, {"params": {"w": np.ones((3, 1), np.float32)}}, np.ones((2, 3), np.float32))


def test_complex_parameters_are_refused():
    with pytest.raises(LinearizeError, match="parameter w: expected real numbers"):
        empirical_ntk(lambda v, x: x, {"params": {"w": np.ones(3, np.complex64)}}, np.ones((2, 3), np.float32))


def test_parameters_that_change_nothing_are_listed():
    apply_fn, variables = layers.network(["unused", "dead_end", "stopped"], dtype=np.float32)
    plan = plan_ntk(apply_fn, variables, layers.inputs(0, 2, np.float32))
    assert plan.work.tape.unused == ("0_unused/unused", "1_dead_end/dead", "2_stopped/w")


# Precision ------------------------------------------------------------------------------------------------------------


def test_precisions():
    """A float32 network in each arithmetic; the flag that JAX keeps for 64-bit types is left as it was."""
    apply_fn, variables = layers.network(["conv2d_plain", "dense"], dtype=np.float32)
    x = layers.inputs(1, 5, np.float32)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)
        J = reference.jacobian(apply_fn, wide, x.astype(np.float64))
    expected = reference.kernel_of(J, J, "trace")
    errors = {}
    for precision in ("float64", "float32", "tensorfloat32"):
        kernel_settings = KernelOptions(make_head("trace"), precision=precision)
        theta = empirical_ntk(apply_fn, variables, x, options=kernel_settings)
        rectangle = empirical_ntk(apply_fn, variables, x[:2], x, options=kernel_settings)
        assert not jax.config.jax_enable_x64
        errors[precision] = np.abs(np.concatenate([theta, rectangle]) - expected[[*range(5), 0, 1]]).max()
        errors[precision] /= np.abs(expected).max()
    assert errors["float64"] < 1e-12
    assert 1e-9 < errors["float32"] < 1e-5
    assert errors["tensorfloat32"] < 1e-2


def test_bfloat16_rounds_the_features_of_large_units_alone(monkeypatch):
    rng = np.random.default_rng(0)
    params = {"large": rng.normal(size=(64, 64)), "small": rng.normal(size=(64, 3))}
    variables = {"params": {name: (w / 8).astype(np.float32) for name, w in params.items()}}
    x = rng.normal(size=(300, 64)).astype(np.float32)

    def apply_fn(v, x):
        return jnp.tanh(x @ v["params"]["large"]) @ v["params"]["small"]

    def error(layers):
        exact, rounded = (
            empirical_ntk(apply_fn, variables, x, options=KernelOptions(precision=precision, layers=layers, block=100))
            for precision in ("float32", "bfloat16")
        )
        return np.abs(rounded - exact).max() / exact.max()

    force(monkeypatch, "direct")
    assert 1e-5 < error("all") < 2e-2
    assert error("last") == 0
