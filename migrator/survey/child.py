"""What the process of every architecture needs, done once before they are forked; nothing here may start a thread."""

import torch

from migrator import capture, convert, reference, verify
from migrator.survey import run

__all__ = ["capture", "convert", "reference", "run", "verify"]

capture.capture(torch.nn.Linear(1, 1).eval(), (torch.zeros(2, 1),))  # the first recording loads half of torch
