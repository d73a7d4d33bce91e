"""Products with Θ and its diagonal against dense Jacobians."""

from functools import cache

import jax
import layers
import numpy as np
import pytest

import reference
from linearize import LinearizeError, MemoryBudgetError, ntk_blocks, products
from linearize.engine import blocks
from linearize.heads import HEADS, make_head
from linearize.options import KernelOptions
from linearize.products import jacobian_vector_product, ntk_diagonal, ntk_vector_product, vector_jacobian_product

pytestmark = pytest.mark.usefixtures("quick_compilation")
CLASSES, N, M = 3, 7, 5
RNG = np.random.default_rng(0)
NAMES = ["conv2d_plain", "unused", "dense_of_everything", "recurrence", "autoencoder"]


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch):
    """Seven examples in portions of four: the last one is filled up."""
    monkeypatch.setattr("linearize.products.MOST_EXAMPLES", 4)


@cache
def worked_out():
    """A network, its inputs, and their Jacobians."""
    apply_fn, variables = layers.network(NAMES, classes=CLASSES)
    x, x2 = layers.inputs(0, N), layers.inputs(1, M)
    return apply_fn, variables, x, x2, *(reference.jacobian(apply_fn, variables, inputs) for inputs in (x, x2))


def rows_of(J, head):
    """∂g/∂θ ``[N, k, P]`` of a head's k outputs."""
    if head == "sum-of-logits":
        return J.sum(1, keepdims=True) / np.sqrt(CLASSES)
    return {"single-logit": J[:, 1:2], "trace": J / np.sqrt(CLASSES), "full": J}[head]


def settings_of(head, **options):
    return KernelOptions(make_head(head, 1), **options)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def close(found, expected, tolerance=1e-10):
    assert np.shape(found) == np.shape(expected)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.usefixtures("x64")
def test_products_with_the_jacobian(head):
    apply_fn, variables, x, _, J, _ = worked_out()
    rows = rows_of(J, head)
    several = rows.shape[1] > 1
    v = RNG.normal(size=(N, rows.shape[1]))
    direction = vector_jacobian_product(apply_fn, variables, x, v if several else v[:, 0], options=settings_of(head))
    assert jax.tree.structure(direction) == jax.tree.structure(variables["params"])
    close(flat(direction), np.einsum("nk,nkp->p", v, rows))
    assert not np.any(direction["1_unused"]["unused"])
    tangent = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape), variables["params"])
    moved = jacobian_vector_product(apply_fn, variables, x, tangent, options=settings_of(head))
    expected = np.einsum("nkp,p->nk", rows, flat(tangent))
    close(moved, expected if several else expected[:, 0])


@pytest.mark.parametrize("way", ["planned", "ghosts", "gradients"])
@pytest.mark.usefixtures("x64")
def test_blocks_of_the_full_kernel(way, monkeypatch):
    if way != "planned":
        monkeypatch.setattr(blocks, "made_of_ghosts", lambda unit, _: way == "ghosts" and bool(unit.factors))
    compiled = jax.jit(lambda *arguments: blocks.own_blocks(*arguments), static_argnums=0)  # anew, by that way
    monkeypatch.setattr(products, "_own_blocks", compiled)
    apply_fn, variables, x, _, J, _ = worked_out()
    told = []
    settings = settings_of("full")
    found = ntk_blocks(apply_fn, variables, x, options=settings, progress=lambda *done: told.append(done))
    close(found, np.einsum("nbp,ncp->nbc", J, J))
    theta = reference.kernel_of(J, J, "full").reshape(N, CLASSES, N, CLASSES)
    close(found, np.array([theta[example, :, example] for example in range(N)]))
    assert told == [(4, 7), (7, 7)]


@pytest.mark.usefixtures("x64")
def test_blocks_of_another_head_or_too_large_for_the_budget_are_refused():
    apply_fn, variables, x, *_ = worked_out()
    with pytest.raises(LinearizeError, match="blocks: expected the kernel head 'full', got 'trace'"):
        ntk_blocks(apply_fn, variables, x, options=KernelOptions("trace"))
    with pytest.raises(MemoryBudgetError, match="the gradients of all 3 outputs of one example take"):
        ntk_blocks(apply_fn, variables, x, options=KernelOptions("full", memory_budget=1000))


@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.usefixtures("x64")
def test_products_with_the_kernel(head):
    apply_fn, variables, x, x2, J, J2 = worked_out()
    for columns, J_columns in ((None, J), (x2, J2)):
        theta = reference.kernel_of(J, J_columns, head, 1)
        v = RNG.normal(size=theta.shape[1])
        close(ntk_vector_product(apply_fn, variables, x, v, columns, options=settings_of(head)), theta @ v)


