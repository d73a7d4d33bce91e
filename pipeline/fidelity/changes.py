"""What labelling one candidate does to the pool's outputs: as look-ahead predicts it, as proxies do."""

from typing import NamedTuple

import numpy as np

from common.losses import Loss
from linearize import Posterior
from pipeline.fidelity.setting import Setting
from pipeline.retraining import NAIVE_EPOCHS, Retrainer, output_change
from pipeline.run.stages.train import WEIGHTS, options_of, read_beside, unlabelled_of, was_limited
from trainer.checkpoint import load_weights

PROXIES = {
    "linearized": "block update, measured from the linearised network; really: from retraining without the candidate",
    "network": "block update, measured from the trained network as eq. 13 prints it; really: likewise",
    "one-step": "one SGD step on the candidate alone; really: from retraining without the candidate",
    "naive": f"{NAIVE_EPOCHS} epochs of SGD with the candidate, measured from the trained network; really: likewise",
}
INFINITE_PROXIES = {
    "infinite": "block update with the kernel of an infinitely wide twin, from the trained network; really: likewise",
    "gp": "a Gaussian process with that kernel, from its own mean; really: from retraining without the candidate",
}
FROM_NETWORK = ("network", "naive", "infinite")
"""Proxies of the change from the trained network on; the others are of the change that a candidate makes."""
SAME = "ntk-no-block solves afresh what the block update gives: its figures are those of 'network'"


class Change(NamedTuple):
    """Outputs on the pool before and after, both ``[U, C]``."""

    before: np.ndarray
    after: np.ndarray

    @property
    def vector(self) -> np.ndarray:
        """The change as one vector, ``[U C]``."""
        return np.asarray(self.after - self.before, np.float64).ravel()

    @property
    def size(self) -> float:
        """Σ_x ‖after(x) - before(x)‖₂, what ``mlmoc`` ranks by."""
        return output_change(self.before, self.after)

    @property
    def flips(self) -> int:
        """#{x : argmax after(x) ≠ argmax before(x)}, what ``mlmoc-flips`` ranks by."""
        return int((self.after.argmax(1) != self.before.argmax(1)).sum())


def predicted_changes(setting: Setting, position: int, label: int) -> dict[str, Change]:
    """Return what block updates predict for one candidate with one label, by proxy; see ``PROXIES``.

    The block update is f_lin⁺(x) - f_lin(x) = S(x,x')/u(x') (y' - f_lin(x'))ᵀ; from the network, a(x) is added.

    Args:
        setting: the cycle and its linearisation.
        position: of the candidate.
        label: its class.

    """
    posterior, after = setting.posterior, with_label(setting, position, label)
    others = {
        name: Change(fitted.posterior.f, _with_label(fitted.posterior, fitted.loss, position, label))
        for name, fitted in setting.infinite.items()
    }
    return {"linearized": Change(posterior.mean, after), "network": Change(posterior.f, after), **others}


def with_label(setting: Setting, position: int, label: int) -> np.ndarray:
    """Return f_lin⁺ on the pool ``[U, C]`` after a candidate got a label.

    Args:
        setting: the cycle and its linearisation.
        position: of the candidate.
        label: its class.

    """
    return _with_label(setting.posterior, setting.loss, position, label)


def _with_label(posterior: Posterior, loss: Loss, position: int, label: int) -> np.ndarray:
    f_lin = posterior.mean[[position]]
    return posterior.look_ahead(position, loss.target(f_lin, np.eye(f_lin.shape[1])[[label]])[0])


def trained_changes(setting: Setting, trained: Retrainer, position: int, label: int, seed: int) -> dict[str, Change]:
    """Return what the proxies that train predict for one candidate with one label; see ``PROXIES``.

    Args:
        setting: the cycle.
        trained: starts from the cycle's weights.
        position: of the candidate.
        label: its class.
        seed: of the naive proxy's SGD.

    Raises:
        TrainerError: it diverged.

    """
    f = setting.posterior.f
    x = setting.context.images(setting.candidates[position : position + 1])
    after = trained(seed, x, label, epochs=NAIVE_EPOCHS).outputs
    return {"one-step": Change(f, trained.step(x, label)), "naive": Change(f, after)}


def retrainer(setting: Setting, start: str) -> Retrainer:
    """Return what trains the next network: ``warm`` from the cycle's weights, ``cold`` from the initial ones.

    Args:
        setting: the cycle and its linearisation.
        start: ``warm`` or ``cold``.

    """
    context = setting.context
    model = context.network()
    if start == "warm":
        load_weights(model, setting.trained / WEIGHTS)
    return Retrainer(
        model,
        context.images(setting.labelled.ids),
        setting.labelled.labels,
        context.images(setting.candidates),
        context.data.num_classes,
        options_of(context, setting.trained),
        context.device,
        limited=was_limited(setting.trained),
        beside=read_beside(setting.trained) if start == "warm" else None,
        unlabelled=unlabelled_of(context, setting.labelled),
    )
