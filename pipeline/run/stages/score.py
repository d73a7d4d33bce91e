"""Stage ``score``: a strategy looks at the candidates and ranks what to ask next."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linearize import KernelOptions, LinearizeError, LookAhead, LossGradients, MemoryBudgetError
from migrator import load as load_port
from pipeline import seeds
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError
from pipeline.files import write_json
from pipeline.infinite import kernel_maker
from pipeline.progress import StageProgress, silent
from pipeline.queries import Covariance, QueryState, QueryStrategy, Selection, select_top, validated_query
from pipeline.retraining import Retrainer
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled, Pool
from pipeline.run.stages.diagnostics import DIAGNOSTICS, figures_of
from pipeline.run.stages.sequential import query_sizes
from pipeline.run.stages.train import WEIGHTS, options_of, read_beside, was_limited
from trainer.checkpoint import load_weights
from trainer.dropout import sample_outputs
from trainer.errors import TrainerError
from trainer.features import embed, last_layer
from trainer.learners.loss_prediction import LearnedLoss, predicted_losses
from trainer.predict import predict, release_cached_memory
from trainer.targets import one_hot

SCORES = "scores.npz"
PASSES = 20
"""K of dropout, unless ``query.dropout_passes`` says otherwise: twice what the published code of Kirsch et al. 2019 is
shown with.  All labels of a batch together tell at most log K of the network, 3.0 nats."""


@dataclass(frozen=True)
class Scores:
    """What the score stage decided.

    Args:
        candidates: data-set-absolute ids ``[U]``.
        scores: ``[U]``; the highest are asked first.
        pseudo_labels: the class that the network predicts for each candidate ``[U]``.
        memory: what a strategy that remembers is to be given in the next cycle, bytes of JSON; None of any other.

    """

    candidates: np.ndarray
    scores: np.ndarray
    pseudo_labels: np.ndarray
    memory: np.ndarray | None = None

    @property
    def remembered(self) -> Any:
        """What the strategy remembered, as it was."""
        return None if self.memory is None else json.loads(self.memory.tobytes())

    def select(self, n: int) -> Selection:
        """Choose what to ask: the ``n`` highest scores, or all candidates where there are fewer."""
        return select_top(self.candidates, self.scores, min(n, len(self.candidates)))


def draw_candidates(config: RunConfig, pool: Pool, cycle: int) -> np.ndarray:
    """Draw the ids that a cycle's network scores, ``[U]``: the same for every strategy at a seed.

    Args:
        config: the run's configuration.
        pool: the state of its labelling.
        cycle: number of the cycle.

    """
    return pool.candidates(cycle, config.query.subset, seeds.generator(config.seed, cycle, "subset"))


def candidates_of(config: RunConfig, pool: Pool, cycle: int, scored: Path | None) -> np.ndarray:
    """Return the ids that a cycle's network scored, ``[U]``; on a page they depend on what was asked meanwhile.

    Args:
        config: the run's configuration.
        pool: the state of its labelling.
        cycle: number of the cycle.
        scored: the cycle's score stage; None where there is none.

    """
    if config.paged and scored is not None:
        return read_scores(scored).candidates
    return draw_candidates(config, pool, cycle)


def query_state(
    context: RunContext,
    cycle: int,
    labelled: Labelled,
    candidates: np.ndarray,
    trained: Path,
    port: Path | None,
    progress: StageProgress = silent,
    covariance: Covariance | None = None,
    remembered: Path | None = None,
) -> QueryState:
    """Return what a cycle's network says of its candidates; what takes long is computed when first asked for.

    It is what the run's strategy is shown, and what the fidelity report predicts with.

    Args:
        context: the run's constants.
        cycle: number of the cycle.
        labelled: the labelled set that the network was trained on.
        candidates: ids of the candidate subset ``[U]``.
        trained: the cycle's train stage.
        port: the network in Flax, the cycle's migrate stage; without it, it is not linearised.
        progress: called while the kernel is computed, and by slow strategies.
        covariance: how much of the kernel is needed; what the run's strategy says where absent.
        remembered: the last score stage before, of a strategy that remembers.

    """
    config, device, classes = context.config, context.device, context.data.num_classes  # no closure may hold the data
    query, options, limited = config.query, options_of(context, trained), was_limited(trained)
    if covariance is None:
        covariance = context.strategy.covariance(query.look_ahead, query.answers, len(candidates))
    passes = query.dropout_passes or PASSES
    model = context.network()
    load_weights(model, trained / WEIGHTS)

    def retrain(X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> Retrainer:
        beside = read_beside(trained)
        return Retrainer(model, X, labels, pool, classes, options, device, limited=limited, beside=beside)

    def linearise(X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> LookAhead:
        if port is None:
            raise ValueError("this strategy looks ahead, so the network must be migrated first: set needs_port = True")
        Y = one_hot(labels, classes)
        return _linearised(port, X, Y, pool, options.loss, config.kernel_options, progress, covariance)

    def differentiate() -> LossGradients:
        if port is None:
            raise ValueError(
                "this strategy reads gradients, so the network must be migrated first: set needs_port = True"
            )
        migrated = load_port(port)
        release_cached_memory()
        return LossGradients.of(migrated.apply_fn, migrated.variables, options.loss, config.kernel_options)

    def predict_losses(x: np.ndarray) -> np.ndarray:
        beside = read_beside(trained) if options.learner == LearnedLoss.name else None
        if beside is None:
            raise ValueError("no module beside the network predicts its loss: set needs_learner = 'loss-prediction'")
        return predicted_losses(model, beside, x, device=device)

    return QueryState(
        candidates=candidates,
        labelled=labelled,
        num_classes=classes,
        loss=options.loss,
        rng=seeds.generator(config.seed, cycle, "query"),
        inputs=context.images,
        evaluate=partial(predict, model, device=device),
        embed=partial(embed, model, device=device),
        linearize=linearise,
        options=query.look_ahead,
        retrain=retrain,
        infinite=kernel_maker(context.spec, config.kernel_options, progress),
        last_layer=partial(last_layer, model, np.zeros((1, *context.data.input_shape), np.float32)),
        differentiate=differentiate,
        predict_losses=predict_losses,
        progress=progress,
        sample=lambda x, seed: sample_outputs(model, x, passes=passes, seed=seed, device=device),
        memory=None if remembered is None else read_scores(remembered).remembered,
        queries=None if config.paged else config.cycles - 1,
    )


def _linearised(
    port: Path,
    X: np.ndarray,
    Y: np.ndarray,
    pool: np.ndarray,
    loss: str,
    options: KernelOptions,
    progress: StageProgress,
    covariance: Covariance,
) -> LookAhead:
    """Linearise a port over labelled ∪ candidates; without Θ(U,U) where that is not needed and does not fit."""
    migrated = load_port(port)
    release_cached_memory()

    def fit(full: bool) -> LookAhead:
        data = migrated.apply_fn, migrated.variables, X, Y, pool
        return LookAhead.fit(*data, options, progress, lambda plan: progress.plan(plan.summary()), full=full, loss=loss)

    try:
        return fit(covariance != "none")
    except MemoryBudgetError:
        if covariance != "helpful":
            raise
        return fit(False)  # slower, but within the budget


def run_score(context: RunContext, cycle: int, state: QueryState, into: Path) -> None:
    """Rank the candidates by the run's strategy; where there are none, the ranking is empty.

    Args:
        context: the run's constants.
        cycle: number of the cycle.
        state: what the strategy is shown.
        into: directory to write scores and diagnostics to.

    Raises:
        RunFailedError: the kernel is singular, does not fit or is not finite; the strategy failed or broke its
            contract.

    """
    strategy = context.strategy
    if not len(state.candidates):  # everything was asked about: there is nothing to rank
        _write_scores(into, strategy, Scores(state.candidates, np.empty(0), np.empty(0, np.int64)), state.memory)
        write_json(into / DIAGNOSTICS, {})
        return
    first = query_sizes(strategy, context.config.query)[0]
    with explaining(cycle):
        selection = validated_query(strategy, state, min(first, len(state.candidates)))
    scores = selection.candidate_scores
    _write_scores(into, strategy, Scores(state.candidates, scores, state.outputs.argmax(1)), selection.memory)
    write_json(into / DIAGNOSTICS, figures_of(strategy, state, scores) | (selection.figures or {}))


def _write_scores(into: Path, strategy: QueryStrategy, scores: Scores, memory: Any) -> None:
    """Write what was decided, and what is to be remembered: in one file, so that the log's hash is that of both."""
    arrays = {"candidates": scores.candidates, "scores": scores.scores, "pseudo_labels": scores.pseudo_labels}
    if strategy.remembers:
        arrays["memory"] = np.frombuffer(json.dumps(memory).encode(), np.uint8)
    np.savez(into / SCORES, **arrays)  # type: ignore[arg-type]


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
