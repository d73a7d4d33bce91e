"""Independent, named random streams: no generator state crosses a cycle or a stage.

Every stream is ``SeedSequence([seed, cycle, stream])``, so redoing one stage of one cycle draws the same numbers
whatever ran before it, and two strategies at one seed draw the same initial set, weights and candidate subsets.
"""

from typing import Literal, get_args

import numpy as np

Stream = Literal[
    "initial", "subset", "init", "train", "query", "fidelity", "annotator", "analyse", "check", "references"
]
_POSITION = {name: position for position, name in enumerate(get_args(Stream), start=1)}


def sequence(seed: int, cycle: int, stream: Stream) -> np.random.SeedSequence:
    """Return the seed sequence of one stream of one cycle.

    Args:
        seed: the run's seed.
        cycle: number of the cycle.
        stream: what the numbers are for.

    """
    return np.random.SeedSequence([seed, cycle, _POSITION[stream]])


def generator(seed: int, cycle: int, stream: Stream) -> np.random.Generator:
    """Return a NumPy generator for one stream of one cycle.

    Args:
        seed: the run's seed.
        cycle: number of the cycle; of the stream ``annotator`` the id of the sample.
        stream: what the numbers are for.

    """
    return np.random.default_rng(sequence(seed, cycle, stream))


def integer(seed: int, cycle: int, stream: Stream) -> int:
    """Return a 63-bit seed for a library that takes an integer, such as torch.

    Args:
        seed: the run's seed.
        cycle: number of the cycle.
        stream: what the numbers are for.

    """
    return int(sequence(seed, cycle, stream).generate_state(1, np.uint64)[0] >> 1)
