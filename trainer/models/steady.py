"""Whether measuring a network means anything: what it says of an image may depend on no other, and on no chance."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.errors import TrainerError
from trainer.models.spec import Shape

IMAGES = 4
PASSES, MANY = 3, 30  # the latter where random numbers are drawn, which may matter in few of the passes
SAME, APART = 1e-5, 1e-3  # of the largest output: rounding of one pass and the next, and of batches of other sizes
NOISE = 0.1  # of a tensor's own spread; a branch that begins at zero would hide what is in it
CHANCE = (
    "something random stays on, or it remembers what it saw: write torch.nn.Dropout, or functional.dropout(x, p, "
    "self.training)"
)
STATISTICS = "batch norm needs its running statistics: leave track_running_stats on, or take another norm"
MIXED = "let nothing mix the images of a batch, such as a norm or a mean over the first axis"


def require_steady(model: nn.Module, shape: Shape) -> None:
    """Refuse a network whose outputs for an image, in eval mode, depend on the rest of its batch or on chance.

    An accuracy would be one of these images in these batches in this pass, and no other's. Images of noise go through
    the network together, turned round, in pairs, one by one, and again, first with the weights that it has, then with
    some noise on these. Torch's, NumPy's and Python's random generators are left as they were.

    Args:
        model: the network, to be given up afterwards: its weights are changed.
        shape: (C, H, W) of one image.

    Raises:
        TrainerError: it is one of these, or cannot process one image alone; the message names the layer, if it is one.

    """
    pixels = np.random.default_rng(0).standard_normal((IMAGES, *shape), np.float32)
    x = torch.from_numpy(pixels)
    with torch.no_grad(), _generators_kept():
        model.eval()
        for noise in (0.0, NOISE):
            for parameter in model.parameters() if noise else ():
                spread = parameter.std() if parameter.numel() > 1 and parameter.std() > 0 else 1.0
                parameter.add_(noise * spread * torch.randn_like(parameter))
            _require_no_chance(model, x)
            _require_no_mixing(model, x)
        _require_singles(model, x)


def _require_no_chance(model: nn.Module, x: Tensor) -> None:
    first, drew = _seeded_pass(model, x, 0)
    for seed in range(1, MANY if drew else PASSES):
        again, _ = _seeded_pass(model, x, seed)
        if (change := _change(first, again)) > SAME:
            looked = [_watched(model, partial(_seeded_pass, model, x, number)) for number in (0, seed)]
            _refuse(model, "change from pass to pass", change, _culprit(*looked), CHANCE)


def _require_no_mixing(model: nn.Module, x: Tensor) -> None:
    together, turned = _outputs(model, x), _outputs(model, x.flip(0)).flip(0)
    pairs = torch.cat([_outputs(model, part) for part in x.split(2)])
    _require_apart(model, x, max(_change(together, turned), _change(together, pairs)), 2)


def _require_singles(model: nn.Module, x: Tensor) -> None:
    """Refuse a network that a last batch of one image would end, or that says something else of it."""
    together, alone = _outputs(model, x), torch.cat([_outputs(model, image) for image in x.split(1)])
    if alone.shape != together.shape:
        raise TrainerError(
            f"expected a network that can process one image alone, but it returns {list(alone.shape)} for "
            f"{len(x)} of them one by one, {list(together.shape)} together: does it squeeze away the first axis?"
        )
    _require_apart(model, x, _change(together, alone), 1)


def _require_apart(model: nn.Module, x: Tensor, change: float, size: int) -> None:
    """Refuse a change that is more than rounding, and say where it begins, in batches of this size."""
    if change > APART:
        culprit = _culprit(*[_watched(model, partial(_outputs, model, part)) for part in (x, x[:size])])
        is_norm = culprit is not None and isinstance(culprit.layer, _BatchNorm)
        _refuse(model, "depend on the others in its batch", change, culprit, STATISTICS if is_norm else MIXED)


class _Seen(NamedTuple):
    """What a layer was given and returned, of the first image."""

    name: str
    layer: nn.Module
    given: Tensor
    returned: Tensor


class _Culprit(NamedTuple):
    """Where outputs first differ: in a layer, or before it."""

    name: str
    layer: nn.Module
    before: bool = False


def _refuse(model: nn.Module, how: str, change: float, culprit: _Culprit | None, advice: str) -> NoReturn:
    where = ""
    if culprit is not None:
        kind = f"{culprit.name!r} ({type(culprit.layer).__name__})"
        where = f", first in what its layer {kind} is given" if culprit.before else f", first in its layer {kind}"
    share = f"{change:.1%}" if change >= 5e-4 else f"{100 * change:.1g}%"
    by = f"by up to {share} of the largest" if np.isfinite(change) else "beyond all bounds"
    raise TrainerError(
        f"expected outputs for an image that are its own, but in eval mode those of {type(model).__name__} {how}, {by}"
        f"{where}, so that no accuracy of it means anything; {advice}"
    )


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    try:
        outputs: Tensor = model(x.clone())  # a layer may work in place
    except Exception as error:  # a user's own code may do anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise TrainerError(
            f"expected a network that can process any number of images, but it cannot process {len(x)} ({reason})"
        ) from error
    return outputs.float()


def _seeded_pass(model: nn.Module, x: Tensor, seed: int) -> tuple[Tensor, bool]:
    """Return outputs, and whether random numbers were drawn for them, of the generators that are global."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the one that the network may use)
    random.seed(seed)
    before = _states()
    outputs = _outputs(model, x)
    return outputs, _states() != before


def _states() -> tuple[Any, ...]:
    numpy = repr(np.random.get_state(legacy=False))  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy, random.getstate()


@contextmanager
def _generators_kept() -> Iterator[None]:
    ours, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        np.random.set_state(ours)  # noqa: NPY002
        random.setstate(python)


def _change(one: Tensor, other: Tensor) -> float:
    """Return the largest difference as a share of the largest finite value; infinite where one alone is not finite."""
    if one.shape != other.shape:
        return float("inf")
    alike = one.eq(other) | (one.isnan() & other.isnan())
    apart = torch.where(alike, 0.0, (one - other).abs()).nan_to_num(nan=float("inf")).max()
    largest = one.nan_to_num(posinf=0.0, neginf=0.0).abs().max()
    return float(apart / largest.clamp(min=torch.finfo(torch.float32).tiny))


def _watched(model: nn.Module, run: Callable[[], Any]) -> list[_Seen]:
    """Return what every innermost layer was given and returned, in the order in which they ran."""
    seen = list[_Seen]()

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(layer: nn.Module, given: tuple[Any, ...], returned: Any) -> None:
            if given and isinstance(given[0], Tensor) and isinstance(returned, Tensor):
                seen.append(_Seen(name, layer, given[0][:1].float().clone(), returned[:1].float().clone()))

        return hook

    leaves = [(name, layer) for name, layer in model.named_modules() if not any(layer.children())]
    handles = [layer.register_forward_hook(watch(name or type(model).__name__)) for name, layer in leaves]
    try:
        run()
    except TrainerError:
        pass  # that it cannot be said where is no error of its own
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _culprit(one: list[_Seen], other: list[_Seen]) -> _Culprit | None:
    """Return the first layer that was given the same and returned other values, or that was given other values."""
    for mine, theirs in zip(one, other, strict=False):
        if mine.name != theirs.name or mine.given.shape != theirs.given.shape:
            return None
        if _change(mine.given, theirs.given) > APART:
            return _Culprit(mine.name, mine.layer, before=True)
        if _change(mine.returned, theirs.returned) > APART:
            return _Culprit(mine.name, mine.layer)
    return None
