"""Stage ``score``: a strategy looks at the candidates and ranks what to ask next."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import read_only
from common.cells import safe_path, safe_text
from common.npz import read_arrays
from common.reading import parse_json
from linearize import LinearizeError, MemoryBudgetError, Sample
from pipeline import seeds
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, TheirCodeError
from pipeline.files import write_json
from pipeline.products.tables import write_table
from pipeline.progress import StageProgress, silent
from pipeline.queries import Covariance, QueryState, QueryStrategy, Selection, select_top, validated_query
from pipeline.queries.validated_query import covariance_of
from pipeline.run.context import RunContext
from pipeline.run.hidden import query_by_class
from pipeline.run.pool import Labelled, Pool
from pipeline.run.stages.diagnostics import DIAGNOSTICS, figures_of
from pipeline.run.stages.sequential import query_sizes
from pipeline.run.stages.trained import TrainedNetwork
from trainer.data import DataSet
from trainer.errors import TrainerError

SCORES = "scores.npz"
RANKING = "candidates.csv"


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
        return None if self.memory is None else parse_json(self.memory.tobytes())

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
    config, query = context.config, context.config.query
    if covariance is None:
        covariance = covariance_of(context.strategy, query.look_ahead, query.answers, len(candidates))
    seed = seeds.integer(config.seed, cycle, "references")
    subsample = Sample(query.references, seed) if query.references else None
    network = TrainedNetwork.of(context, labelled, trained, port, covariance, progress, subsample)
    return QueryState(
        candidates=read_only(candidates),
        labelled=labelled,
        num_classes=network.num_classes,
        loss=network.options.loss,
        rng=seeds.generator(config.seed, cycle, "query"),
        inputs=context.images,
        evaluate=network.evaluate,
        embed=network.embed,
        linearize=network.linearize,
        options=query.look_ahead,
        retrain=network.retrain,
        infinite=network.infinite,
        last_layer=network.last_layer,
        has_bias=network.has_bias,
        differentiate=network.differentiate,
        predict_losses=network.predict_losses,
        progress=progress,
        sample=network.sample,
        memory=None if remembered is None else read_scores(remembered).remembered,
        queries=None if config.paged else config.cycles - 1,
    )


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
        n = min(first, len(state.candidates))
        if context.config.query.balanced:
            selection = query_by_class(strategy, state, context.data.labels("train", state.candidates), n)
        else:
            selection = validated_query(strategy, state, n)
    scores = selection.candidate_scores
    write_ranking(into / RANKING, context.data, state.candidates, scores, state.outputs.argmax(1))
    _write_scores(into, strategy, Scores(state.candidates, scores, state.outputs.argmax(1)), selection.memory)
    write_json(into / DIAGNOSTICS, figures_of(strategy, state, scores) | (selection.figures or {}))


def write_ranking(path: Path, data: DataSet, ids: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> None:
    """Write which file or row each candidate is, with its score and the class that the network predicts, best first.

    Args:
        path: the file.
        data: the run's.
        ids: of the candidates ``[U]``.
        scores: ``[U]``.
        predicted: class numbers ``[U]``.

    """
    names = [safe_text(name) for name in data.classes]
    rows = (
        (int(ids[i]), safe_path(data.sample_path("train", int(ids[i]))), float(scores[i]), names[predicted[i]])
        for i in np.argsort(-scores, kind="stable")
    )
    write_table(path, ("sample_id", "path", "score", "predicted"), rows)


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
        kind = TheirCodeError if isinstance(error, TheirCodeError) else RunFailedError
        raise kind(f"cycle {cycle}: {error}") from error


def read_scores(directory: Path) -> Scores:
    """Return what ``run_score`` decided."""
    return Scores(**read_arrays(directory / SCORES))