@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.usefixtures("x64")
def test_a_column_of_the_kernel(head, monkeypatch):
    """One example is differentiated alone, and gives what it gives in a portion that is filled up with copies."""
    apply_fn, variables, x, x2, J, J2 = worked_out()
    theta = reference.kernel_of(J, J2[:1], head, 1)
    e = np.eye(theta.shape[1])[-1]
    differentiated, pulled = [], products._pulled

    def counted(tape, parameters, others, examples, weights):
        differentiated.append(len(examples))
        return pulled(tape, parameters, others, examples, weights)

    monkeypatch.setattr(products, "_pulled", counted)
    column = ntk_vector_product(apply_fn, variables, x, e, x2[:1], options=settings_of(head))
    assert set(differentiated) == {1}
    close(column, theta @ e)
    padded = ntk_vector_product(
        apply_fn, variables, x, np.concatenate([e, 0 * e]), x2[[0, 0]], options=settings_of(head)
    )
    assert max(differentiated) == 4
    close(column, padded)


@pytest.mark.parametrize("head", ["trace", "full"])
@pytest.mark.usefixtures("x64")
def test_the_diagonal(head):
    apply_fn, variables, x, _, J, _ = worked_out()
    seen = []
    diagonal = ntk_diagonal(
        apply_fn, variables, x, options=settings_of(head), progress=lambda done, total: seen.append((done, total))
    )
    close(diagonal, np.diag(reference.kernel_of(J, J, head, 1)))
    assert seen == [(4, 7), (7, 7)]


@pytest.mark.usefixtures("x64")
def test_the_last_layer_alone():
    apply_fn, variables, x, x2, J, J2 = worked_out()
    last = reference.columns(variables, lambda path: "head" in path)
    settings = settings_of("full", layers="last")
    theta = reference.kernel_of(J[..., last], J2[..., last], "full")
    v = RNG.normal(size=M * CLASSES)
    close(ntk_vector_product(apply_fn, variables, x, v, x2, options=settings), theta @ v)
    direction = flat(vector_jacobian_product(apply_fn, variables, x2, v.reshape(M, CLASSES), options=settings))
    close(direction, np.where(last, np.einsum("mk,mkp->p", v.reshape(M, CLASSES), J2), 0))
    diagonal = np.einsum("ncp,ncp->nc", J[..., last], J[..., last])
    close(ntk_diagonal(apply_fn, variables, x, options=settings), diagonal.reshape(-1))
    expected = np.einsum("nbp,ncp->nbc", J[..., last], J[..., last])
    close(ntk_blocks(apply_fn, variables, x, options=settings), expected)


def test_float64_of_a_float32_network():
    apply_fn, variables = layers.network(["dense", "layer_norm"], classes=CLASSES, dtype=np.float32)
    x = layers.inputs(0, N, np.float32)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)
        J = reference.jacobian(apply_fn, wide, x.astype(np.float64))
    theta = reference.kernel_of(J, J, "sum-of-logits")
    v = RNG.normal(size=N)
    errors = {}
    for precision in ("float32", "float64"):
        settings = KernelOptions(precision=precision)
        product = ntk_vector_product(apply_fn, variables, x, v, options=settings)
        diagonal = ntk_diagonal(apply_fn, variables, x, options=settings)
        assert not jax.config.jax_enable_x64
        errors[precision] = np.abs(product - theta @ v).max() / np.abs(theta @ v).max()
        errors[precision] += np.abs(diagonal - np.diag(theta)).max() / np.diag(theta).max()
    assert errors["float64"] < 1e-12
    assert 1e-9 < errors["float32"] < 1e-5


def test_shapes_that_do_not_fit_are_named():
    apply_fn, variables = layers.network(["dense"], dtype=np.float32)
    x = layers.inputs(0, N, np.float32)
    for product in (vector_jacobian_product, ntk_vector_product):
        with pytest.raises(LinearizeError, match=r"v: expected .*7.*, got \[6\]"):
            product(apply_fn, variables, x, np.ones(6))
    with pytest.raises(LinearizeError, match=r"v: expected an array \[7, 3\], got \[7\]"):
        vector_jacobian_product(apply_fn, variables, x, np.ones(7), options=settings_of("trace"))
    tangent = jax.tree.map(lambda leaf: leaf[..., None], variables["params"])
    for wrong in (tangent, {"head": tangent["head"]}):
        with pytest.raises(LinearizeError, match="shaped like variables"):
            jacobian_vector_product(apply_fn, variables, x, wrong)
    empty = x[:0]
    for call in (
        lambda: ntk_diagonal(apply_fn, variables, empty),
        lambda: vector_jacobian_product(apply_fn, variables, empty, np.ones(0)),
        lambda: jacobian_vector_product(apply_fn, variables, empty, variables["params"]),
        lambda: ntk_vector_product(apply_fn, variables, x, np.ones(0), empty),
    ):
        with pytest.raises(LinearizeError, match="at least one input"):
            call()
