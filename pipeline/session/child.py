"""The process of one network: it trains, migrates and linearises, then answers what to ask next until it is replaced.

It never writes to the event log: it builds stage directories, each complete and bound to its place or not there, and
the process that gave the order logs them.
"""

import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.advise.doubts import doubts_of_state
from pipeline.errors import DivergedError, PipelineError, RunFailedError
from pipeline.interrupts import leave_no_semaphores
from pipeline.queries import QueryState
from pipeline.run.context import RunContext, open_context
from pipeline.run.rundir import Stage, cycle_path, read_config
from pipeline.run.stages.binding import Binding, inputs_sha256
from pipeline.run.stages.migrate import VARIABLES, Porter, run_migrate
from pipeline.run.stages.score import SCORES, explaining, query_state, read_scores, run_score
from pipeline.run.stages.sequential import query_sizes
from pipeline.run.stages.store import read_manifest, write_stage
from pipeline.run.stages.train import WEIGHTS, checkpoint_of, run_train
from pipeline.run.summary import write_report
from pipeline.session.asking import Asking
from pipeline.session.order import Failure, Order, Ready
from pipeline.session.rehearsal import rehearse
from trainer.threads import with_threads

RESULTS: dict[Stage, str] = {"train": WEIGHTS, "migrate": VARIABLES, "score": SCORES}
NICENESS = 5
"""Of network processes, so that whoever serves the page comes first."""


