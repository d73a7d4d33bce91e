"""A module's port against torch: outputs, and every example's gradients."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import torch

from migrator import migrate
from migrator.weights import get, to_torch_order

FAST = {"xla_backend_optimization_level": 0}  # half the time to compile; what is computed stays the same


def places(x):
    """Positions for gather and scatter along the third axis: fewer than x has, on every axis but the first."""
    return torch.tensor([0, 2, 0]).view(1, 1, 3, 1).expand(x.shape[0], 2, 3, 5)


def per_example(module, x, weights):
    """Outputs and gradients of `sum(weights * output)` for each example, by torch's autograd."""
    outputs, rows = [], []
    for i in range(len(x)):
        y = module(torch.from_numpy(x[i : i + 1]))
        gradients = torch.autograd.grad((y * torch.from_numpy(weights[i])).sum(), list(module.parameters()))
        outputs.append(y.detach().numpy()[0])
        rows.append({name: g.numpy() for (name, _), g in zip(module.named_parameters(), gradients, strict=True)})
    return np.stack(outputs), {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def check(module, x):
    """Outputs, and per-example gradients of every parameter, in float64 against torch."""
    module = module.double().eval()
    with jax.enable_x64(True):
        migrated = migrate(module, (torch.zeros(2, *x.shape[1:], dtype=torch.float64),))
        params = migrated.variables["params"]
        rest = {name: value for name, value in migrated.variables.items() if name != "params"}
        with torch.no_grad():
            shape = module(torch.from_numpy(x)).shape
        weights = np.random.default_rng(1).normal(size=shape)

        def weighted(params, row, weight):
            y = migrated.apply_fn({**rest, "params": params}, row[None])[0]
            return jnp.sum(y * weight), y

        derivative = jax.vmap(jax.grad(weighted, has_aux=True), (None, 0, 0))
        gradients, outputs = jax.jit(derivative, compiler_options=FAST)(params, x, weights)
    expected_outputs, expected = per_example(module, x, weights)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-9, atol=1e-9 * np.abs(expected_outputs).max())
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for binding in migrated.graph.bindings:
        if binding.collection == "params":
            found = np.stack([to_torch_order(binding, row) for row in get({"params": gradients}, binding)])
            truth = expected[binding.key]
            np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9 * largest)
    return migrated


def images():
    return networks.examples((3, 7, 7), 3).astype(np.float64)
