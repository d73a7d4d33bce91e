"""A kernel of the engine against the dense Jacobian of one example at a time."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, settings

import reference
from linearize.heads import HEADS, make_head
from linearize.kernel import empirical_ntk
from linearize.options import KernelOptions

CLASSES = 3


heads = st.sampled_from(sorted(HEADS))


def few(examples):
    """Networks take a second each to compile: draw a few, always the same, and do not shrink them."""
    phases = (Phase.explicit, Phase.generate)
    return settings(
        max_examples=examples, derandomize=True, deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
    )


def close(theta, expected, tolerance=1e-10):
    assert theta.shape == expected.shape
    assert np.abs(theta - expected).max() <= tolerance * np.abs(expected).max()


def compare(apply_fn, variables, x, x2=None, *, head="full", columns=slice(None), tolerance=1e-10, **options):
    """Θ against the dense Jacobian of one example at a time."""
    J = reference.jacobian(apply_fn, variables, x if x2 is None else np.concatenate([x, x2]))[..., columns]
    J, J2 = J[: len(x)], J[0 if x2 is None else len(x) :]
    expected = reference.kernel_of(J, J2, head, 1)
    kernel_settings = KernelOptions(make_head(head, 1), **options)
    close(empirical_ntk(apply_fn, variables, x, x2, options=kernel_settings), expected, tolerance)
    return expected


def force(patch, method):
    """Let every unit that offers a method use it."""
    from linearize.engine.costs import methods

    def offered(unit):
        return (method,) if method in methods(unit) else methods(unit)[:1]

    patch.setattr("linearize.engine.work.methods", offered)
