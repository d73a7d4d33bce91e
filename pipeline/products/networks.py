"""The network of a model folder or of a run as a function of arrays: JAX runs its port; torch, where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.products.model_folder import PORT, WEIGHTS, About, ported_outputs
from pipeline.products.predictions import Outputs

if TYPE_CHECKING:
    from torch import nn

    from trainer.models import ModelSpec

Say = Callable[[str], None]


def network_of(spec: "ModelSpec", weights: Path) -> "nn.Module":
    """Build a network and fill it with its weights.

    Args:
        spec: which.
        weights: its file.

    Raises:
        TrainerError: it cannot be built, or the weights are of another one.

    """
    from trainer.checkpoint import load_weights
    from trainer.models import build

    model = build(spec, 0)
    load_weights(model, weights)
    return model


def torch_outputs(model: "nn.Module") -> Outputs:
    """Return a torch network as a function of arrays."""
    from trainer.predict import predict

    return lambda x: predict(model, x)


def outputs_of(folder: Path, about: About, trust_code: bool, say: Say) -> Outputs:
    """Return the network of a model folder: its port, which no code of anybody's is needed for, else through torch.

    Args:
        folder: of the model.
        about: what it says.
        trust_code: whether a network that is not built in may be imported, where there is no port.
        say: told what code runs.

    Raises:
        PipelineError: it is damaged, or its code is not trusted.

    """
    if about.ported:
        return ported_outputs(about, folder / PORT)
    from pipeline.run.recorded import Code, confirm_code
    from trainer.errors import TrainerError
    from trainer.models import ModelSpec, own_factory

    name = about.network["name"]
    if (factory := own_factory(name)) is not None:
        confirm_code(folder, [Code("model", name, factory, dict(about.network["options"]))], trust_code, say)
    try:
        return torch_outputs(network_of(ModelSpec(**about.network), folder / WEIGHTS))
    except (TrainerError, TypeError) as error:
        raise PipelineError(f"{folder}: {error}") from error
