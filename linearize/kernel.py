"""The empirical neural tangent kernel Θ(A, A), in one place behind one function.

Θ(x, x') = ⟨∇_θ g(x), ∇_θ g(x')⟩ for a scalar head g and the *trainable* parameters θ; frozen batch-norm statistics
and other collections are constants and are never differentiated.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from linearize.errors import LinearizeError, NonFiniteError
from linearize.heads import Head, SumOfLogits
from linearize.memory import DEFAULT_BUDGET, Chunk, plan_chunks
from linearize.types import ApplyFn, Array, Float64, Progress, Variables

DEFAULT_BLOCK = 256


@partial(jax.jit, static_argnames=("apply_fn", "head", "leaves"))
def _features(apply_fn: ApplyFn, head: Head, leaves: tuple[int, ...], variables: Variables, x: Array) -> Array:
    """Per-example gradients of the head with respect to the chosen parameter arrays, ``[B, P_leaves]``."""
    params, treedef = jax.tree.flatten(variables["params"])

    def g(chosen: list[Array], example: Array) -> Array:
        merged = list(params)
        for index, leaf in zip(leaves, chosen, strict=True):
            merged[index] = leaf
        logits = apply_fn({**variables, "params": jax.tree.unflatten(treedef, merged)}, example[None])
        return head(logits[0])

    gradients = jax.vmap(jax.grad(g), (None, 0))([params[index] for index in leaves], x)
    return jnp.concatenate([gradient.reshape(x.shape[0], -1) for gradient in gradients], axis=1)


@jax.jit
def _gram(A: Array, B: Array) -> Array:
    """A Bᵀ without reduced-precision products."""
    return jnp.matmul(A, B.T, precision=jax.lax.Precision.HIGHEST)


@partial(jax.jit, static_argnames=("apply_fn",))
def _forward(apply_fn: ApplyFn, variables: Variables, x: Array) -> Array:
    return apply_fn(variables, x)


def _padded_blocks(x: np.ndarray, block: int) -> list[np.ndarray]:
    """Cut ``x`` into blocks of one fixed size (the last one padded with its own last row): nothing recompiles."""
    rows = np.arange(-(-len(x) // block) * block).clip(max=len(x) - 1)
    return [x[rows[start : start + block]] for start in range(0, len(rows), block)]


def network_outputs(
    apply_fn: ApplyFn, variables: Variables, x: np.ndarray, *, block: int = DEFAULT_BLOCK
) -> np.ndarray:
    """Evaluate f(x) in fixed-size blocks.

    Args:
        apply_fn: the network in eval mode.
        variables: its Flax collections.
        x: inputs ``[N, ...]``.
        block: examples evaluated at once.

    Returns:
        Logits ``[N, C]``.

    Raises:
        NonFiniteError: an output is NaN or infinite.

    """
    with jax.default_matmul_precision("highest"):
        outputs = np.concatenate([np.asarray(_forward(apply_fn, variables, b)) for b in _padded_blocks(x, block)])
    outputs = outputs[: len(x)]
    if not np.isfinite(outputs).all():
        raise NonFiniteError("the network's outputs contain NaN or infinity: train it again with a lower learning rate")
    return outputs


def empirical_ntk(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    *,
    head: Head | None = None,
    block: int = DEFAULT_BLOCK,
    memory_budget: int = DEFAULT_BUDGET,
    progress: Progress | None = None,
) -> Float64:
    """Compute the empirical NTK of one scalar head over a set of inputs.

    Θ(x, x') = ⟨∇_θ g(x), ∇_θ g(x')⟩.  Source: look-ahead paper, eq. 6 and section 3; thesis eq. 3.2 for the head.

    Each example is differentiated once per parameter chunk; chunks are as large as the memory budget allows, and only
    tiles of the upper triangle are multiplied.

    Args:
        apply_fn: the network in eval mode, ``(variables, x [B, ...]) -> [B, C]``.
        variables: its collections; only ``variables["params"]`` is differentiated.
        x: inputs ``[N, ...]``.
        head: scalar head g; sum-of-logits by default.
        block: rows differentiated at once and edge of the tiles of Θ.
        memory_budget: bytes for features and kernel together.
        progress: called after every tile with ``(done, total)``.

    Returns:
        Θ ``[N, N]``, symmetric, accumulated over chunks in float64.

    Raises:
        LinearizeError: no inputs, or no trainable parameter.
        MemoryBudgetError: the budget is too small for any chunking.
        NonFiniteError: an entry is NaN or infinite.

    """
    leaves = jax.tree.leaves(variables["params"])
    if not leaves:
        raise LinearizeError("the network has no trainable parameter: a kernel needs at least one array in 'params'")
    if len(x) == 0:
        raise LinearizeError("kernel: expected at least one input, got none")
    n = len(x)
    block = min(block, n)
    chunks = plan_chunks([leaf.size for leaf in leaves], n, block, memory_budget)
    blocks = _padded_blocks(x, block)
    theta = np.zeros((n, n))
    tiles = len(chunks) * len(blocks) * (len(blocks) + 1) // 2
    done = 0
    for chunk in chunks:
        features = [_chunk_features(apply_fn, head or SumOfLogits(), chunk, variables, b) for b in blocks]  # [B, P_c]
        for i, j in _upper_triangle(len(blocks)):
            rows, columns = slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block)
            target = theta[rows, columns]
            target += np.asarray(_gram(features[i], features[j]))[: target.shape[0], : target.shape[1]]
            done += 1
            if progress:
                progress(done, tiles)
        del features
    for i, j in _upper_triangle(len(blocks)):
        rows, columns = slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block)
        theta[columns, rows] = theta[rows, columns].T
    if not np.isfinite(theta).all():
        raise NonFiniteError("the kernel contains NaN or infinity: the network's gradients overflow at these weights")
    return theta


def _chunk_features(apply_fn: ApplyFn, head: Head, chunk: Chunk, variables: Variables, x: np.ndarray) -> Array:
    with jax.default_matmul_precision("highest"):  # accelerators default to TF32
        features = _features(apply_fn, head, chunk.leaves, variables, x)
    if (chunk.start, chunk.stop) != (0, features.shape[1]):
        features = features[:, chunk.start : chunk.stop]
    return features.block_until_ready()


def _upper_triangle(n: int) -> Sequence[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(i, n)]
