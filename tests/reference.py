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


def naive_criterion(theta, f, Y, L, ridge, name, reference, measured=lambda outputs: outputs):
    """MLMOC and argmax flips of every candidate by their definitions, one solve a candidate.

    Change is that of ``measured``: of the outputs or of their probabilities.
    """
    f_lin = solve_eq_11(theta, f, Y, list(range(L)), ridge)[L:]
    before = f[L:] if reference == "network" else f_lin
    change, flips = [], []
    for candidate in range(len(f) - L):
        y = np.eye(f.shape[1])[f[L + candidate].argmax()]
        after = naive_look_ahead(theta, f, Y, L, candidate, y, ridge)
        change.append(np.linalg.norm(measured(after) - measured(before), axis=1).sum())
        flips.append((after.argmax(1) != before.argmax(1)).sum())
    return np.array(change if name == "mlmoc" else flips, dtype=float)


def naive_simplex(outputs):
    """The projection of each row onto the simplex: its threshold by bisection of Σ_c max(w_c - τ, 0) = 1."""
    low, high = outputs.max(1) - 1, outputs.max(1)
    for _ in range(200):
        middle = (low + high) / 2
        over = np.maximum(outputs - middle[:, None], 0).sum(1) > 1
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return np.maximum(outputs - low[:, None], 0)


def naive_softmax(outputs):
    e = np.exp(outputs - outputs.max(1)[:, None])
    return e / e.sum(1)[:, None]


def naive_entropy(p):
    return -sum(value * np.log(value) for value in p.ravel() if value > 0)


def naive_expectation(
    theta, f, Y, L, ridge, name, reference, probabilities=naive_simplex, measured=lambda outputs: outputs
):
    """EMOC, EER, expected flips and expected accuracy by their definitions, one solve a candidate and class."""
    f_lin = solve_eq_11(theta, f, Y, list(range(L)), ridge)[L:]
    before = f[L:] if reference == "network" else f_lin
    p = probabilities(f[L:] if name in ("emoc", "eer") else f_lin)
    scores = np.zeros(len(f) - L)
    for candidate in range(len(f) - L):
        for c, y in enumerate(np.eye(f.shape[1])):
            after = naive_look_ahead(theta, f, Y, L, candidate, y, ridge)
            value = {
                "emoc": lambda after=after: np.linalg.norm(measured(after) - measured(before), axis=1).sum(),
                "eer": lambda after=after: -naive_entropy(probabilities(after)),
                "emoc-flips": lambda after=after: (after.argmax(1) != before.argmax(1)).sum(),
                "expected-accuracy": lambda after=after: sum(
                    max(now) - max(then) for now, then in zip(probabilities(after), probabilities(f_lin), strict=True)
                ),
            }[name]()
            scores[candidate] += p[candidate, c] * value
    return scores


def naive_unsure_variance(theta, f, Y, L, ridge, share, probabilities=naive_simplex):
    """m(x') Σ_x m(x) (what a label of x' takes from the variance of x), the variances solved with and without it.

    With ``share``, of each point's variance with the ridge.
    """
    f_lin = solve_eq_11(theta, f, Y, list(range(L)), ridge)[L:]
    m = [1 - (sorted(p)[-1] - sorted(p)[-2]) for p in probabilities(f_lin)]

    def variance(x, labelled):
        K = theta[np.ix_(labelled, labelled)] + ridge * np.eye(len(labelled))
        return theta[x, x] - theta[x, labelled] @ np.linalg.solve(K, theta[labelled, x])

    scores = np.zeros(len(f) - L)
    for candidate in range(len(f) - L):
        for x in range(len(f) - L):
            before = variance(L + x, list(range(L)))
            taken = before - variance(L + x, [*range(L), L + candidate])
            scores[candidate] += m[candidate] * m[x] * taken / (before + ridge if share else 1)
    return scores


def jacobian(apply_fn, variables, x):
    """∂f_c/∂θ of every example and logit ``[N, C, P]``, one Jacobian of the flattened parameters a time."""
    from jax.flatten_util import ravel_pytree

    flat, unravel = ravel_pytree(variables["params"])
    one = jax.jit(jax.jacrev(lambda p, xi: apply_fn({**variables, "params": unravel(p)}, xi[None])[0]))
    return np.stack([np.asarray(one(flat, xi), np.float64) for xi in x])


def kernel_of(J, J2, head, logit=0):
    """Θ of a head by its definition, from the Jacobians of all logits."""
    C = J.shape[1]
    if head == "sum-of-logits":
        return np.einsum("ncp,mdp->nm", J, J2) / C
    if head == "single-logit":
        return np.einsum("np,mp->nm", J[:, logit], J2[:, logit])
    if head == "trace":
        return np.einsum("ncp,mcp->nm", J, J2) / C
    assert head == "full"
    return np.einsum("ncp,mdp->ncmd", J, J2).reshape(len(J) * C, len(J2) * C)


def columns(variables, chosen):
    """Which columns of ``jacobian`` belong to the parameters whose path ``chosen`` accepts, ``[P]`` bool."""
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return np.concatenate([np.full(np.size(leaf), chosen(jax.tree_util.keystr(path))) for path, leaf in leaves])
