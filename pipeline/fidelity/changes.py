"""What labelling one candidate does to the pool's outputs: as look-ahead predicts it, as proxies do, as it is."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from linearize.lookahead import look_ahead
from pipeline.fidelity.setting import Setting
from pipeline.stages.train import WEIGHTS
from pipeline.workbench import Workbench
from trainer.checkpoint import load_weights
from trainer.errors import TrainerError
from trainer.loop import fit
from trainer.losses import LOSSES, one_hot
from trainer.predict import placed, predict

PROXIES = {
    "linearized": "block update, measured from the linearised network; really: from retraining without the candidate",
    "network": "block update, measured from the trained network as eq. 13 prints it; really: likewise",
    "one-step": "one SGD step on the candidate alone; really: from retraining without the candidate",
}


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
        return float(np.linalg.norm(np.asarray(self.after - self.before, np.float64), axis=1).sum())

    @property
    def flips(self) -> int:
        """#{x : argmax after(x) ≠ argmax before(x)}, what ``mlmoc-flips`` ranks by."""
        return int((self.after.argmax(1) != self.before.argmax(1)).sum())


def predicted_changes(setting: Setting, position: int, label: int) -> dict[str, Change]:
    """Return what each proxy predicts for one candidate with one label, by name; see ``PROXIES``.

    The block update is f_lin⁺(x) - f_lin(x) = S(x,x')/u(x') (y' - f_lin(x'))ᵀ; from the network, a(x) is added.
    """
    state = setting.look_ahead.state
    after = look_ahead(state, position, np.eye(state.f.shape[1])[label])
    return {
        "linearized": Change(state.f_lin, after),
        "network": Change(state.f, after),
        "one-step": _one_step(setting, position, label),
    }


def _one_step(setting: Setting, position: int, label: int) -> Change:
    """One plain SGD step at the run's peak learning rate on x' alone, batch-norm statistics frozen."""
    bench = setting.bench
    options = bench.config.train_options
    model = bench.network()
    load_weights(model, setting.trained / WEIGHTS)
    model.eval()
    pool = bench.images(setting.candidates)
    before = predict(model, pool, device=bench.device)
    stepped = copy.deepcopy(model)
    y = one_hot(np.array([label]), bench.data.num_classes)
    with placed(stepped, bench.device):
        outputs = stepped(torch.from_numpy(pool[position : position + 1]).to(bench.device))
        LOSSES[options.loss].value(outputs, torch.from_numpy(y).to(bench.device)).backward()
        with torch.no_grad():
            for parameter in stepped.parameters():
                if parameter.requires_grad and parameter.grad is not None:
                    parameter.sub_(options.max_lr * parameter.grad)
    return Change(before, predict(stepped, pool, device=bench.device))


class Retrained(NamedTuple):
    """One real retraining.

    Args:
        outputs: on the pool ``[U, C]``.
        converged: whether its residual came under the run's tolerance.
        seconds: that it took.

    """

    outputs: np.ndarray
    converged: bool
    seconds: float


class Retrainer:
    """Trains the next cycle's network as the run would: warm from the cycle's weights, or cold, as its ``start`` says.

    Args:
        setting: the cycle.
        check: called after every epoch; raises to stop.

    """

    def __init__(self, setting: Setting, check: Callable[[], None]) -> None:
        self.bench: Workbench = setting.bench
        self.trained = setting.trained
        self.check = check
        self.x = self.bench.images(setting.labelled.ids)
        self.labels = setting.labelled.labels
        self.pool = self.bench.images(setting.candidates)

    def __call__(self, seed: int, sample: int | None = None, label: int = 0) -> Retrained:
        """Train on the labelled set and, unless ``sample`` is None, on that sample with that label.

        Raises:
            TrainerError: it diverged.

        """
        x, labels = self.x, self.labels
        if sample is not None:
            x = np.concatenate([x, self.bench.images(np.array([sample]))])
            labels = np.append(labels, label)
        model = self.bench.network()
        if self.bench.config.start == "warm":
            load_weights(model, self.trained / WEIGHTS)
        result = fit(
            model,
            x,
            labels,
            self.bench.data.num_classes,
            self.bench.config.train_options,
            seed=seed,
            device=self.bench.device,
            on_epoch=lambda _: self.check(),
        )
        outputs = predict(model, self.pool, device=self.bench.device)
        if not np.isfinite(outputs).all():
            raise TrainerError("the retrained network's outputs on the candidates are not finite")
        return Retrained(outputs, result.converged, result.seconds)
