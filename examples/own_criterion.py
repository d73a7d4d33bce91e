"""A look-ahead criterion of one's own: one function of the linearised network, and all that the others can do."""

import jax.numpy as jnp
import numpy as np

from linearize import Criterion, KernelOptions, LookAhead


def score(posterior, request):
    """Ask where the most variance of the linearised network is left."""
    return posterior.u


LARGEST = Criterion(
    "largest", "A(x') = u(x')", "of which the network knows least", "Cohn et al. 1996", score, "direction"
)


def network(variables, x):
    """A network of two layers, in JAX."""
    params = variables["params"]
    return jnp.tanh(x @ params["v"]) @ params["w"]


draw = np.random.default_rng(0)
params = {"v": draw.normal(size=(2, 64)), "w": draw.normal(size=(64, 3)) / 8}
variables = {"params": {name: jnp.asarray(array, jnp.float32) for name, array in params.items()}}
X, pool = (draw.normal(size=(count, 2)).astype(np.float32) for count in (9, 200))
Y = np.eye(3, dtype=np.float32)[draw.integers(0, 3, len(X))]

service = LookAhead.fit(network, variables, X, Y, pool, KernelOptions(ridge=1e-6))
print("| criterion | asks for, one after another | in one batch, as if answered |\n|---|---|---|")
for criterion in (LARGEST, "margin-influence", "mlmoc"):
    asked = service.fork()  # answers to it leave the other as it is
    sequence = []
    for label in (0, 1, 2):
        [sample] = asked.query(1, criterion)
        sequence.append(int(sample))
        asked.observe(sample, label)
    greedy = [int(sample) for sample in service.query(3, criterion, "greedy")]
    print(f"| {getattr(criterion, 'name', criterion)} | {sequence} | {greedy} |")
