"""Finished runs made up in a moment: files as the loop writes them, without any network."""

import functools
import hashlib
import json
from unittest import mock

import numpy as np

from pipeline.config import load_config
from pipeline.run.events import EventLog
from pipeline.run.rundir import read_config
from pipeline.sweep.grid import Grid
from trainer.data import load

digits = functools.cache(lambda: load("digits"))
NOTHING = hashlib.sha256().hexdigest()  # of weights that nobody reads
CLASSES = tuple(str(digit) for digit in range(10))


def write_run(path, strategy, seed, accuracies, *, state="finished", initial=None, options=(), **summary):
    """Write a run of the digits with given test accuracies, labels from the data set and made-up times.

    ``state`` is ``finished``, ``failed`` (in the last cycle) or ``unfinished``; ``options`` are of ``load_config``.
    """
    settings = {"model.name": "mlp", "query.n_init": 12, "query.size": 4, "query.subset": 30, "device": "cpu"}
    settings |= {"cycles": len(accuracies), "query.strategy": strategy, "seed": seed, **dict(options)}
    config = load_config(options=settings)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config.to_yaml())
    with mock.patch("pipeline.run.events.os.fsync"):  # hundreds of files that no test needs to outlive a power cut
        write_files(path, config, accuracies, state, initial, summary)
    return path


def write_files(path, config, accuracies, state, initial, summary):
    data, strategy, seed = digits(), config.query.strategy, config.seed
    log = EventLog(path / "events.jsonl")
    log.append(
        "start",
        run_id="made up",
        config=config.scientific(),
        config_sha256=config.digest(),
        dataset_sha256=data.fingerprint(),
        versions={"torch": "2.15.0"},
    )
    order = np.random.default_rng(seed).permutation(len(data.train))
    rest = np.roll(order[12:], -sum(map(ord, strategy)))
    done = len(accuracies) if state == "finished" else len(accuracies) - 1
    ask(log, data, -1, order[: config.query.n_init].tolist() if initial is None else initial)
    for cycle, accuracy in enumerate(accuracies[:done]):
        picks = rest[4 * cycle :][:4].tolist() if cycle < len(accuracies) - 1 else []
        directory = path / "cycles" / f"{cycle:03d}"
        write_stages(directory, config, 12 + 4 * cycle, accuracy, bool(picks), summary)
        for stage in sorted(folder.name for folder in directory.iterdir()):
            log.append("stage_done", cycle=cycle, stage=stage, sha256=NOTHING)
        if picks:
            ask(log, data, cycle, picks)
        log.append("cycle_done", cycle=cycle)
    if state == "failed":
        log.append("failed", cycle=done, reason="the loss diverged")
    if state == "finished":
        log.append("finished")
    log.close()


def ask(log, data, cycle, ids):
    log.append("query", cycle=cycle, ids=ids, scores=[0.0] * len(ids))
    log.append("label", cycle=cycle, labels=[[i, int(data.train.labels[i])] for i in ids])


def write_stages(directory, config, n_labelled, accuracy, scored, summary):
    seconds = {"train": 2.0, **({"score": 0.25} if scored else {})}
    if scored and config.query.strategy.startswith("mlmoc"):
        seconds["migrate"] = 0.5
    for stage, taken in seconds.items():
        (directory / stage).mkdir(parents=True)
        (directory / stage / "manifest.json").write_text(json.dumps({"seconds": taken, "files": {}}))
    values = {
        "n_labeled": n_labelled,
        "epochs": 8,
        "converged": True,
        "residual_norm": 0.1,
        "residual_rms": 0.01,
        "train_accuracy": 1.0,
        "test_accuracy": accuracy,
        "test_macro_f1": accuracy - 0.01,
        "test_ece": 0.05,
        "test_class_accuracy": [accuracy] * 10,
        "classes": list(CLASSES),
        **summary,
    }
    write_summary(directory / "train", values)


def write_summary(train, values):
    """Write the summary of a network, and the manifest that goes with it."""
    content = json.dumps(values).encode()
    (train / "summary.json").write_bytes(content)
    digests = {"summary.json": hashlib.sha256(content).hexdigest(), "weights.safetensors": NOTHING}
    files = {name: {"sha256": digest, "bytes": 0} for name, digest in digests.items()}
    manifest = json.loads((train / "manifest.json").read_text())
    (train / "manifest.json").write_text(json.dumps(manifest | {"files": files}))


def write_grid(out, strategies, seeds, cells, options=()):
    """Write a grid; ``cells(strategy, seed)`` gives the arguments of ``write_run``, or None for no directory."""
    for strategy in strategies:
        for seed in seeds:
            if (arguments := cells(strategy, seed)) is not None:
                path = write_run(out / f"{strategy}-seed{seed}", strategy, seed, options=options, **arguments)
    (out / "grid.yaml").write_text(Grid.of(read_config(path), strategies, seeds).to_yaml())
    return out
