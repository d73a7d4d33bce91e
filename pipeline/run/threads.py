"""With how many of torch's threads a run computes: chosen once, recorded, and kept whenever it goes on."""

import torch

from pipeline.config import RunConfig
from pipeline.run.context import RunContext
from pipeline.run.events import Event
from trainer.threads import choose_threads


def new_threads(context: RunContext) -> int:
    """Return the threads of a run that begins: what its configuration says, else what suits network and machine.

    Args:
        context: the run's constants.

    """
    asked = context.config.threads
    if asked or torch.device(context.device).type != "cpu":
        return asked or torch.get_num_threads()
    x = torch.zeros(1, *context.data.input_shape)
    with torch.random.fork_rng(devices=[]):
        return choose_threads(context.trial.network(), x, context.config.train_options.images_per_step)


def recorded_threads(config: RunConfig, events: list[Event]) -> int:
    """Return the threads of a run that has begun: its results are the same bit for bit with that many alone.

    Args:
        config: of the run, which may ask for another number now.
        events: of the run; versions that recorded no number took torch's own.

    """
    return config.threads or int(events[0].get("threads", torch.get_num_threads()))