def main(connection: Connection, run: Path, cache: Path) -> None:
    """Be a process that ends with the one that started it, and ``work``.

    Args:
        connection: to the process that gives the order.
        run: the run directory, which only that process writes events to.
        cache: folder of the decoded images.

    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that serves; it ends this one
    leave_no_semaphores()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.nice(NICENESS)
    work(connection, run, cache)


def work(connection: Connection, run: Path, cache: Path) -> None:
    """Load the data and wait for an order; do it, then answer calls until the other end is closed or sends None.

    Args:
        connection: to whoever gives the order.
        run: the run directory.
        cache: folder of the decoded images.

    """
    try:
        context, porter = open_context(read_config(run), cache, run=run, checked=False), Porter()
        while not isinstance(order := _received(connection), Order):
            _prepare(order, connection, run, context, porter)
        with with_threads(order.threads):
            network = _Network(connection, run, context, order, porter)
            asking = network.prepare()
            connection.send(("ready", network.ready))
            _serve(connection, asking)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # replaced, or nobody is there any more
    except (Exception, SystemExit) as error:
        _fail(connection, error)
    finally:
        connection.close()


def _prepare(what: tuple[str, int], connection: Connection, run: Path, context: RunContext, porter: Porter) -> None:
    """Do what has time until there is an order: here, where nobody waits for an answer."""
    name, threads = what
    if name == "report":
        write_report(run)  # metrics and learning curve
    else:
        with with_threads(threads):
            rehearse(context, porter, connection.poll)


def _fail(connection: Connection, error: Exception | SystemExit) -> None:
    expected = isinstance(error, PipelineError | RunFailedError | OSError)
    if not expected:
        traceback.print_exc()
    reason = " ".join(str(error).split()) if expected else f"{type(error).__name__}: {' '.join(str(error).split())}"
    with suppress(OSError):
        connection.send(("failed", Failure(reason, error.max_lr if isinstance(error, DivergedError) else None)))


def _received(connection: Connection) -> Any:
    message = connection.recv()
    if message is None:
        raise EOFError
    return message


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _serve(connection: Connection, asking: Asking) -> None:
    calls: dict[str, Callable[..., Any]] = {
        "choose": asking.choose,
        "likely": asking.likely,
        "predictions": asking.predictions,
    }
    while True:
        name, arguments = _received(connection)
        try:
            connection.send(("reply", calls[name](*arguments)))
        except (PipelineError, RunFailedError) as error:
            connection.send(("reply", error))


class _Progress:
    """Tells the other end how far a stage is, not more than some times a second."""

    def __init__(self, connection: Connection, stage: str) -> None:
        self._connection, self._stage, self._sent = connection, stage, -1.0
        connection.send(("stage", stage, None))

    def __call__(self, done: int, total: int) -> None:
        share = done / total if total else 0.0
        if share >= self._sent + 0.02 or share == 1.0:
            self._sent = share
            self._connection.send(("stage", self._stage, share))

    def plan(self, text: str) -> None:
        """Say nothing: nobody watches a terminal."""


class _Network:
    def __init__(self, connection: Connection, run: Path, context: RunContext, order: Order, porter: Porter) -> None:
        self._connection, self._run, self._order, self._porter = connection, run, order, porter
        self._context = context.with_classes(order.added_classes) if order.added_classes else context
        self.ready: Ready

    def prepare(self) -> Asking:
        order, context = self._order, self._context
        strategy, cycle = context.strategy, order.cycle
        trained = self._stage("train", self._train)
        port = self._stage("migrate", self._migrate) if strategy.needs_port else None
        candidates: np.ndarray = self._ask("candidates")
        progress, before = _Progress(self._connection, "score"), self._remembered()
        state = query_state(context, cycle, order.labelled, candidates, trained, port, progress, remembered=before)

        def score(into: Path) -> None:
            run_score(context, cycle, state, into)

        scored = self._stage("score", score)
        sizes = query_sizes(strategy, context.config.query)
        with explaining(cycle):
            if strategy.needs_kernel and len(candidates):
                state.look_ahead  # noqa: B018 - computed now, not when the first question waits for it
            if strategy.needs_gradients and len(candidates) and len(sizes) > 1:
                state.dynamics  # noqa: B018 - likewise
            asking = Asking(strategy, state, _covering(read_scores(scored), candidates), sizes[0], len(sizes) > 1)
            asking.choose(self._ask("record"))  # what was answered meanwhile: the first question need not wait for it
            doubts = doubts_of_state(state, strategy.needs_kernel and bool(len(candidates)))
        self.ready = Ready(candidates, len(order.labelled), self._predicted(state), doubts)
        return asking

    def _predicted(self, state: QueryState) -> dict[int, int]:
        """The class that the network takes each sample of the check set for."""
        check = np.array(self._order.check, np.int64)
        if not len(check):
            return {}
        return dict(zip(check.tolist(), state.outputs_of(check).argmax(1).tolist(), strict=True))

    def _remembered(self) -> Path | None:
        """Return the score stage that holds what the strategy remembers, if it is what the order says."""
        if self._order.remembered is None:
            return None
        cycle, digest = self._order.remembered
        scored = cycle_path(self._run, cycle) / "score"
        manifest = read_manifest(scored)
        if manifest is None or manifest.files.get(SCORES) != digest:
            raise RunFailedError(f"{scored} holds what the strategy remembers, and is damaged: restore it from a copy")
        return scored

    def _ask(self, what: str) -> Any:
        """Ask the other end for something."""
        self._connection.send((what, None))
        return _received(self._connection)

    def _stage(self, stage: Stage, build: Callable[[Path], None]) -> Path:
        """Return where a stage lies, built where it is not there; the other end has verified those that are."""
        order = self._order
        directory = cycle_path(self._run, order.cycle) / stage
        if read_manifest(directory) is None:
            write_stage(directory, build, Binding(order.run_id, order.cycle, stage, self._made_from(stage)))
        if stage == "train":
            checkpoint_of(directory.parent).remove()
        return directory

    def _made_from(self, stage: Stage) -> dict[str, str]:
        order = self._order
        results = {} if stage != "train" or order.previous is None else {"previous": order.previous[1]}
        for earlier in stages_before(stage, self._context):
            manifest = read_manifest(cycle_path(self._run, order.cycle) / earlier)
            if manifest is None:
                raise RunFailedError(f"cycle {order.cycle}: its stage {earlier} was damaged while it was used")
            results[earlier] = manifest.files[RESULTS[earlier]]
        if stage == "score" and order.remembered is not None:
            results["memory"] = order.remembered[1]
        return inputs_sha256(order.labelled, results, order.added_classes)

    def _train(self, into: Path) -> None:
        order = self._order
        previous = cycle_path(self._run, order.previous[0]) / "train" if order.previous is not None else None
        progress = _Progress(self._connection, "train")
        kept = checkpoint_of(cycle_path(self._run, order.cycle))
        run_train(self._context, order.cycle, order.labelled, previous, into, progress, order.max_lr, kept)

    def _migrate(self, into: Path) -> None:
        _Progress(self._connection, "migrate")
        trained = cycle_path(self._run, self._order.cycle) / "train"
        run_migrate(self._context, self._order.labelled, trained, into, self._porter)


def stages_before(stage: Stage, context: RunContext) -> tuple[Stage, ...]:
    """Return the stages of a cycle that one is made from.

    Args:
        stage: its name.
        context: of the run.

    """
    if stage == "train":
        return ()
    return ("train", "migrate") if stage == "score" and context.strategy.needs_port else ("train",)


def _covering(scores: Any, candidates: np.ndarray) -> Any:
    """Let scores rank all candidates: those that came after them, which somebody was asked about, come last."""
    missing = np.setdiff1d(candidates, scores.candidates)
    if not len(missing):
        return scores
    lowest = np.full(len(missing), scores.scores.min(initial=0.0) - 1)
    labels = np.zeros(len(missing), scores.pseudo_labels.dtype)
    return type(scores)(
        np.concatenate([scores.candidates, missing]),
        np.concatenate([scores.scores, lowest]),
        np.concatenate([scores.pseudo_labels, labels]),
    )
