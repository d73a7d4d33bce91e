"""Where torch computes."""

import torch

from pipeline.errors import PipelineError


def choose_device(name: str) -> str:
    """Resolve ``auto`` and check that torch can use the device.

    Args:
        name: such as ``cpu``, ``cuda:1`` or ``auto``.

    Raises:
        PipelineError: it cannot.

    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(f"device: expected one that torch can use, such as cpu; got {name!r} ({reason})") from error
    return name
