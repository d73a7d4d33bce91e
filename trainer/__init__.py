"""The torch side of the project: data sets, networks, and training to convergence.

This package imports torch and no sibling package. It hands on NumPy arrays, safetensors files
and ``torch.nn.Module`` objects in eval mode; nothing else crosses its border.
"""

import os

# A step on a hundred small images is a row of tiny parallel regions. By default OpenMP's threads spin at the end of
# each, and when another process wants the same cores every spin costs a scheduler's time slice: training then took
# 28 s instead of 2 s. Sleeping threads cost next to nothing. This has effect only before torch is first imported, and
# a value that is already set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
