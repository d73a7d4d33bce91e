"""What one call leaves for the next: compiled code, and nothing else."""

from contextlib import contextmanager

import jax
import jax.monitoring
import jax.numpy as jnp
import layers
import numpy as np
import pytest

from linearize import KernelOptions, LookAhead
from linearize.engine.work import CPU_BLOCKS
from linearize.heads import make_head
from linearize.kernel import empirical_ntk, plan_ntk
from linearize.products import ntk_diagonal

CRITERIA = ("mlmoc", "mlmoc-flips", "emoc", "eer")


@contextmanager
def compilations():
    """Names of all functions that XLA compiles meanwhile."""
    names = []

    def heard(event, seconds, **about):
        del seconds
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about.get("fun_name", event))

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


def multilayer(width):
    rng = np.random.default_rng(0)
    shapes = {"a": (64, width), "b": (width, 64), "c": (64, 3)}
    params = {name: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for name, shape in shapes.items()}

    def apply_fn(v, x):
        p = v["params"]
        return jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"]

    return apply_fn, {"params": params}, rng.normal(size=(70, 64)).astype(np.float32)


def fit(apply_fn, variables, x, L, U, **options):
    Y = np.eye(3)[np.arange(L) % 3]
    plans = []
    ahead = LookAhead.fit(
        apply_fn, variables, x[:L], Y, x[L : L + U], KernelOptions(ridge=1e-3, **options), on_plan=plans.append
    )
    return ahead, plans[0]


def test_the_count_sees_compilations():
    with compilations() as names:
        jax.jit(lambda x: x + 1)(1.0)
        assert names
        del names[:]
        np.ones(3) + 1
        assert not names


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_nothing_compiles_when_the_labelled_set_grows(precision):
    """Neither with the pool as large as before, nor with one that loses what the labelled set has won."""
    network = multilayer(8)
    fit(*network, 6, 50, precision=precision)[0].scores("eer")
    with compilations() as names:
        fit(*network, 10, 50, precision=precision)
        fit(*network, 14, 50, precision=precision)
        fit(*network, 10, 46, precision=precision)
        fit(*network, 14, 42, precision=precision)
    assert not names


def test_nothing_compiles_when_another_cycle_is_scored():
    network = multilayer(8)
    ahead, _ = fit(*network, 6, 50)
    for name in CRITERIA:
        ahead.scores(name)
    with compilations() as names:
        ahead, _ = fit(*network, 10, 50)
        for name in CRITERIA:
            ahead.scores(name)
    assert not names


def test_nothing_compiles_when_new_weights_are_trained():
    apply_fn, variables, x = multilayer(8)
    first, _ = fit(apply_fn, variables, x, 6, 50)
    with compilations() as names:
        second, _ = fit(apply_fn, jax.tree.map(lambda w: 1.5 * w, variables), x, 6, 50)
    assert not names
    assert np.abs(second.posterior.S - first.posterior.S).max() > 0.1 * np.abs(first.posterior.S).max()


def test_nothing_compiles_in_several_passes(monkeypatch):
    from linearize.engine.costs import methods

    monkeypatch.setattr("linearize.engine.work.methods", lambda unit: methods(unit)[:1])
    network = multilayer(512)
    _, plan = fit(*network, 6, 50, memory_budget="44MB", block=16)
    assert len(plan.work.chunks) > 1
    with compilations() as names:
        fit(*network, 10, 50, memory_budget="44MB", block=16)
        fit(*network, 14, 50, memory_budget="44MB", block=16)
    assert not names


@pytest.mark.parametrize(("head", "most"), [("sum-of-logits", 1.15), ("full", 1.1)])
def test_blocks_stay_as_they_are_and_are_padded_little(head, most):
    """One layout for six cycles of a run on a CPU; its tiles hold few pairs that nobody asked for."""
    apply_fn, variables, x = multilayer(8)
    plans = []
    for L in range(100, 700, 100):
        inputs = np.resize(x, (1000 + L, 64))
        kernel_settings = KernelOptions(make_head(head), memory_budget="4GiB")
        plans.append(plan_ntk(apply_fn, variables, inputs, options=kernel_settings))
    works = [plan.work for plan in plans if plan.devices.platform == "cpu"]
    works = [work for work in works if work.size.left * work.tape.rows <= CPU_BLOCKS[1][0]]
    assert len({work.layout for work in works}) <= 1
    rows = np.array([work.size.left * work.tape.rows for work in works])
    if works:
        assert works[0].layout.block % 4 == 0
        assert np.mean([work.pairs for work in works] / (rows * (rows + 1) / 2)) < most


def test_blocks_change_the_kernel_by_rounding_alone():
    """The same settings give the same bits."""
    apply_fn, variables, x = multilayer(8)
    x = np.concatenate([x + shift for shift in range(5)]).astype(np.float32)  # 350, in three blocks on a CPU
    expected, again = (empirical_ntk(apply_fn, variables, x) for _ in range(2))
    np.testing.assert_array_equal(again, expected)
    for block in (256, 160, 37):
        theta = empirical_ntk(apply_fn, variables, x, options=KernelOptions(block=block))
        np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# Interrupts -----------------------------------------------------------------------------------------------------------


class Interrupting:
    """A progress report during which the user presses Ctrl-C."""

    def __init__(self, after):
        self.after, self.calls = after, 0

    def __call__(self, done, total):
        self.calls += 1
        if self.calls == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_interrupt_leaves_nothing_behind(precision):
    apply_fn, variables = layers.network(["conv2d_plain", "dense"], dtype=np.float32)
    x, settings = layers.inputs(0, 7, np.float32), KernelOptions(make_head("full"), precision=precision, block=3)
    counted = Interrupting(None)
    expected = empirical_ntk(apply_fn, variables, x, options=settings, progress=counted)
    assert counted.calls == 3 + 6  # blocks of features, tiles
    before = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    for after in (1, 3, 4, 9):
        with pytest.raises(KeyboardInterrupt):
            empirical_ntk(apply_fn, variables, x, options=settings, progress=Interrupting(after))
        assert (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision) == before
        np.testing.assert_array_equal(empirical_ntk(apply_fn, variables, x, options=settings), expected)
    with pytest.raises(KeyboardInterrupt):
        ntk_diagonal(apply_fn, variables, x, options=settings, progress=Interrupting(1))
    assert (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision) == before
    np.testing.assert_allclose(
        ntk_diagonal(apply_fn, variables, x, options=settings),
        np.diag(expected),
        rtol=1e-5 if "32" in precision else 1e-12,
    )


def test_an_interrupt_before_anything_is_computed_leaves_nothing_behind():
    apply_fn, variables = layers.network(["dense"], dtype=np.float32)
    x = layers.inputs(0, 3, np.float32)

    def stop(plan):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empirical_ntk(apply_fn, variables, x, options=KernelOptions(precision="float64"), on_plan=stop)
    assert not jax.config.jax_enable_x64
    theta = empirical_ntk(apply_fn, variables, x)
    np.testing.assert_allclose(np.diag(theta), ntk_diagonal(apply_fn, variables, x), rtol=1e-5)
