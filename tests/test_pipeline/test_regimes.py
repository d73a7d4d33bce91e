"""Training regimes in a run: configuration and digest, starts, snapshots in the record, what a learner may see."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.config import load_config
from pipeline.config.run import LATER
from pipeline.errors import PipelineError
from pipeline.run.context import open_context
from pipeline.run.pool import Labelled
from pipeline.run.stages.train import PoolInputs, read_summary, run_train
from trainer.options import TrainOptions

STILL = {"train.max_lr": 1e-30, "train.weight_decay": 0.0, "train.epochs": 1}
FIRST = ("epochs", "batch_size", "max_lr", "momentum", "weight_decay", "loss", "tolerance", "augment")
"""The fields of ``train`` that every run has."""


def opened(tiny, **options):
    return open_context(load_config(options={**tiny, **options}))


def trained(context, path, cycle=0, previous=None):
    path.mkdir()
    ids = np.arange(20)
    run_train(context, cycle, Labelled(ids, context.data.labels("train", ids)), previous, path)
    return path


def test_a_run_that_says_nothing_of_its_regime_is_the_run_that_it_was(tiny):
    plain = load_config(options=tiny)
    assert set(plain.scientific()["train"]) == set(FIRST)
    assert {*FIRST, *LATER} == {field.name for field in fields(TrainOptions)}
    for name, value in LATER.items():
        said = {f"train.{name}": value} if value is not None else {}
        assert load_config(options={**tiny, **said}).digest() == plain.digest()
        default = getattr(TrainOptions(), name)
        assert (list(default) if isinstance(default, tuple) else default) == value


@pytest.mark.parametrize(
    "sets",
    [
        ["train.optimizer=adam"],
        ["train.schedule=cosine"],
        ["train.schedule=multi-step", "train.milestones=[0.5, 0.8]", "train.decay=0.3"],
        ["train.schedule=multi-step", "train.milestones=0.5"],
        ["train.cycle_momentum=true"],
        ["train.until_accuracy=0.99"],
        ["train.patience=3", "train.holdout=0.1"],
        ["train.batch_norm=running"],
        ["train.keep_epochs=[0, 1]"],
        ["train.keep_epochs=1"],
        ["train.restarts=0"],
        ["start=reinitialised"],
    ],
)
def test_every_part_of_a_regime_is_set_and_written_and_read_back(tiny, sets, tmp_path):
    config = load_config(options=tiny, sets=sets)
    assert config.digest() != load_config(options=tiny).digest()
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    again = load_config(tmp_path / "config.yaml")
    assert again == config
    assert again.digest() == config.digest()


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["train.optimizer=lbfgs"], "train.optimizer must be one of sgd, nesterov, adam, exact, got 'lbfgs'"),
        (["train.milestones=[0.5]"], "train.milestones must be left out with the schedule 1cycle"),
        (["train.keep_epochs=[0.5]"], "train.keep_epochs"),
        (["start=hot"], "start: .*'warm', 'cold' or 'reinitialised'"),
        (["train.patience=3", "train.holdout=0.01"], "--n-init: expected at least 100 labels .*, got "),
    ],
)
def test_a_regime_that_makes_no_sense_is_one_line(tiny, sets, message):
    with pytest.raises(PipelineError, match=message) as caught:
        load_config(options=tiny, sets=sets)
    assert len(str(caught.value).splitlines()) == 1


def test_every_cycle_starts_where_the_run_says(tiny, tmp_path):
    weights = {}
    for start in ("warm", "cold", "reinitialised"):
        context = opened(tiny, start=start, **STILL)
        (tmp_path / start).mkdir()
        stages = [trained(context, tmp_path / start / "0")]
        stages += [trained(context, tmp_path / start / str(n), n, stages[-1]) for n in (1, 2)]
        weights[start] = [load_file(stage / "weights.safetensors") for stage in stages]

    def same(one, other):
        return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-20) for name in one)

    first, second, third = weights["reinitialised"]
    assert same(first, weights["cold"][0])
    assert same(weights["cold"][0], weights["cold"][1])
    assert not same(first, second)
    assert not same(second, third)


def test_weights_at_stated_epochs_lie_beside_the_last_ones(tiny, tmp_path):
    context = opened(tiny, **{"train.keep_epochs": [0, 2], "train.epochs": 3, "train.tolerance": 0.0})
    stage = trained(context, tmp_path / "0")
    kept = sorted(path.name for path in stage.glob("epoch-*"))
    assert kept == ["epoch-0.safetensors", "epoch-2.safetensors"]
    start, initial = load_file(stage / kept[0]), context.network().state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in initial.items())


def test_how_training_ended_is_in_the_summary(tiny, tmp_path):
    regime = {"train.patience": 2, "train.holdout": 0.2, "train.schedule": "constant", "train.max_lr": 0.01}
    summary = read_summary(trained(opened(tiny, **regime), tmp_path / "0"))
    assert summary["held_out"] == 4
    assert 0 <= summary["held_out_accuracy"] <= 1
    assert summary["ended"] in ("patience", "epochs", "tolerance")
    assert summary["converged"] == (summary["ended"] == "tolerance")
    assert "held_out" not in read_summary(trained(opened(tiny), tmp_path / "1"))


def test_what_a_learner_sees_of_the_pool_has_no_labels(tiny):
    context = opened(tiny)
    pool = PoolInputs(context.images, np.array([5, 7, 9]))
    assert len(pool) == 3
    np.testing.assert_array_equal(pool[np.array([2, 0])], context.data.inputs("train", np.array([9, 5])))
    assert not hasattr(pool.images, "labels")


@pytest.mark.parametrize(
    ("strategy", "regime", "said"),
    [
        (
            "mlmoc-flips",
            {"train.until_accuracy": 0.5, "train.schedule": "constant"},
            "ended by its accuracy with a residual",
        ),
        ("mlmoc-flips", {"train.tolerance": 0.0}, "stopped at the epoch limit"),
        ("random", {"train.until_accuracy": 0.5, "train.schedule": "constant"}, ""),
        ("random", {"train.tolerance": 0.0}, ""),  # the epoch limit is all that it was to end by
        ("random", {"train.tolerance": 1e-9}, "stopped at the epoch limit"),
    ],
)
def test_a_residual_is_warned_of_where_it_matters(start, go_on, strategy, regime, said):
    fields = {key.replace(".", "__"): value for key, value in regime.items()}
    warnings = go_on(start(query__strategy=strategy, cycles=2, train__epochs=40, train__max_lr=0.1, **fields)).warnings
    about = [line for line in warnings if "residual" in line]
    assert bool(about) == bool(said)
    assert all(said in line for line in about)
