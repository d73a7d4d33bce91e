"""What a training leaves at intervals so that, killed, it goes on from there to the same bits."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.files import remove_unfinished, write_bytes
from trainer.checkpoint import read_weights, state_bytes
from trainer.errors import CheckpointError

EVERY = 20.0
"""Seconds between two checkpoints."""
TREE = "tree"


def pack(tree: Any) -> dict[str, Tensor]:
    """Return nested dictionaries and lists of tensors, arrays, numbers and texts as tensors by name.

    Args:
        tree: it; the keys of its dictionaries are texts. A tuple comes back as a list.

    """
    tensors: dict[str, Tensor] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if isinstance(value, Tensor):
            tensors[name := str(len(tensors))] = value
            return {TREE: name}
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    text = json.dumps(plain(tree)).encode()
    return {**tensors, TREE: torch.tensor(list(text), dtype=torch.uint8)}


def unpack(tensors: Mapping[str, Tensor]) -> Any:
    """Return what ``pack`` was given.

    Args:
        tensors: by name.

    """

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return tensors[value[TREE]] if value.keys() == {TREE} else {key: whole(one) for key, one in value.items()}
        return [whole(one) for one in value] if isinstance(value, list) else value

    return whole(json.loads(bytes(tensors[TREE].tolist())))


def optimizer_state(optimizer: torch.optim.Optimizer, schedule: Any) -> dict[str, Any]:
    """Return what the next steps of an optimiser and its schedule depend on beside their settings.

    Args:
        optimizer: the optimiser.
        schedule: of its rate.

    """
    moved = ("lr", "momentum", "betas")  # by a schedule
    groups = [{name: group[name] for name in moved if name in group} for group in _groups(optimizer)]
    states = [dict(optimizer.state.get(parameter, {})) for parameter in _parameters(optimizer)]
    return {"groups": groups, "states": states, "epoch": schedule.last_epoch, "count": schedule._step_count}


def restore_optimizer(optimizer: torch.optim.Optimizer, schedule: Any, state: dict[str, Any]) -> None:
    """Take over what ``optimizer_state`` returned; every tensor keeps the layout in memory that it has here.

    Args:
        optimizer: new, with the same parameters and settings.
        schedule: new, likewise.
        state: what was returned.

    """
    for group, saved in zip(_groups(optimizer), state["groups"], strict=True):
        group.update(saved | ({"betas": tuple(saved["betas"])} if "betas" in saved else {}))
    for parameter, saved in zip(_parameters(optimizer), state["states"], strict=True):
        for name, value in saved.items():
            optimizer.state[parameter][name] = _laid_out(value, parameter) if isinstance(value, Tensor) else value
    schedule.last_epoch, schedule._step_count = state["epoch"], state["count"]
    schedule._last_lr = [group["lr"] for group in _groups(optimizer)]


def _groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return optimizer.param_groups


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in _groups(optimizer) for parameter in group["params"]]


def _laid_out(value: Tensor, parameter: nn.Parameter) -> Tensor:
    if value.shape != parameter.shape:  # a count of steps, which stays on the CPU
        return value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def generators(device: torch.device) -> list[Tensor]:
    """Return the states of torch's global generators, of the CPU and of a GPU that is used.

    Args:
        device: where a network is.

    """
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def restore_generators(device: torch.device, states: list[Tensor]) -> None:
    """Take over what ``generators`` returned.

    Args:
        device: where a network is.
        states: of the generators.

    """
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


class Checkpoint:
    """A file that holds how far a training is, until what the training made is kept elsewhere.

    Args:
        path: of the file, in a folder that is there.
        every: seconds between two of them; ``EVERY`` where it is None.

    """

    def __init__(self, path: Path, every: float | None = None) -> None:
        self.path, self.every = path, EVERY if every is None else every
        self.went_on_from = 0  # step of the attempt; 0 where the training began anew
        self.passed_over = ""  # why what was there is not gone on from
        self._kept = time.monotonic()

    def read(self, digest: str) -> dict[str, Any] | None:
        """Return how far a training is; None where nothing of it is there, or damaged. What was begun beside it goes.

        Args:
            digest: of all that it is made from.

        """
        remove_unfinished(self.path)
        try:
            found = unpack(read_weights(self.path)) if self.path.exists() else None
            if found is None:
                return None
            if found["digest"] != digest:
                self.passed_over = f"{self.path} is of another training: this one begins anew"
                return None
            state: dict[str, Any] = found["state"]
        except (CheckpointError, KeyError, TypeError, ValueError):
            self.passed_over = f"{self.path} is damaged: the training begins anew"
            return None
        return state

    @property
    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - self._kept >= self.every

    def write(self, digest: str, state: dict[str, Any]) -> None:
        """Replace the file, whole or not at all.

        Args:
            digest: of all that the training is made from.
            state: how far it is.

        Raises:
            OSError: the disk is full, for one; the file before is still there.

        """
        threads = torch.get_num_threads()
        write_bytes(self.path, state_bytes(pack({"digest": digest, "threads": threads, "state": state})))
        self._kept = time.monotonic()

    def threads(self) -> int | None:
        """Return what the training that was killed computed with; None where there is none."""
        try:
            return int(unpack(read_weights(self.path))["threads"]) if self.path.exists() else None
        except (CheckpointError, KeyError, TypeError, ValueError):
            return None

    def remove(self) -> None:
        """Remove the file: what the training made is kept."""
        self.path.unlink(missing_ok=True)


def digest_of(*parts: Any) -> str:
    """Return the SHA-256 of arrays, tensors by name, and whatever else has a ``repr``.

    Args:
        *parts: they.

    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, Mapping):
            for name, tensor in part.items():
                digest.update(f"{name}{tensor.dtype}".encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()
