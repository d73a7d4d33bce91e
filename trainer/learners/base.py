"""The contract of a learner: what it is given, what it leaves, and the loss by which one differs from another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.regimes import Ended
from trainer.restarts import Restart

if TYPE_CHECKING:
    from trainer.options import TrainOptions

EpochRecord = dict[str, Any]
Weights = dict[str, Tensor]
OnEpoch = Callable[[EpochRecord], None]


class Examples(NamedTuple):
    """A labelled set.

    Args:
        x: normalised inputs, float32 ``[L, C, H, W]``.
        labels: class numbers ``[L]``, in the order in which they were labelled: what is held out stays held out as
            more labels come.
        num_classes: number of classes.

    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    num_classes: int


class Inputs(Protocol):
    """Images without labels, fetched by their positions; an array ``[U, C, H, W]`` is one."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, rows: Any) -> Any:
        """Return normalised inputs of rows, float32 ``[B, C, H, W]``."""
        ...


@dataclass(frozen=True)
class Trained:
    """What training left behind; the weights are in the model that was passed.

    Args:
        epochs: epochs run.
        converged: whether the residual came under the tolerance.
        ended: what did, see ``trainer.regimes.Ended``.
        residual_norm: ``||R||_F``, ``R = Y - f(X)`` in eval mode (for cross-entropy, ``Y - softmax(f(X))``), of the
            images that were trained on.
        residual_rms: ``||R||_F / sqrt(L)``, what the tolerance is compared with.
        train_accuracy: fraction of these images classified right.
        history: one record an epoch: epoch, loss, lr, own_loss where only a part of the loss is the network's own, and
            residual_rms where it was measured (else None); those of the attempt that was kept.
        seconds: wall-clock time of training, restarts included.
        max_lr: the rate at the top of the schedule that was kept, lower than that of the options after restarts.
        restarts: the rates that training went on from, mostly because it failed, in the order in which they were tried.
        at_chance: whether the attempt that was kept failed, and knows no more of the labelled images than a constant.
        limited: whether in that attempt no gradient was longer than those of its first epoch.
        held_out: how many labelled images were not trained on.
        held_out_accuracy: fraction of these classified right; None where there are none.
        snapshots: the weights after each of the regime's ``keep_epochs`` that were run, by epoch.
        beside: the weights of what was trained beside the network, such as a module that predicts its loss.
        student: the weights that steps led to, where the network's own are averages over them (``Objective.averaged``).

    """

    epochs: int
    converged: bool
    ended: Ended
    residual_norm: float
    residual_rms: float
    train_accuracy: float
    history: list[EpochRecord]
    seconds: float
    max_lr: float
    restarts: tuple[Restart, ...]
    at_chance: bool
    limited: bool
    held_out: int = 0
    held_out_accuracy: float | None = None
    snapshots: Mapping[int, Weights] = field(default_factory=dict)
    beside: Weights = field(default_factory=dict)
    student: Weights = field(default_factory=dict)

    @property
    def averaged(self) -> bool:
        """Whether the network's weights are averages over steps; residual and accuracies are then those of these."""
        return bool(self.student)

    def attempts(self) -> dict[str, Any]:
        """Return max_lr, limited, restarts and at_chance as they are written to files."""
        restarts = [asdict(restart) for restart in self.restarts]
        return {"max_lr": self.max_lr, "limited": self.limited, "restarts": restarts, "at_chance": self.at_chance}

    def figures(self) -> dict[str, Any]:
        """Return how it ended and what it left, as they are written to files."""
        held_out = {"held_out": self.held_out, "held_out_accuracy": self.held_out_accuracy} if self.held_out else {}
        return {
            "epochs": self.epochs,
            "converged": self.converged,
            "ended": self.ended,
            "residual_norm": self.residual_norm,
            "residual_rms": self.residual_rms,
            "train_accuracy": self.train_accuracy,
            **held_out,
            **({"weights": "averaged"} if self.averaged else {}),
        }


@dataclass(frozen=True)
class Setting:
    """What one attempt of a training works with; everything is resident on its device.

    Args:
        model: the network, in training mode while its loss is asked for.
        x: the inputs that are trained on ``[L, C, H, W]``.
        y: their one-hot targets ``[L, C]``.
        unlabelled: inputs without labels; None where the learner gets none.
        options: the regime.
        generator: of every random choice but dropout, which uses torch's own.
        beside: the weights that the module beside the network starts from; None for new ones.
        steps: K, of the whole training.

    """

    model: nn.Module
    x: Tensor
    y: Tensor
    unlabelled: Inputs | None
    options: "TrainOptions"
    generator: torch.Generator
    beside: Mapping[str, Tensor] | None = None
    steps: int = 1


class Objective(Protocol):
    """What one attempt minimises.

    Args:
        module: what is trained beside the network, with its own parameters; None where nothing is.
        own: the loss of the network's own outputs in the last batch, a part of what is minimised, without a gradient;
            a failure is told by it. None where it is all that is minimised.
        averaged: the network at weights averaged over the steps, where it is this that the training is to leave; it is
            then measured, kept and looked at in the place of the network that steps are taken with. None where there
            is none.

    """

    module: nn.Module | None = None
    own: Tensor | None = None
    averaged: nn.Module | None = None

    def loss(self, rows: Tensor, epoch: int) -> Tensor:
        """Return the scalar to be minimised on a batch.

        Args:
            rows: positions of labelled inputs ``[B]``.
            epoch: the first is 1.

        """
        ...

    def stepped(self) -> None:
        """Take note that the step on the last loss was taken."""
        return

    def state(self) -> dict[str, Any]:
        """Return what the next losses depend on beside the network, ``module`` and the setting's generator.

        Returns:
            Tensors, numbers and texts, in dictionaries and lists.

        """
        return {}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned.

        Args:
            state: of an objective of the same setting.

        """
        return


class Learner(Protocol):
    """A way to train a network on few labels.

    Args:
        name: what users call it.
        description: one line.
        source: whom to cite.
        needs_unlabelled: whether it learns from images without labels too.
        regime: fields of ``trainer.options.TrainOptions`` whose default differs for it, whatever the network; it names
            all fields of ``LEARNERS_OWN`` that it has a use for.

    """

    name: str
    description: str
    source: str
    needs_unlabelled: bool
    regime: ClassVar[Mapping[str, Any]] = {}

    def images_per_step(self, options: "TrainOptions") -> int:
        """Return how many images pass through the network, and back, in one step; no more than these.

        Args:
            options: the regime.

        """
        return options.batch_size

    def require_fits(self, options: "TrainOptions", input_shape: Sequence[int], unlabelled: int) -> None:
        """Refuse what it cannot learn from, before anything is trained.

        Args:
            options: the regime.
            input_shape: (C, H, W) of one input.
            unlabelled: how many inputs without labels there are.

        Raises:
            TrainerError: it cannot.

        """
        return

    def objective(self, setting: Setting) -> Objective:
        """Return what an attempt minimises; torch is seeded.

        Args:
            setting: what it works with.

        """
        ...
