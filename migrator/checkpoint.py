"""Foreign weights into a torch module: safetensors, or ``.pt`` without executing anything in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from common.memory import available_memory
from common.reading import checked_size, opened, why
from migrator.errors import CorruptWeights, StateDictMismatch

PREFIXES = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put before every name."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name.

    Args:
        path: a ``.safetensors`` file, or a ``.pt`` / ``.pth`` file that holds a state dict and nothing else.

    Raises:
        CorruptWeights: the file is missing, damaged, or would run code when opened.

    """
    if not path.is_file():
        raise CorruptWeights(f"no weights at {path}; give the path of a .safetensors or .pt file")
    try:
        with opened(path) as file:
            size = checked_size(file, path, available_memory())
    except OSError as error:
        raise CorruptWeights(f"{path} cannot be read as weights ({why(error)})") from error
    if not size:  # or a file of the system's, whose end is waited for
        raise CorruptWeights(f"{path} is empty; write the weights again")
    state = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):  # type: ignore[attr-defined]
        keys = ", ".join(sorted(map(str, state)))[:200] if isinstance(state, dict) else type(state).__name__
        raise CorruptWeights(
            f"{path} does not hold a state dict of tensors but {keys}; save `model.state_dict()` alone"
        )
    return state  # type: ignore[return-value]


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # a damaged header can make it raise anything
        raise CorruptWeights(f"{path} is not a safetensors file ({type(error).__name__}: {error})") from error


def _pickle(path: Path) -> object:
    if is_zipfile(path):  # torch never compresses, and what is compressed may be a thousand times as large
        with ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != ZIP_STORED]
        if packed:
            raise CorruptWeights(f"{path} is compressed ({packed[0]}), torch does not write such files; use torch.save")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the protocol of its pickle: what cannot be read is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        offending = _unsafe(path)
        if offending:
            raise CorruptWeights(
                f"{path} would run {', '.join(offending)} when opened; save `model.state_dict()` instead of the model"
            ) from error
        raise CorruptWeights(f"{path} cannot be read as weights ({type(error).__name__}); is it damaged?") from error


def _unsafe(path: Path) -> list[str]:
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        return []


def load_state(module: nn.Module, state: dict[str, Tensor]) -> tuple[str, ...]:
    """Put tensors into a module, all names and shapes equal.

    Args:
        module: what the weights are for.
        state: qualified name -> tensor; where the module has no such names, wrappers' prefixes are removed from them.

    Returns:
        What was done to the names, one sentence for each removed prefix, to be reported.

    Raises:
        StateDictMismatch: naming what is missing, unknown, or of another shape or type.

    """
    own = module.state_dict()
    state, notes = unwrapped(state, set(own))
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or extra:
        after = f" ({'; '.join(notes)})" if notes else ""
        raise StateDictMismatch(f"the weights do not fit the model{after}: missing {missing[:8]}, unknown {extra[:8]}")
    for name, tensor in own.items():
        came = state[name]
        if came.layout is not torch.strided or came.is_meta or came.is_quantized:
            raise StateDictMismatch(f"{name}: expected plain numbers, the file has {came.layout}, on {came.device}")
        if tensor.shape != came.shape or tensor.dtype != came.dtype:
            raise StateDictMismatch(
                f"{name}: the model has {tensor.dtype} {list(tensor.shape)}, the file {came.dtype} {list(came.shape)}"
            )
    module.load_state_dict(state)
    return notes


def unwrapped(state: dict[str, Tensor], wanted: set[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return weights without the prefixes of wrappers that all names share, from the outside in.

    Args:
        state: qualified name -> tensor.
        wanted: the names that the module has; once one of them is there, no prefix is removed.

    Returns:
        The same tensors under the shorter names, and one sentence for each removed prefix.

    """
    notes: list[str] = []
    while state and not wanted & set(state):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        notes.append(f"removed the prefix `{prefix}` from all {len(state)} names of the weights")
    return state, tuple(notes)
