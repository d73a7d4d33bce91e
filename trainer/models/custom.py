"""A user's own network: ``PKG.MOD:FACTORY``, imported only when it is built, and checked every time it is."""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.files import sha256_of
from common.naming import did_you_mean
from common.settings import kept, shown_error
from trainer.errors import TrainerError
from trainer.models.spec import Family, Shape

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
MAX_LR = 0.05
"""Peak of the learning rate of a network that nothing is known of: torchvision's resnet18 diverges at 0.1, trained
with l2 on 20 images of 32 pixels; plain networks would converge sooner at 0.2 to 1."""
LONGEST = 250
"""Characters of an error that a message quotes."""
BATCH = 2  # images of the forward pass that checks a network


class CustomFamily(Family):
    """A family that takes whatever options its factory takes."""

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options as they are, refused when a file could not hold them.

        Args:
            options: name -> value.

        Raises:
            TrainerError: a name or value that JSON does not have.

        """
        try:
            kept = json.loads(json.dumps(dict(options), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise TrainerError(
                f"{self.name} options: expected numbers, text, lists, true or false ({error})"
            ) from error
        if kept != options:
            raise TrainerError(f"{self.name} options: expected names of text, got {sorted(map(str, options))}")
        return dict(kept)


def custom_family(name: str) -> Family | None:
    """Return the family of a factory, or None where the name is not like ``PKG.MOD:FACTORY``; import nothing.

    Args:
        name: what the user gave.

    """
    if not NAME.fullmatch(name):
        return None
    return CustomFamily(name, "your own network", name, partial(build_custom, name), {}, {"max_lr": MAX_LR})


def source_sha256(name: str) -> str | None:
    """Return the hash of the file that defines a factory, or None where it has none.

    Args:
        name: ``PKG.MOD:FACTORY``.

    Raises:
        TrainerError: it cannot be imported.

    """
    try:
        file = inspect.getsourcefile(inspect.unwrap(import_factory(name)))
        return sha256_of(Path(file)) if file else None
    except (TypeError, OSError):  # built in, or an instance of a class
        return None


def import_factory(name: str, option: str = "--model") -> Callable[..., Any]:
    """Return a factory, looked for in the current directory first, then among installed packages.

    Args:
        name: ``PKG.MOD:FACTORY``.
        option: that names it, for messages.

    Raises:
        TrainerError: it cannot be imported, or is none; one line.

    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with torch.random.fork_rng(devices=[]), kept():  # a first import must not change what the seed decides
            factory = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a user's own code may do anything
        raise TrainerError(
            f"{option} {name} cannot be imported ({reason(error)}); it is looked for in {here} and among installed "
            "packages"
        ) from error
    if not callable(factory) or isinstance(factory, nn.Module):
        raise TrainerError(
            f"{option} {name} is a {type(factory).__name__}; expected a function or class that makes a torch.nn.Module"
        )
    return factory


def build_custom(name: str, input_shape: Shape, num_classes: int, **options: Any) -> nn.Module:
    """Call a factory with what it accepts by name, and check what it made.

    Args:
        name: ``PKG.MOD:FACTORY``.
        input_shape: (C, H, W) of one image, passed where the factory names it.
        num_classes: number of outputs, likewise, or through ``**``.
        **options: passed as they are.

    Returns:
        A module from float32 ``[N, C, H, W]`` to ``[N, num_classes]``.

    Raises:
        TrainerError: it cannot be imported or called, or made something else; one line.

    """
    factory = import_factory(name)
    given = _arguments(name, factory, {"input_shape": input_shape, "num_classes": num_classes}, options)
    try:
        with kept(generators=False):  # of torch's it draws its weights
            model = factory(**given)
    except (Exception, SystemExit) as error:
        raise TrainerError(f"--model {name} cannot be built with {_shown(given)} ({reason(error)})") from error
    if not isinstance(model, nn.Module):
        raise TrainerError(f"--model {name} made a {type(model).__name__}; expected a torch.nn.Module")
    _check(name, model, input_shape, num_classes)
    return model


def _arguments(
    name: str, factory: Callable[..., Any], facts: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Return options, and those facts that the factory names; through ``**`` it also gets the number of classes."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of an extension
        return {**facts, **options}
    named = {p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {key: value for key, value in facts.items() if key in named or (rest and key == "num_classes")} | options
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.name not in given and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    unknown = [] if rest else sorted(set(options) - named)
    if missing or unknown:
        problem = (
            f"needs {', '.join(missing)}"
            if missing
            else f"takes no {', '.join(unknown)}{did_you_mean(unknown[0], named)}"
        )
        raise TrainerError(
            f"--model {name} {problem}; it is called with those of input_shape and num_classes that it names, and with "
            "model.options: write it as def build(input_shape, num_classes)"
        )
    return given


def _check(name: str, model: nn.Module, input_shape: Shape, num_classes: int) -> None:
    """Run one forward pass in eval mode, which also gives lazy layers their sizes."""
    shape = [BATCH, *input_shape]
    try:
        with torch.no_grad(), kept(generators=False):
            outputs = model.eval()(torch.zeros(shape))
    except (Exception, SystemExit) as error:
        advice = ""
        if "dtype" in str(error):
            advice = "; leave its parameters in float32: make it without .double(), .half() and the like"
        elif input_shape[0] == 1 and "channel" in str(error):
            advice = "; is it for colours? folder:PATH has three channels with --set data.mode=rgb"
        raise TrainerError(
            f"--model {name} cannot process a float32 batch {shape} ({reason(error)}){advice}"
        ) from error
    expected = [BATCH, num_classes]
    if not isinstance(outputs, Tensor) or list(outputs.shape) != expected:
        got = list(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise TrainerError(
            f"--model {name}: for a batch {shape} expected one output a class, {expected}, got {got}; "
            "end it in a layer of num_classes outputs and return that tensor alone"
        )
    if outputs.dtype not in (torch.float32, torch.float64):  # halves are too coarse to be ported or ranked
        raise TrainerError(f"--model {name}: expected float32 outputs, got {outputs.dtype}; return outputs.float()")
    strange = {str(p.dtype) for p in model.parameters() if p.dtype != torch.float32}
    if strange or not any(p.requires_grad for p in model.parameters()):
        found = f"parameters of {', '.join(sorted(strange))}" if strange else "none that is trained"
        raise TrainerError(f"--model {name}: expected float32 parameters that require gradients, got {found}")
    for key, parameter in model.named_parameters():  # a buffer may hold infinities, such as a mask
        if not torch.isfinite(parameter).all():
            raise TrainerError(f"--model {name}: expected finite weights, but {key} has some that are NaN or infinite")


def _shown(given: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in given.items()) or "no arguments"


def reason(error: BaseException) -> str:
    """Return an error as one line, its kind first.

    Args:
        error: of somebody's code.

    """
    return shown_error(error, first_line=True)[:LONGEST]
