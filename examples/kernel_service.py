"""The tangent kernel and the look-ahead service on a Flax network: what a label would change, without training."""

import flax.linen as nn
import jax
import numpy as np
from sklearn.datasets import load_digits

from linearize import KernelOptions, LookAhead, Sample, empirical_ntk, plan_ntk


class Network(nn.Module):
    """A small convolutional network."""

    @nn.compact
    def __call__(self, x):
        """Map images ``[B, 8, 8, 1]`` to logits ``[B, 10]``."""
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        return nn.Dense(10)(x.reshape(len(x), -1))


digits = load_digits()
images = (digits.images[..., None] / 8 - 1).astype(np.float32)
order = np.random.default_rng(0).permutation(len(images))
labelled, pool = order[:50], order[50:850]
net = Network()
variables = net.init(jax.random.key(0), images[:1])
options = KernelOptions(ridge=1e-4)

print(plan_ntk(net.apply, variables, images[pool], options=options).summary())
theta = empirical_ntk(net.apply, variables, images[labelled], options=options)
print(f"kernel {theta.shape}, condition number {np.linalg.cond(theta):.1e}")

Y = np.eye(10, dtype=np.float32)[digits.target[labelled]]
print("\n| candidates | asks for | accuracy of the linearised network before, after 5 answers |\n|---|---|---|")
for name, sample in (("all", None), ("64 stand for them", Sample(64))):
    service = LookAhead.fit(net.apply, variables, images[labelled], Y, images[pool], options, sample=sample)
    accuracies, asked = [], []
    for answers in range(6):
        truth = digits.target[pool]
        accuracies.append(float((service.predict(images[pool]).argmax(1) == truth).mean()))
        if answers < 5:
            [best] = service.query(1, "margin-influence")
            asked.append(int(best))
            service.observe(best, int(truth[best]))
    print(f"| {name} | {asked} | {accuracies[0]:.1%}, {accuracies[-1]:.1%} |")
