"""Stage ``score``: a strategy looks at the candidates and ranks what to ask next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch.nn import Module

from linearize import KernelOptions, LinearizeError, LookAhead, MemoryBudgetError
from linearize.residuals import BY_LOSS, Meaning
from migrator import load as load_port
from pipeline import seeds
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError
from pipeline.files import write_json
from pipeline.infinite import kernel_maker
from pipeline.progress import StageProgress, silent
from pipeline.queries import LookAheadStrategy, QueryState, Selection, get_strategy, select_top, validated_query
from pipeline.retraining import Retrainer
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled, Pool
from pipeline.run.stages.diagnostics import DIAGNOSTICS, figures_of
from pipeline.run.stages.sequential import query_sizes
from pipeline.run.stages.train import WEIGHTS
from trainer.checkpoint import load_weights
from trainer.errors import TrainerError
from trainer.features import Embedding, embed
from trainer.losses import one_hot
from trainer.options import TrainOptions
from trainer.predict import predict, release_cached_memory

SCORES = "scores.npz"


@dataclass(frozen=True)
class Scores:
    """What the score stage decided.

    Args:
        candidates: data-set-absolute ids ``[U]``.
        scores: ``[U]``; the highest are asked first.
        pseudo_labels: the class that the network predicts for each candidate ``[U]``.

    """

    candidates: np.ndarray
    scores: np.ndarray
    pseudo_labels: np.ndarray

    def select(self, n: int) -> Selection:
        """Choose what to ask: the ``n`` highest scores, or all candidates where there are fewer."""
        return select_top(self.candidates, self.scores, min(n, len(self.candidates)))


def draw_candidates(config: RunConfig, pool: Pool, cycle: int) -> np.ndarray:
    """Draw the ids that a cycle's network scores, ``[U]``: the same for every strategy at a seed."""
    return pool.candidates(cycle, config.query.subset, seeds.generator(config.seed, cycle, "subset"))


def query_state(
    context: RunContext,
    cycle: int,
    labelled: Labelled,
    candidates: np.ndarray,
    trained: Path,
    port: Path | None,
    progress: StageProgress = silent,
) -> QueryState:
    """Return what the run's strategy is shown of a cycle; the network is linearised when it first asks.

    Args:
        context: the run's constants.
        cycle: number of the cycle.
        labelled: the labelled set that the network was trained on.
        candidates: ids of the candidate subset ``[U]``.
        trained: the cycle's train stage.
        port: the cycle's migrate stage; needed by look-ahead strategies alone.
        progress: called while the kernel is computed, and by slow strategies.

    """
    strategy = get_strategy(context.config.query.strategy)
    model = context.network()
    evaluate, embedder = _network(model, trained, context.device)
    query = context.config.query
    full, needed = True, True
    if isinstance(strategy, LookAheadStrategy):
        full, needed = strategy.takes_S(query.look_ahead, query.answers, len(candidates)), strategy.needs_S
    port = port if strategy.needs_port else None
    return QueryState(
        candidates=candidates,
        labelled=labelled,
        num_classes=context.data.num_classes,
        loss=context.config.train_options.loss,
        rng=seeds.generator(context.config.seed, cycle, "query"),
        inputs=context.images,
        evaluate=evaluate,
        embed=embedder,
        linearize=_linearizer(
            context.config.kernel_options,
            BY_LOSS[context.config.train_options.loss],
            context.data.num_classes,
            port,
            progress,
            full=full,
            needed=needed,
        ),
        options=context.config.query.look_ahead,
        retrain=_retrainer(model, context.data.num_classes, context.config.train_options, context.device),
        infinite=kernel_maker(context.spec, context.config.kernel_options, progress),
        progress=progress,
    )


def run_score(config: RunConfig, cycle: int, state: QueryState, into: Path) -> None:
    """Rank the candidates by the run's strategy.

    Args:
        config: the run's configuration.
        cycle: number of the cycle.
        state: what the strategy is shown.
        into: directory to write scores and diagnostics to.

    Raises:
        RunFailedError: the kernel is singular, does not fit or is not finite; the strategy failed or broke its
            contract.

    """
    strategy = get_strategy(config.query.strategy)
    with explaining(cycle):
        selection = validated_query(strategy, state, min(query_sizes(config)[0], len(state.candidates)))
    scores = selection.candidate_scores
    np.savez(into / SCORES, candidates=state.candidates, scores=scores, pseudo_labels=state.outputs.argmax(1))
    write_json(into / DIAGNOSTICS, figures_of(strategy, state, scores) | (selection.figures or {}))


@contextmanager
def explaining(cycle: int) -> Iterator[None]:
    """Turn what a strategy may raise into a failure of the run that says what to do."""
    try:
        yield
    except MemoryBudgetError as error:
        advice = "kernel.memory_budget (bytes) in the run's config.yaml may be changed before 'pipeline resume'"
        raise RunFailedError(f"cycle {cycle}: {error}; {advice}") from error
    except (LinearizeError, TrainerError, RunFailedError) as error:
        raise RunFailedError(f"cycle {cycle}: {error}") from error


def read_scores(directory: Path) -> Scores:
    """Return what ``run_score`` decided."""
    with np.load(directory / SCORES, allow_pickle=False) as arrays:
        return Scores(**arrays)


def _network(
    model: Module, trained: Path, device: str
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], Embedding]]:
    load_weights(model, trained / WEIGHTS)
    return partial(predict, model, device=device), partial(embed, model, device=device)


def _retrainer(
    model: Module, num_classes: int, options: TrainOptions, device: str
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Retrainer]:
    def retrain(X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> Retrainer:
        return Retrainer(model, X, labels, pool, num_classes, options, device)

    return retrain


def _linearizer(
    options: KernelOptions,
    outputs: Meaning,
    num_classes: int,
    port: Path | None,
    progress: StageProgress,
    *,
    full: bool,
    needed: bool,
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], LookAhead]:
    def linearize(X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> LookAhead:
        if port is None:
            raise ValueError("this strategy looks ahead, so the network must be migrated first: set needs_port = True")
        migrated = load_port(port)
        Y = one_hot(labels, num_classes)
        release_cached_memory()

        def fit(full: bool) -> LookAhead:
            data = migrated.apply_fn, migrated.variables, X, Y, pool
            return LookAhead.fit(
                *data, options, progress, lambda plan: progress.plan(plan.summary()), full=full, **outputs
            )

        try:
            return fit(full)
        except MemoryBudgetError:
            if needed or not full:
                raise
            return fit(False)  # slower, but within the budget

    return linearize
