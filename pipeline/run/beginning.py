"""How a run begins: what it logs first, and the samples that its first network learns."""

from collections.abc import Sequence

from pipeline import seeds
from pipeline.cold.representatives import chosen_by, first_samples, method_of
from pipeline.machine import hardware
from pipeline.run.began import write_beginning, write_samples
from pipeline.run.context import RunContext
from pipeline.run.embedding import facts_of
from pipeline.run.hidden import BALANCED, COUNT, balanced_samples
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.recorded import code_sha256
from pipeline.run.rundir import RunDirectory, environment_versions
from pipeline.run.threads import new_threads, recorded_threads


def begin(run: RunDirectory, context: RunContext) -> int:
    """Log a run's first event, or check that a run that goes on still is what it was.

    Args:
        run: the open run directory.
        context: its constants.

    Returns:
        The threads of torch that it computes with.

    Raises:
        PipelineError: a scientific field of the configuration or the data has changed.

    """
    config = context.config
    versions = environment_versions() | context.sources
    threads = recorded_threads(config, run.events) if run.events else new_threads(context)
    data, code = context.dataset_sha256, code_sha256(config)
    facts = {"dataset_sha256": data, "versions": versions, "hardware": hardware(), "threads": threads}
    if (backbone := facts_of(config, context.data)) is not None:
        facts["backbone"] = backbone
    if not run.events:
        write_beginning(run.path, context.loaded or context.data)  # first: no kill leaves a run that lacks it
    run.start(facts | ({"code": code} if code else {}))
    write_beginning(run.path, context.loaded or context.data)  # of a run of an older version, now that it is its data
    write_samples(run.path, context.data)
    return threads


def draw_initial(run: RunDirectory, pool: Pool, context: RunContext, given: Sequence[int]) -> None:
    """Ask for the initial set, once: representatives or uniformly drawn samples, beside those that came with a label.

    Args:
        run: the open run directory.
        pool: the state of its labelling.
        context: of the run: how many the initial set has, how it is chosen, and the seed.
        given: the samples that came with a label.

    """
    config = context.config
    missing = config.query.n_init - len(given)
    if missing <= 0 or not pool.asked(INITIAL) <= set(given):
        return
    method = method_of(config, context.data)
    hidden = dict[str, int]()
    if method == BALANCED:
        rng = seeds.generator(config.seed, 0, "initial")
        drawn, read = balanced_samples(context.data.labels("train"), context.data.num_classes, missing, rng)
        ids, hidden = drawn.tolist(), {COUNT: read}
    else:
        ids = first_samples(context.data, method, config.seed, missing, given).tolist()
    if ids:
        run.append("query", cycle=INITIAL, ids=ids, scores=[0.0] * len(ids), **chosen_by(method), **hidden)
