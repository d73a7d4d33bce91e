"""Every method that the engine may choose for a layer, and what it chooses within little memory."""

import re

import hypothesis.strategies as st
import jax.numpy as jnp
import layers
import numpy as np
import pytest
from against_jacobian import CLASSES, close, compare, few, force, heads
from hypothesis import given

import reference
from linearize import MemoryBudgetError
from linearize.engine.plan import RUNTIME
from linearize.kernel import empirical_ntk, plan_ntk
from linearize.options import KernelOptions

pytestmark = pytest.mark.usefixtures("quick_compilation")


def methods_of(apply_fn, variables, x, **options):
    plan = plan_ntk(apply_fn, variables, x, options=KernelOptions(**options))
    return {planned.method for planned in plan.work.units}


@few(6)
@given(
    seed=st.integers(0, 2**32 - 1),
    rank=st.integers(1, 3),
    head=heads,
    squares=st.booleans(),
    sizes=st.sampled_from([(4, None), (5, 3), (3, 6)]),
)
@pytest.mark.usefixtures("x64")
def test_ghosts_of_random_convolutions(seed, rank, head, squares, sizes):
    """Two products of positions instead of gradients; also in squares of a few rows, when the products are large."""
    apply_fn, variables = layers.network([f"conv{rank}d_plain"], seed, CLASSES)
    x, x2 = layers.inputs(seed, sizes[0]), None if sizes[1] is None else layers.inputs(seed + 1, sizes[1])
    with pytest.MonkeyPatch.context() as patch:
        force(patch, "ghost")
        if squares:
            patch.setattr("linearize.engine.compute.PAIRED_BYTES", 1)
        compare(apply_fn, variables, x, x2, head=head, block=4)
        assert "ghost" in methods_of(apply_fn, variables, x, block=4)


@pytest.mark.parametrize("name", ["conv_grouped", "conv_of_dilated_data", "conv_of_frames", "dense_batched"])
@pytest.mark.usefixtures("x64")
def test_ghosts_are_not_offered_where_they_would_be_wrong(name, monkeypatch):
    apply_fn, variables = layers.network([name], 2, CLASSES)
    force(monkeypatch, "ghost")
    compare(apply_fn, variables, layers.inputs(0, 2))


@pytest.mark.parametrize(("method", "head"), [("direct", "full"), ("ghost", "trace")])
@pytest.mark.usefixtures("x64")
def test_every_method_is_exact(method, head, monkeypatch):
    names = ["conv2d_plain", "dense_of_everything", "dense_from_the_left", "dense_over_two_axes", "conv1d"]
    apply_fn, variables = layers.network(names, 1, CLASSES)
    force(monkeypatch, method)
    compare(apply_fn, variables, layers.inputs(1, 5), head=head, block=2)
    assert methods_of(apply_fn, variables, layers.inputs(1, 5)) == {method, "direct", "vjp"}


@pytest.mark.parametrize("method", ["direct", "ghost"])
@pytest.mark.parametrize("sizes", [(7, None), (3, 6)])
@pytest.mark.usefixtures("x64")
def test_passes_over_the_parameters_give_the_same_kernel(method, sizes, monkeypatch):
    """A unit is cut into several passes, and a pass holds parts of several units."""
    from linearize.engine import plan, work

    apply_fn, variables = layers.network(["dense_of_everything", "used_twice"], 1, CLASSES)
    x, x2 = layers.inputs(1, sizes[0]), None if sizes[1] is None else layers.inputs(1, sizes[1])
    force(monkeypatch, method)
    J = reference.jacobian(apply_fn, variables, layers.inputs(1, 7))
    expected = reference.kernel_of(J, J, "sum-of-logits")

    def tight(tape, planned, row_bytes, itemsize):
        entries = [one.cost.entries for one in planned]
        undivided = [one.cost.entries for one in planned if one.method == "ghost"]
        return work.plan_passes(tape, planned, max(sum(entries) / 5, *undivided, 0) * itemsize, itemsize)

    monkeypatch.setattr(plan, "plan_passes", tight)
    found = []
    theta = empirical_ntk(apply_fn, variables, x, x2, options=KernelOptions(block=4), on_plan=found.append)
    assert len(found[0].work.chunks) >= 3
    close(theta, expected[: len(theta), : len(theta.T)])


def test_smaller_budgets_take_more_passes_and_are_kept(monkeypatch):
    """Until no plan keeps it: what the message then asks for is enough."""
    force(monkeypatch, "direct")
    rng = np.random.default_rng(0)
    shapes = {"a": (64, 512), "b": (512, 64), "c": (64, 3)}
    variables = {"params": {name: (rng.normal(size=s) / 8).astype(np.float32) for name, s in shapes.items()}}
    x = rng.normal(size=(64, 64)).astype(np.float32)

    def apply_fn(v, x):
        p = v["params"]
        return jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"]

    J = reference.jacobian(apply_fn, variables, x)
    expected = reference.kernel_of(J, J, "sum-of-logits")
    budget, passes, refusal = 2**25, [], None  # beside what XLA takes itself
    while refusal is None:
        kernel_settings, plans = KernelOptions(memory_budget=budget + RUNTIME, block=16), []
        try:
            theta = empirical_ntk(apply_fn, variables, x, options=kernel_settings, on_plan=plans.append)
        except MemoryBudgetError as error:
            refusal = str(error)
            continue
        assert plans[0].estimate <= budget + RUNTIME
        passes.append(len(plans[0].work.chunks))
        close(theta, expected, 1e-5)
        budget //= 4
    assert passes == sorted(passes)
    assert passes[0] == 1
    assert passes[-1] >= 4
    enough = re.search(r"(\d+) MiB would do", refusal)
    assert plan_ntk(apply_fn, variables, x, options=KernelOptions(memory_budget=int(enough[1]) << 20, block=16))
