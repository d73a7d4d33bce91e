"""A PyTorch model in Flax: ported, verified down to its gradients, saved, and written as a readable module."""

from pathlib import Path

import jax
import numpy as np
import torch

from migrator import load, migrate, save, to_source, verify

model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, padding=1),
    torch.nn.BatchNorm2d(8),
    torch.nn.SiLU(),
    torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(),
    torch.nn.Linear(8, 10),
).eval()
images = torch.randn(16, 3, 32, 32)

port = migrate(model, images[:2])
port.report = verify(model, port, images.numpy())  # raises where they differ
save(port, "example-port")

again = load("example-port")  # needs no torch
with torch.no_grad():
    theirs = model(images).numpy()
ours = np.asarray(again.apply_fn(again.variables, images.numpy()))
source = to_source(again)
Path("example_port.py").write_text(source)

print("| what | |\n|---|---|")
print(f"| largest difference of outputs | {np.abs(ours - theirs).max():.1e} |")
print(f"| trained parameters | {sum(leaf.size for leaf in jax.tree.leaves(again.variables['params'])):,} |")
print(f"| lines of example_port.py | {len(source.splitlines())} |")
