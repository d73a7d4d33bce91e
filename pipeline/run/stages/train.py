"""Stage ``train``: a network trained to convergence on the labelled set, and how good it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import seeds
from pipeline.errors import RunFailedError
from pipeline.files import write_atomically, write_json, write_json_lines
from pipeline.metrics import quality
from pipeline.progress import StageProgress, silent
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled
from trainer.checkpoint import load_weights, weight_bytes
from trainer.errors import TrainerError
from trainer.loop import fit
from trainer.predict import accuracy, predict

WEIGHTS, MODEL, METRICS, SUMMARY = "weights.safetensors", "model.json", "metrics.jsonl", "summary.json"
EVALUATION_CHUNK = 4096  # test images expanded to float32 at once


def run_train(
    context: RunContext,
    cycle: int,
    labelled: Labelled,
    previous: Path | None,
    into: Path,
    progress: StageProgress = silent,
) -> None:
    """Train on the labelled set and read the test set once, after the last epoch; nothing is selected on test.

    Args:
        context: the run's constants.
        cycle: number of the cycle; with the seed it fixes every random number.
        labelled: the labelled set.
        previous: the previous cycle's train stage to start warm from; None starts from the initial weights, random
            or pretrained.
        into: directory to write weights, model, metrics and summary to.
        progress: called after every epoch with ``(done, total)``.

    Raises:
        RunFailedError: the loss diverged, or the labelled set is too small.

    """
    config = context.config
    options = config.train_options
    model = context.network()
    if previous is not None and config.start == "warm":
        load_weights(model, previous / WEIGHTS)
    try:
        result = fit(
            model,
            context.images(labelled.ids),
            labelled.labels,
            context.data.num_classes,
            options,
            seed=seeds.integer(config.seed, cycle, "train"),
            device=context.device,
            on_epoch=lambda record: progress(record["epoch"], options.epochs),
        )
    except TrainerError as error:
        raise RunFailedError(f"cycle {cycle}: {error}") from error
    write_atomically(into / WEIGHTS, weight_bytes(model))
    write_atomically(into / MODEL, context.spec.to_json())
    write_json_lines(into / METRICS, result.history)
    summary = {
        "n_labeled": len(labelled),
        "epochs": result.epochs,
        "converged": result.converged,
        "residual_norm": result.residual_norm,
        "residual_rms": result.residual_rms,
        "train_accuracy": result.train_accuracy,
        **_test_metrics(context, model),
    }
    write_json(into / SUMMARY, summary)


def read_summary(directory: Path) -> dict[str, Any]:
    """Return what ``run_train`` wrote about its network; of the test set, older versions wrote the accuracy alone."""
    return dict(json.loads((directory / SUMMARY).read_text()))


def _test_metrics(context: RunContext, model) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    ids = np.arange(len(context.data.test))
    parts = [
        predict(model, context.data.inputs("test", ids[start : start + EVALUATION_CHUNK]), device=context.device)
        for start in range(0, len(ids), EVALUATION_CHUNK)
    ]
    outputs, labels = np.concatenate(parts), context.data.labels("test")
    others = quality(outputs, labels, context.config.train_options.loss)
    return {
        "test_accuracy": accuracy(outputs, labels),
        **{f"test_{name}": value for name, value in others.items()},
        "classes": list(context.data.classes),
    }
