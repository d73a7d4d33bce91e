"""The folder of a training without labels: how it was begun, how far it is, and what it ends in."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.files import unwritable, write_bytes
from common.reading import read_json, why
from trainer.checkpoint import WEIGHTS, read_weights, state_bytes
from trainer.errors import CheckpointError, TrainerError

BEGUN, CHECKPOINT, BACKBONE, LOCK = "pretrain.json", "checkpoint.safetensors", "backbone.json", ".lock"
AGAIN = "give the options that it was begun with, or another --out"


class Folder:
    """Where a training keeps what it needs to go on, each file replaced as a whole.

    ``pretrain.json`` says how it was begun and never changes; ``checkpoint.safetensors`` how far it is, and goes when
    ``backbone.json``, which is written last, says that it is finished.

    Args:
        path: the folder: new, empty, or of an earlier call.

    Raises:
        TrainerError: it is something else, or nothing may be written there.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise TrainerError(f"--out: expected a folder, but {path} is a file; choose another name")
        if path.is_dir() and not self.begun and any(item.name != LOCK for item in path.iterdir()):
            raise TrainerError(
                f"--out: expected a new or empty folder, or one that 'trainer pretrain' began, but {path} holds "
                "something else; choose another name"
            )
        if folder := unwritable(path):
            raise TrainerError(f"--out: cannot write to {path}: no permission to write in {folder}")

    @property
    def begun(self) -> bool:
        """Whether a training was begun here."""
        return (self.path / BEGUN).is_file()

    @property
    def finished(self) -> bool:
        """Whether it is finished."""
        return self.begun and (self.path / BACKBONE).is_file() and (self.path / WEIGHTS).is_file()

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return how the training was begun: its ``options``, its ``facts`` and its ``plan``.

        Raises:
            TrainerError: the file is damaged.

        """
        path = self.path / BEGUN
        try:
            settings = read_json(path)
        except (OSError, ValueError) as error:
            raise TrainerError(f"{path} cannot be read ({why(error)}); choose another --out") from error
        parts = ("options", "facts", "plan")
        if not isinstance(settings, dict) or not all(isinstance(settings.get(part), dict) for part in parts):
            raise TrainerError(f"{path} does not say how the training was begun; choose another --out")
        return settings

    def begin(self, settings: dict[str, dict[str, Any]]) -> None:
        """Write down how the training is begun.

        Args:
            settings: as ``settings`` returns them.

        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_json(BEGUN, settings)

    def require_options(self, options: dict[str, Any]) -> None:
        """Refuse to go on with other options than the training was begun with.

        Args:
            options: of this call, by name.

        Raises:
            TrainerError: one differs; the first is named.

        """
        before = self.settings()["options"]
        for name in (*options, *before):
            if before.get(name) != options.get(name):
                was, now = (_shown(name, values.get(name)) for values in (before, options))
                raise TrainerError(f"--out: {self.path} was begun {was}, and this call is {now}; {AGAIN}")

    def require_facts(self, facts: dict[str, Any]) -> None:
        """Refuse to go on with other images, network or first weights than the training was begun with.

        Args:
            facts: as far as this call sees them: a name for each, and a hash or number.

        Raises:
            TrainerError: one differs; the first is named.

        """
        before = self.settings()["facts"]
        for name, now in facts.items():
            if before.get(name) != now:
                raise TrainerError(
                    f"--out: {self.path} was begun with {name} that since changed; put back what was there, or choose "
                    "another --out"
                )

    def keep(self, state: dict[str, Tensor]) -> None:
        """Replace the checkpoint.

        Args:
            state: tensors by name.

        Raises:
            OSError: the disk is full, for one; the checkpoint before is still there.

        """
        self._write(CHECKPOINT, state_bytes(state | {"begun": self._digest()}))

    def kept(self) -> dict[str, Tensor] | None:
        """Return the checkpoint; None where there is none yet.

        Raises:
            CheckpointError: it is damaged, or of another training.

        """
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            state = read_weights(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}, or remove it: the training then begins anew") from error
        if not torch.equal(state.pop("begun", torch.empty(0)), self._digest()):
            raise CheckpointError(f"{path} is of another training; remove it, and this one begins anew")
        return state

    def finish(self, weights: bytes, record: dict[str, Any]) -> None:
        """Write what was learned, then what it is, then let the checkpoint go.

        Args:
            weights: the safetensors file of the network.
            record: what ``backbone.json`` says.

        """
        self._write(WEIGHTS, weights)
        self._write_json(BACKBONE, record)
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def record(self) -> dict[str, Any]:
        """Return what ``backbone.json`` says of a finished training."""
        return read_backbone(self.path)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        self._write(name, (json.dumps(content, indent=2) + "\n").encode())

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole; where that fails, say which and what to do."""
        try:
            write_bytes(self.path / name, content)
        except OSError as error:
            reason = f"{error.strerror or error}; make room, and the same command goes on"
            raise OSError(error.errno, reason, str(self.path / name)) from error

    def _digest(self) -> Tensor:
        """The hash of the settings, by which a checkpoint says what it is of."""
        digest = hashlib.sha256((self.path / BEGUN).read_bytes()).digest()
        return torch.tensor(list(digest), dtype=torch.uint8)


def read_backbone(folder: Path) -> dict[str, Any]:
    """Return what ``backbone.json`` in a folder says.

    Args:
        folder: that ``trainer pretrain`` wrote.

    Raises:
        TrainerError: there is no such file, or it says something else.

    """
    path = folder / BACKBONE
    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        unfinished = "; its training is not finished" if (folder / BEGUN).is_file() else ""
        raise TrainerError(f"{path} cannot be read ({why(error)}){unfinished}") from error
    if not isinstance(record, dict) or not all(
        isinstance(record.get(name), list) and all(type(value) in (int, float) for value in record[name])
        for name in ("mean", "std", "input_shape")
    ):
        raise TrainerError(f"{path}: expected input_shape, mean and std as lists of numbers; write the folder again")
    return record


def _shown(name: str, value: Any) -> str:
    """Return an option as it is written on the command line."""
    option = f"--{name.replace('_', '-')}"
    return f"without {option}" if value is None or value == [] else f"with {option} {json.dumps(value).strip(chr(34))}"
