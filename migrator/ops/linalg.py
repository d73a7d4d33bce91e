"""Matrix factorisations, inverses and functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from migrator.ops.registry import rule

ABOVE_DIAGONAL = "U"


def _mirrored(x: Array, lower: bool) -> Array:
    """The symmetric matrix that one triangle tells; its derivative is symmetric as in torch."""
    flipped = jnp.conj(jnp.swapaxes(x, -1, -2))
    triangle, other = (jnp.tril(x), jnp.triu(flipped, 1)) if lower else (jnp.triu(x), jnp.tril(flipped, -1))
    mean = (x + flipped) / 2
    return mean + lax.stop_gradient(triangle + other - mean)


def _nothing(x: Array) -> Array:
    """Stands for results that are not for use."""
    return jnp.zeros((0,), x.dtype)


@rule("aten.linalg_matrix_exp.default")
def matrix_exp(x: Array) -> Array:
    """The exponential of matrices."""
    return jax.scipy.linalg.expm(x)


@rule("aten.linalg_inv.default", "aten.inverse.default")
def inv(x: Array) -> Array:
    """The inverse of matrices."""
    return jnp.linalg.inv(x)


@rule("aten.linalg_inv_ex.default")
def inv_ex(x: Array, check_errors: bool = False) -> tuple[Array, Array]:
    """The inverse, and that all went well."""
    return inv(x), jnp.zeros(x.shape[:-2], "int32")


@rule("aten.linalg_solve.default")
def solve(a: Array, b: Array, left: bool = True) -> Array:
    """What solves A x = b, or x A = b; b may be a vector for each matrix."""
    if b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]):
        return solve(a, b[..., None])[..., 0]
    if not left:
        return jnp.swapaxes(solve(jnp.swapaxes(a, -1, -2), jnp.swapaxes(b, -1, -2)), -1, -2)
    return jnp.linalg.solve(a, b)


@rule("aten._linalg_solve_ex.default")
def solve_ex(a: Array, b: Array, left: bool = True, check_errors: bool = False) -> tuple[Array, ...]:
    """What solves A x = b as the first of several results, of which only it is for use."""
    return solve(a, b, left), _nothing(a), _nothing(a), jnp.zeros(a.shape[:-2], "int32")


@rule("aten.linalg_cholesky.default")
def cholesky(x: Array, upper: bool = False) -> Array:
    """The triangular root L L' of a positive definite matrix, of which one triangle is read."""
    return jnp.linalg.cholesky(_mirrored(x, not upper), upper=upper, symmetrize_input=False)


@rule("aten.linalg_cholesky_ex.default")
def cholesky_ex(x: Array, upper: bool = False, check_errors: bool = False) -> tuple[Array, Array]:
    """The triangular root, and that all went well."""
    return cholesky(x, upper), jnp.zeros(x.shape[:-2], "int32")


@rule("aten.linalg_solve_triangular.default")
def solve_triangular(a: Array, b: Array, upper: bool, left: bool = True, unitriangular: bool = False) -> Array:
    """What solves A x = b, or x A = b, for a triangular matrix."""
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(value, batch + value.shape[-2:]) for value in (a, b))
    return lax.linalg.triangular_solve(a, b, left_side=left, lower=not upper, unit_diagonal=unitriangular)


@rule("aten.triangular_solve.default")
def triangular_solve(
    b: Array, a: Array, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Array, Array]:
    """What solves A x = b for a triangular matrix, or its transpose, and that matrix."""
    side = jnp.swapaxes(a, -1, -2) if transpose else a
    return solve_triangular(side, b, upper != transpose, unitriangular=unitriangular), a


@rule("aten.cholesky_solve.default")
def cholesky_solve(b: Array, root: Array, upper: bool = False) -> Array:
    """What solves A x = b for A given by its triangular root."""
    across = jnp.conj(jnp.swapaxes(root, -1, -2))
    first, second = (across, root) if upper else (root, across)
    return solve_triangular(second, solve_triangular(first, b, False), True)


@rule("aten.cholesky_inverse.default")
def cholesky_inverse(root: Array, upper: bool = False) -> Array:
    """The inverse of a matrix given by its triangular root."""
    return cholesky_solve(jnp.eye(root.shape[-1], dtype=root.dtype), root, upper)


@rule("aten._linalg_det.default")
def det(x: Array) -> tuple[Array, ...]:
    """The determinant as the first of several results, of which only it is for use."""
    return jnp.linalg.det(x), _nothing(x), _nothing(x)


@rule("aten._linalg_slogdet.default")
def slogdet(x: Array) -> tuple[Array, ...]:
    """Sign and logarithm of the determinant as the first two of several results, of which only they are for use."""
    return (*jnp.linalg.slogdet(x), _nothing(x), _nothing(x))


@rule("aten._linalg_eigh.default")
def eigh(x: Array, triangle: str = "L", vectors: bool = True) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of a symmetric matrix, of which one triangle is read."""
    values, columns = jnp.linalg.eigh(_mirrored(x, triangle != ABOVE_DIAGONAL), symmetrize_input=False)
    return values, columns


@rule("aten._linalg_svd.default")
def svd(x: Array, full_matrices: bool = False, vectors: bool = True, driver: Any = None) -> tuple[Array, Array, Array]:
    """Singular vectors and values, X = U S V'."""
    if vectors:
        left, values, right = jnp.linalg.svd(x, full_matrices=full_matrices)
        return left, values, right
    return _nothing(x), jnp.linalg.svd(x, compute_uv=False), _nothing(x)


@rule("aten.linalg_qr.default")
def qr(x: Array, mode: str = "reduced") -> tuple[Array, Array]:
    """X = Q R with Q orthogonal and R upper triangular; of a wide matrix, Q is that of its first columns."""
    rows, columns = x.shape[-2:]
    if mode == "complete" and rows > columns:
        q, r = jnp.linalg.qr(x, mode="complete")
        return q, r
    q, r = jnp.linalg.qr(x[..., :rows], mode="reduced")
    if columns > rows:
        r = jnp.concatenate([r, jnp.conj(jnp.swapaxes(q, -1, -2)) @ x[..., rows:]], -1)
    return q, r


@rule("aten.linalg_householder_product.default")
def householder_product(x: Array, scales: Array) -> Array:
    """The first columns of H_1 ... H_k with H_i = 1 - scale_i v_i v_i'; v_i is column i of x below a one."""
    rows, columns = x.shape[-2:]
    vectors = jnp.tril(x, -1) + jnp.eye(rows, columns, dtype=x.dtype)
    y = jnp.broadcast_to(jnp.eye(rows, columns, dtype=x.dtype), x.shape)
    for i in reversed(range(scales.shape[-1])):
        vector = vectors[..., i : i + 1]
        y = y - scales[..., i, None, None] * vector * (jnp.conj(jnp.swapaxes(vector, -1, -2)) @ y)
    return y


@rule("aten.linalg_pinv.atol_rtol_tensor")
def pinv(x: Array, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Array:
    """The pseudo-inverse; singular values below the larger of ``atol`` and ``rtol`` times the largest count as zero."""
    still = lax.stop_gradient(x)
    smallest = max(x.shape[-2:]) * jnp.finfo(x.dtype).eps
    relative = (smallest if atol is None else jnp.where(atol > 0, 0.0, smallest)) if rtol is None else rtol
    if atol is not None:
        relative = jnp.maximum(relative, atol / jnp.linalg.norm(still, 2, (-2, -1)))
    return jnp.linalg.pinv(x, rtol=relative)
