"""Slow, obvious references: every fast path of the project is compared with these."""

import jax
import jax.numpy as jnp
import numpy as np


def dense_ntk(apply_fn, variables, x, g):
    """Θ by one Jacobian of the flattened parameters, one example at a time, in the precision of the inputs."""
    from jax.flatten_util import ravel_pytree

    flat, unravel = ravel_pytree(variables["params"])
    rows = [jax.grad(lambda p, xi=xi: g(apply_fn({**variables, "params": unravel(p)}, xi[None])[0]))(flat) for xi in x]
    J = jnp.stack(rows)
    return np.asarray(J @ J.T, np.float64)


def solve_eq_11(theta, f, Y, labelled, ridge):
    """f(x) + Θ(x,X) (Θ(X,X) + λI)⁻¹ (Y - f(X)) for every x, solved from scratch."""
    K = theta[np.ix_(labelled, labelled)] + ridge * np.eye(len(labelled))
    return f + theta[:, labelled] @ np.linalg.solve(K, Y - f[labelled])


def naive_look_ahead(theta, f, Y, L, candidate, y, ridge):
    """f_lin⁺ on the pool by solving (11) afresh with the bordered kernel; points are ordered labelled, then pool."""
    labelled = [*range(L), L + candidate]
    return solve_eq_11(theta, f, np.vstack([Y, y[None]]), labelled, ridge)[L:]


def naive_criterion(theta, f, Y, L, ridge, name, reference):
    """MLMOC and argmax flips of every candidate by their definitions, one solve a candidate."""
    f_lin = solve_eq_11(theta, f, Y, list(range(L)), ridge)[L:]
    before = f[L:] if reference == "network" else f_lin
    change, flips = [], []
    for candidate in range(len(f) - L):
        y = np.eye(f.shape[1])[f[L + candidate].argmax()]
        after = naive_look_ahead(theta, f, Y, L, candidate, y, ridge)
        change.append(np.linalg.norm(after - before, axis=1).sum())
        flips.append((after.argmax(1) != before.argmax(1)).sum())
    return np.array(change if name == "mlmoc" else flips, dtype=float)
