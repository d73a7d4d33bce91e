"""What dynamicAL's paper measures, on a run: approximation ratio, alignment, bound, MMD and the two theorems.

Source: Wang et al. 2022, figs. 1, 2, 4, 6, 7 and 9, table 10, theorems 1 and 2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from linearize import LinearizeError, empirical_ntk, network_outputs
from linearize.types import Float64
from pipeline import seeds
from pipeline.analyse.opening import OpenedRun
from pipeline.analyse.ratios import ratio_rows
from pipeline.analyse.rows import Row
from pipeline.analyse.theory import draw_rows, labelled_rows
from pipeline.errors import PipelineError, RunFailedError
from trainer.errors import TrainerError
from trainer.targets import one_hot

Progress = Callable[[str, int, int], None]
"""Called with what goes on, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        cycle: whose kept epochs, and whose labelled set with random queries, are looked at.
        sample: images of the pool.
        draws: random queries of each size.
        batches: sizes b of queries for the approximation ratio.
        query: size of the queries over which dynamics and alignment are compared; by default half the labelled set, as
            in the paper, or the sample.
        head: of the kernel of the theory, one with one row for an example.

    """

    cycle: int = 0
    sample: int = 400
    draws: int = 150
    batches: tuple[int, ...] = (10, 25, 100)
    query: int | None = None
    head: str = "trace"


def measure(run: OpenedRun, sizes: Sizes, progress: Progress) -> list[Row]:
    """Measure all of it.

    Args:
        run: what is looked at.
        sizes: how much is measured.
        progress: told how far it is.

    Raises:
        PipelineError: the run has no such cycle, or its pool is too small for the queries.
        RunFailedError: a network cannot be ported, or a kernel not be computed or factored.

    """
    if sizes.cycle not in run.trained:
        trained = ", ".join(map(str, run.cycles))
        raise PipelineError(f"--cycle: expected one that was trained ({trained}), got {sizes.cycle}")
    ids = run.draw_pool(sizes.sample)
    query = min(len(run.labelled(sizes.cycle)) // 2, len(ids)) if sizes.query is None else sizes.query
    for flag, size in (("--batches", max(sizes.batches)), ("--query", query)):
        if not 1 <= size <= len(ids):
            images = f"1 to {len(ids)}, the images of the pool that are looked at"
            raise PipelineError(f"{flag}: expected queries of {images}, got {size}: ask for less or raise --sample")
    rng = seeds.generator(run.context.config.seed, 1, "analyse")
    try:
        return [
            *_ratios(run, sizes, ids, rng, progress),
            *_theory(run, replace(sizes, query=query), ids, rng, progress),
        ]
    except LinearizeError as error:
        raise RunFailedError(f"{run.path}: {error}") from error


def _ratios(run: OpenedRun, sizes: Sizes, ids: np.ndarray, rng: np.random.Generator, progress: Progress) -> list[Row]:
    """Measure the kept epochs of one cycle, and the end of every cycle."""
    states = [state for cycle in run.cycles for state in run.kept(cycle) if state.last or cycle == sizes.cycle]
    queries = {b: _draw(rng, len(ids), b, sizes.draws) for b in sizes.batches}
    rows = []
    for done, state in enumerate(states):
        progress("gradients", done, len(states))
        rows += ratio_rows(run, state, ids, queries)
    progress("gradients", len(states), len(states))
    return rows


def _theory(run: OpenedRun, sizes: Sizes, ids: np.ndarray, rng: np.random.Generator, progress: Progress) -> list[Row]:
    """Measure every cycle's labelled set, and random queries beside one, by the kernel of the untrained network."""
    known = np.unique(np.concatenate([run.labelled(cycle).ids for cycle in run.cycles]))
    everything = np.concatenate([known, np.setdiff1d(ids, known)])
    theta, f = _kernel(run, sizes.head, everything, progress)
    place = {int(sample): at for at, sample in enumerate(everything)}
    rows = []
    for cycle in run.cycles:
        labelled = run.labelled(cycle)
        at = [place[int(sample)] for sample in labelled.ids]
        rows += labelled_rows(theta[np.ix_(at, at)], _targets(run, labelled.labels), run.initial_size(cycle), cycle)
    labelled = run.labelled(sizes.cycle)
    at = [place[int(sample)] for sample in (*labelled.ids, *ids)]
    queries = _draw(rng, len(ids), sizes.query or 1, sizes.draws)
    draws = draw_rows(
        theta[np.ix_(at, at)],
        f[at],
        _targets(run, labelled.labels),
        _true(run, ids),
        queries,
        lambda done, total: progress("random queries", done, total),
    )
    return [*rows, *(row._replace(cycle=sizes.cycle) for row in draws)]


def _kernel(run: OpenedRun, head: str, ids: np.ndarray, progress: Progress) -> tuple[Float64, Float64]:
    """Return Θ ``[N, N]`` and the outputs ``[N, C]`` of the network before any training."""
    port, x = run.initial_network(), run.context.images(ids)
    options = replace(run.context.config.kernel_options, head=head)
    theta = empirical_ntk(
        port.apply_fn, port.variables, x, options=options, progress=lambda *far: progress("kernel", *far)
    )
    return theta, np.asarray(network_outputs(port.apply_fn, port.variables, x, precision=options.precision), np.float64)


def _draw(rng: np.random.Generator, M: int, b: int, draws: int) -> list[np.ndarray]:
    return [rng.choice(M, b, replace=False) for _ in range(draws)]


def _targets(run: OpenedRun, labels: np.ndarray) -> np.ndarray:
    return one_hot(labels, run.num_classes).astype(np.float64)


def _true(run: OpenedRun, ids: np.ndarray) -> np.ndarray | None:
    """Return one-hot labels of pool images where the data has them."""
    try:
        return _targets(run, run.context.data.labels("train", ids))
    except TrainerError:
        return None
