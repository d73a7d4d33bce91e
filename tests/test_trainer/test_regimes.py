"""Training regimes: optimisers and schedules against torch by hand, endings, held-out images, snapshots."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from trainer.attempt import held_out_rows
from trainer.cli import cli
from trainer.data import load
from trainer.errors import TrainerError
from trainer.learners import LEARNERS
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import TrainOptions, options_for
from trainer.predict import accuracy, predict
from trainer.regimes import OPTIMIZERS, SCHEDULES, Ending

STEPPING = sorted(set(OPTIMIZERS) - {"exact"})  # that takes no steps: test_exact.py
PLAIN = TrainOptions(epochs=12, max_lr=0.05, tolerance=0.0, restarts=0)


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    ids = np.arange(60)
    return data.inputs("train", ids), data.labels("train", ids)


def network(seed=0, **options):
    return build_model("cnn", (1, 8, 8), 10, seed, width=4, **options)


def trained(digits, options, model=None, **more):
    model = network() if model is None else model
    return fit(model, *digits, 10, options, seed=0, **more), model


def rates(digits, **options):
    return [record["lr"] for record in trained(digits, replace(PLAIN, **options))[0].history]


@pytest.mark.parametrize("name", STEPPING)
def test_two_steps_by_hand(name):  # on (w - 1)² from w = 0
    w = nn.Parameter(torch.zeros(()))
    optimizer = OPTIMIZERS[name].build([w], replace(PLAIN, optimizer=name, max_lr=0.1, momentum=0.5, weight_decay=0.0))
    for _ in range(2):
        optimizer.zero_grad()
        ((w - 1) ** 2).backward()
        optimizer.step()
    g1 = -2.0
    if name == "sgd":
        w1 = 0.2
        expected = w1 - 0.1 * (0.5 * g1 + 2 * (w1 - 1))
    elif name == "nesterov":
        w1 = -0.1 * (g1 + 0.5 * g1)
        g2 = 2 * (w1 - 1)
        expected = w1 - 0.1 * (g2 + 0.5 * (0.5 * g1 + g2))
    else:
        w1 = 0.1  # m/(1 - β₁) over √(v/(1 - β₂)) is the sign
        g2 = 2 * (w1 - 1)
        m = (0.5 * 0.5 * g1 + 0.5 * g2) / (1 - 0.5**2)
        v = (0.999 * 0.001 * g1**2 + 0.001 * g2**2) / (1 - 0.999**2)
        expected = w1 + 0.1 * -m / math.sqrt(v)
    assert w.item() == pytest.approx(expected, rel=1e-5)


def test_a_constant_rate(digits):
    assert rates(digits, schedule="constant") == [0.05] * 12


def test_a_rate_that_falls_by_a_cosine(digits):
    expected = [0.05 * (1 + math.cos(math.pi * epoch / 12)) / 2 for epoch in range(12)]
    assert rates(digits, schedule="cosine") == pytest.approx(expected)


def test_a_rate_that_falls_in_steps(digits):
    found = rates(digits, schedule="multi-step", milestones=(0.5, 0.75), decay=0.2)
    assert found == pytest.approx([0.05] * 6 + [0.01] * 3 + [0.002] * 3)


def test_the_momentum_goes_down_and_up_with_the_cycle_only_where_it_is_said():
    for cycled, ends in ((True, (0.95, 0.85)), (False, (0.9, 0.9))):
        options = replace(PLAIN, epochs=10, cycle_momentum=cycled)
        optimizer = OPTIMIZERS["sgd"].build([nn.Parameter(torch.zeros(()))], options)
        schedule = SCHEDULES["1cycle"].build(optimizer, options, 10)
        seen = []
        for _ in range(100):
            optimizer.step()
            seen.append(optimizer.param_groups[0]["momentum"])
            schedule.step()
        assert (max(seen), min(seen)) == pytest.approx(ends, rel=1e-4)


@pytest.mark.parametrize("optimizer", STEPPING)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimiser_learns_on_every_schedule(digits, optimizer, schedule):
    milestones = (0.8,) if schedule == "multi-step" else ()
    rate = 1e-2 if optimizer == "adam" else None
    options = options_for("cnn", optimizer=optimizer, schedule=schedule, milestones=milestones, epochs=150, max_lr=rate)
    result, model = trained(digits, options)
    assert result.train_accuracy > 0.9
    assert result.epochs == len(result.history)
    again, other = trained(digits, options)
    assert again.history == result.history
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_adam_has_a_rate_of_its_own_and_a_given_one_stays():
    assert options_for("cnn", optimizer="adam").max_lr == 3e-3
    assert options_for("cnn", optimizer="adam", loss="cross-entropy").max_lr == 3e-3
    assert options_for("cnn", optimizer="adam", max_lr=0.5).max_lr == 0.5
    assert options_for("cnn", optimizer="nesterov").max_lr == options_for("cnn").max_lr


def test_training_ends_at_the_accuracy_that_is_asked_for(digits):
    options = options_for("cnn", schedule="constant", optimizer="adam", until_accuracy=0.8, tolerance=0.0)
    result, model = trained(digits, options)
    assert (result.ended, result.converged) == ("accuracy", False)  # its residual may be anything
    assert accuracy(predict(model, digits[0]), digits[1]) == result.train_accuracy > 0.8
    shorter = trained(digits, replace(options, epochs=result.epochs - 1))[0]
    assert (shorter.ended, shorter.train_accuracy <= 0.8) == ("epochs", True)


def test_training_ends_when_held_out_images_are_no_longer_told_better_and_goes_back(digits):
    options = options_for("cnn", schedule="constant", optimizer="adam", holdout=0.2, patience=5, tolerance=0.0)
    result, model = trained(digits, options)
    losses = [record["held_out_loss"] for record in result.history]
    best = int(np.argmin(losses)) + 1
    assert (result.ended, result.epochs, result.held_out) == ("patience", best + 5, 12)
    rows = held_out_rows(60, 0.2)
    outputs, y = predict(model, digits[0][rows]), np.eye(10)[digits[1][rows]]
    assert np.mean((outputs - y) ** 2) == pytest.approx(min(losses), rel=1e-4)  # the weights of that epoch
    assert result.held_out_accuracy == accuracy(outputs, digits[1][rows])


def test_what_is_held_out_is_not_trained_on_and_stays_held_out(digits):
    assert held_out_rows(10, 0.2).tolist() == [4, 9]
    assert held_out_rows(11, 0.2).tolist() == [4, 9]
    assert held_out_rows(20, 0.2).tolist() == [4, 9, 14, 19]
    assert held_out_rows(7, 0.0).tolist() == []
    with pytest.raises(TrainerError, match="at least 10 labels to hold a share of 0.1 of them out, got 9"):
        held_out_rows(9, 0.1)
    x, labels = digits
    changed = np.where(np.isin(np.arange(60), held_out_rows(60, 0.2)), (labels + 1) % 10, labels)
    options = options_for("cnn", holdout=0.2, patience=400, epochs=30, tolerance=0.0)
    one, other = trained((x, labels), options)[0], trained((x, changed), options)[0]
    assert [r["loss"] for r in one.history] == [r["loss"] for r in other.history]
    assert [r["held_out_loss"] for r in one.history[-3:]] != [r["held_out_loss"] for r in other.history[-3:]]


def test_what_patience_goes_back_to_is_not_said_to_have_converged(digits, monkeypatch):
    """The weights are those of epoch 5, whose held-out loss is made the lowest; the tolerance is met later."""
    monkeypatch.setattr(Ending, "improves", lambda self, epoch, _: epoch <= 5)
    options = options_for("cnn", holdout=0.2, patience=400, epochs=60, schedule="constant", max_lr=0.05, tolerance=1.0)
    result, _ = trained(digits, options)
    assert 5 < result.epochs < 60
    assert result.history[-1]["residual_rms"] <= 1.0 < result.residual_rms
    assert result.residual_rms == pytest.approx(result.history[4]["residual_rms"], rel=1e-5)
    assert (result.ended, result.converged) == ("patience", False)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_are_kept_at_stated_epochs(digits, batch_norm):
    start = network(batch_norm=batch_norm)
    first = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    options = replace(PLAIN, schedule="constant", keep_epochs=(0, 3, 12))
    result, model = trained(digits, options, start)
    assert list(result.snapshots) == [0, 3, 12]
    assert all(torch.equal(result.snapshots[0][name], first[name]) for name in first)
    assert all(torch.equal(result.snapshots[12][name], tensor) for name, tensor in model.state_dict().items())
    short, other = trained(digits, replace(options, epochs=3, keep_epochs=(3,)), network(batch_norm=batch_norm))
    for name, tensor in other.state_dict().items():
        assert torch.equal(result.snapshots[3][name], tensor), name
    assert short.residual_rms == pytest.approx(short.history[-1]["residual_rms"])
    assert (
        trained(digits, options_for("cnn", keep_epochs=(400,), tolerance=0.5))[0].snapshots == {}
    )  # it converged before


def test_statistics_of_batch_norm_are_restated_or_left_as_they_run(digits):
    means = {}
    for statistics in ("restated", "running"):
        model = network(batch_norm=True)
        trained(digits, replace(PLAIN, batch_norm=statistics, schedule="constant", keep_epochs=(6,)), model)
        x = torch.from_numpy(digits[0])
        means[statistics] = (model[1].running_mean, model[0](x).mean(dim=(0, 2, 3)))
    torch.testing.assert_close(*means["restated"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(*means["running"], rtol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lbfgs"}, "optimizer must be one of sgd, nesterov, adam, exact, got 'lbfgs'"),
        ({"schedule": "step"}, "schedule must be one of 1cycle, constant, cosine, cosine-7/16, multi-step, got 'step'"),
        ({"schedule": "multi-step"}, "milestones must be given with the schedule multi-step"),
        ({"milestones": (0.5,)}, "milestones must be left out with the schedule 1cycle"),
        ({"schedule": "multi-step", "milestones": (0.8, 0.5)}, "milestones must rise"),
        ({"schedule": "multi-step", "milestones": (60.0,)}, r"milestones must be shares of the epochs in \(0, 1\)"),
        ({"decay": 0.0}, "decay must be in"),
        ({"patience": 3}, "patience and holdout must be given together"),
        ({"holdout": 0.1}, "patience and holdout must be given together"),
        ({"holdout": 0.9, "patience": 3}, "holdout must be a share"),
        ({"holdout": 1e-320, "patience": 3}, "holdout must be a share .*, 0 or from 1e-06 to 0.5, got 1e-320"),
        ({"until_accuracy": 99.0}, "until_accuracy must be in"),
        ({"optimizer": "nesterov", "momentum": 0.0}, "momentum must be positive with nesterov"),
        ({"schedule": "constant", "cycle_momentum": True}, "cycle_momentum must be false but for 1cycle"),
        ({"keep_epochs": (5, 500)}, "keep_epochs must be in 0..epochs"),
        ({"keep_epochs": (5, 1)}, "keep_epochs must rise"),
        ({"batch_norm": "frozen"}, "batch_norm must be one of restated, running"),
        ({"learner": "self"}, "learner must be one of supervised"),
        ({"restarts": -1}, "restarts must be in"),
    ],
)
def test_regimes_that_make_no_sense_are_refused(options, message):
    with pytest.raises(TrainerError, match=message):
        options_for("cnn", **options)


def test_an_ending_looks_when_it_has_to():
    plain = Ending(TrainOptions(epochs=20))
    assert [epoch for epoch in range(1, 21) if plain.looks(epoch)] == [10, 15, 20]
    constant = Ending(TrainOptions(epochs=12, schedule="constant"))
    assert [epoch for epoch in range(1, 13) if constant.looks(epoch)] == [5, 10, 12]
    exact = Ending(TrainOptions(epochs=5, schedule="constant", until_accuracy=0.9))
    assert all(exact.looks(epoch) for epoch in range(1, 6))


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_say_what_they_are(name):
    learner = LEARNERS[name]
    assert learner.name == name
    assert learner.description
    assert learner.source


def test_every_field_of_a_regime_is_told_of():
    for field in fields(TrainOptions):
        assert f"        {field.name}: " in (TrainOptions.__doc__ or "")


def test_the_command_line_sets_every_field_of_a_regime():
    given = {parameter.name for parameter in cli.commands["fit"].params}
    assert {field.name for field in fields(TrainOptions)} <= given
