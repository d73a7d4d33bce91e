"""Stage ``score``: a strategy looks at the candidates and ranks what to ask next."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linearize import LinearizeError, LookAhead
from migrator import load as load_port
from pipeline import seeds
from pipeline.errors import RunFailedError
from pipeline.files import write_json
from pipeline.pool import Labelled
from pipeline.queries import QueryState, get_strategy
from pipeline.stages.progress import StageProgress, silent
from pipeline.stages.train import WEIGHTS
from pipeline.workbench import Workbench
from trainer.checkpoint import load_weights
from trainer.models import build
from trainer.predict import predict

SCORES, DIAGNOSTICS = "scores.npz", "diagnostics.json"


@dataclass(frozen=True)
class Scores:
    """What the score stage decided.

    Args:
        candidates: data-set-absolute ids ``[U]``.
        candidate_scores: ``[U]``.
        selected: ids to ask, in rank order ``[n]``.
        selected_scores: ``[n]``.
        predicted: the class that the network predicts for each selected sample ``[n]``.

    """

    candidates: np.ndarray
    candidate_scores: np.ndarray
    selected: np.ndarray
    selected_scores: np.ndarray
    predicted: np.ndarray


def run_score(
    bench: Workbench,
    cycle: int,
    labelled: Labelled,
    candidates: np.ndarray,
    trained: Path,
    port: Path | None,
    into: Path,
    progress: StageProgress = silent,
) -> None:
    """Rank the candidates by the run's strategy.

    Args:
        bench: the run's constants.
        cycle: number of the cycle.
        labelled: the labelled set that the network was trained on.
        candidates: ids of the candidate subset ``[U]``.
        trained: the cycle's train stage.
        port: the cycle's migrate stage; needed by look-ahead strategies alone.
        into: directory to write scores and diagnostics to.
        progress: called while the kernel is computed.

    Raises:
        RunFailedError: the kernel is singular, does not fit or is not finite.

    """
    strategy = get_strategy(bench.config.query.strategy)
    state = QueryState(
        candidates=candidates,
        labelled=labelled,
        num_classes=bench.data.num_classes,
        loss=bench.config.train_options.loss,
        rng=seeds.generator(bench.config.seed, cycle, "query"),
        inputs=bench.inputs,
        evaluate=_evaluator(bench, trained),
        linearize=_linearizer(bench, port, progress),
    )
    try:
        selection = strategy.query(state, min(bench.config.query.size, len(candidates)))
    except LinearizeError as error:
        raise RunFailedError(f"cycle {cycle}: {error}") from error
    np.savez(
        into / SCORES,
        candidates=candidates,
        candidate_scores=selection.candidate_scores,
        selected=selection.indices,
        selected_scores=selection.scores,
        predicted=state.evaluate(bench.inputs(selection.indices)).argmax(1),
    )
    write_json(into / DIAGNOSTICS, _diagnostics(state, selection.candidate_scores, strategy.needs_port))


def read_scores(directory: Path) -> Scores:
    """Return what ``run_score`` decided."""
    with np.load(directory / SCORES, allow_pickle=False) as arrays:
        return Scores(**arrays)


def read_diagnostics(directory: Path) -> dict[str, Any]:
    """Return the figures by which this cycle's scores can be judged."""
    return dict(json.loads((directory / DIAGNOSTICS).read_text()))


def cautions(diagnostics: dict[str, Any]) -> Iterator[str]:
    """Yield, in one line each, what should make a user doubt this cycle's scores."""
    if diagnostics.get("jitter"):
        yield (
            f"the labelled kernel was singular and took a jitter of {diagnostics['jitter']:.2g} on its diagonal: "
            "a wider network or a ridge (--set kernel.ridge=1e-6) makes look-ahead scores more reliable"
        )
    if diagnostics["score_spread"] in (None, 0.0) and diagnostics["candidates"] > 1:
        yield "every candidate has the same score, so the query is as good as random"


def _evaluator(bench: Workbench, trained: Path) -> Callable[[np.ndarray], np.ndarray]:
    model = build(bench.spec)
    load_weights(model, trained / WEIGHTS)
    return lambda x: predict(model, x, device=bench.device)


def _linearizer(
    bench: Workbench, port: Path | None, progress: StageProgress
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], LookAhead]:
    def linearize(X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> LookAhead:
        if port is None:
            raise ValueError("this strategy looks ahead, so the network must be migrated before it is scored")
        migrated = load_port(port)
        Y = np.eye(bench.data.num_classes)[labels]
        options = bench.config.kernel_options
        return LookAhead.fit(migrated.apply_fn, migrated.variables, X, Y, pool, options, progress)

    return linearize


def _diagnostics(state: QueryState, scores: np.ndarray, looked_ahead: bool) -> dict[str, Any]:
    mean = float(scores.mean())
    figures: dict[str, Any] = {
        "candidates": len(scores),
        "score_mean": mean,
        "score_spread": float(scores.std() / abs(mean)) if mean else None,
    }
    if looked_ahead:
        figures |= state.look_ahead.diagnostics.to_json()
    return figures
