"""The torch side of the project: data sets, networks, and training to convergence.

This package imports torch and no sibling package. It hands on NumPy arrays, safetensors files
and `torch.nn.Module` objects in eval mode; nothing else crosses its border.
"""
