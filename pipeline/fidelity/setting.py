"""What a cycle of a run predicts with, read from the run without changing it."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.losses import Loss
from linearize import LinearizeError, LookAhead, Posterior
from pipeline.errors import PipelineError, RunFailedError
from pipeline.infinite import check_affordable
from pipeline.progress import StageProgress, silent
from pipeline.queries.infinite import INFINITE, InfiniteFit
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled, Pool
from pipeline.run.recorded import open_recorded
from pipeline.run.rundir import check_unchanged, logged_stage, read_config, read_events
from pipeline.run.stages.migrate import VARIABLES, run_migrate
from pipeline.run.stages.score import SCORES, candidates_of, query_state
from pipeline.run.stages.train import WEIGHTS, read_summary
from pipeline.run.threads import recorded_threads
from trainer.threads import with_threads

FEWEST = 5
"""Below this many candidates a rank correlation says nothing."""


@dataclass(frozen=True)
class Setting:
    """A cycle's trained network, its data and its linearisation.

    Args:
        context: the run's constants.
        cycle: number of the cycle.
        labelled: what the network was trained on.
        candidates: ids of the cycle's candidates ``[U]``.
        trained: the cycle's train stage.
        summary: what that stage says of its network.
        look_ahead: the linearised network over labelled ∪ candidates.
        seconds: that linearising took, and porting where the run had no port.
        posterior: that network.
        threads: of torch that the run computes with.
        infinite: the models of infinite width, by proxy; none unless they were asked for.

    """

    context: RunContext
    cycle: int
    labelled: Labelled
    candidates: np.ndarray
    trained: Path
    summary: dict[str, Any]
    look_ahead: LookAhead
    seconds: float
    posterior: Posterior
    threads: int
    infinite: dict[str, InfiniteFit] = field(default_factory=dict)

    @property
    def loss(self) -> Loss:
        """That trained the network, calibrated."""
        return self.look_ahead.loss


def open_setting(
    run: Path,
    cycle: int,
    n: int,
    progress: StageProgress = silent,
    *,
    infinite: bool = False,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Setting:
    """Read a cycle of a run, finished or not, and linearise its network with the run's own options.

    Args:
        run: the run directory; it is only read.
        cycle: number of a cycle that has been trained, but for the last, which has no candidates.
        n: candidates to compare.
        progress: told the kernel's plan, and called while it is computed.
        infinite: whether the proxies with infinite-width kernels are compared too, if the run's strategy is not one.
        trust_code: whether code that the run's configuration names may run.
        say: told, one line each, what code runs.

    Raises:
        PipelineError: there is no such cycle, or too few candidates.
        RunFailedError: the network cannot be ported or its kernel not factored.

    """
    config, events = read_config(run), read_events(run)
    if not config.paged and not 0 <= cycle < config.cycles:
        raise PipelineError(f"--cycle: expected 0 to {config.cycles - 2} of {run}, got {cycle}")
    if not config.paged and cycle == config.cycles - 1:
        raise PipelineError(f"--cycle: {cycle} is the run's last one: it is trained and has no candidates")
    trained = logged_stage(run, events, cycle, "train", WEIGHTS)
    if trained is None:
        raise PipelineError(
            f"--cycle: cycle {cycle} of {run} has not been trained, or is damaged: 'pipeline resume {run}'"
        )
    context = open_recorded(run, config, events, trust_code, say)
    check_unchanged(events[0], config, context.dataset_sha256)
    pool = Pool(len(context.data.train), events)
    context = context.of_cycle(pool, cycle)
    scored = logged_stage(run, events, cycle, "score", SCORES)
    labelled, candidates = pool.labelled(cycle), candidates_of(config, pool, cycle, scored)
    if not FEWEST <= n <= len(candidates):
        raise PipelineError(
            f"--candidates: expected at least {FEWEST} and at most the {len(candidates)} of cycle {cycle}, got {n}"
        )
    infinite = infinite or context.strategy.needs_infinite
    if infinite:
        check_affordable(context.spec, config.kernel_options, len(labelled), len(candidates))
    started = time.perf_counter()
    threads = recorded_threads(config, events)
    with tempfile.TemporaryDirectory(prefix="fidelity-") as scratch, with_threads(threads):
        port = logged_stage(run, events, cycle, "migrate", VARIABLES)
        if port is None:  # of a strategy that needs none
            port = Path(scratch)
            run_migrate(context, labelled, trained, port)
        state = query_state(context, cycle, labelled, candidates, trained, port, progress, covariance="required")
        with _explained("the network cannot be linearised"):
            look_ahead = state.look_ahead
    seconds = time.perf_counter() - started
    others = {}
    if infinite:
        with _explained("the infinite-width kernel"):
            others = {one.name: one.fit(state) for one in INFINITE}
    summary, posterior = read_summary(trained), look_ahead.posterior
    return Setting(
        context, cycle, labelled, candidates, trained, summary, look_ahead, seconds, posterior, threads, others
    )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except LinearizeError as error:
        raise RunFailedError(f"{what}: {error}") from error
