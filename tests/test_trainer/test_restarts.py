"""Training that fails at a learning rate starts again at a lower one; training that does not is left alone."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from trainer.cli import cli
from trainer.data import load
from trainer.errors import Diverged
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import TrainOptions, options_for
from trainer.predict import accuracy, predict
from trainer.restarts import (
    LONG,
    LOWER,
    RESTARTS,
    Restart,
    all_equal,
    blew_up,
    constant_residual,
    describe,
    falling,
    is_at_chance,
    ran_away,
)
from trainer.targets import one_hot

QUICK = TrainOptions(epochs=20, tolerance=0.0)


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    ids = np.arange(40)
    return data.inputs("train", ids), data.labels("train", ids)


def hues(side):
    """Images of ten hues and nothing else, as they are when normalised: no neighbour cancels another."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 10
    angle = 2 * np.pi * (labels + rng.uniform(-0.3, 0.3, 40)) / 10
    colour = math.sqrt(2) * np.cos(angle[:, None] + 2 * np.pi * np.arange(3) / 3)
    x = colour[:, :, None, None] + rng.normal(0, 0.1, (40, 3, side, side))
    return x.astype(np.float32), labels


def trained(name, data, options, **more):
    """The result of training, and the weights."""
    x, labels = data
    model = build_model(name, x.shape[1:], 10, 0)
    result = fit(model, x, labels, 10, options, seed=0, **more)
    return result, model.state_dict()


def equal(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def by_hand(name, data, options, *, limited=False):
    """The weights after SGD with one cycle in one batch, by definition, and how often it was limited."""
    x, labels = data
    model = build_model(name, x.shape[1:], 10, 0).train()
    x, y = torch.from_numpy(x), torch.eye(10)[torch.from_numpy(labels)]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=options.max_lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.max_lr, total_steps=options.epochs + 1, pct_start=0.3, cycle_momentum=False
    )
    order, first, shortened = torch.Generator().manual_seed(0), None, 0
    for _ in range(options.epochs):
        rows = torch.randperm(len(x), generator=order)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
        length = math.sqrt(sum(float(weight.grad.square().sum()) for weight in model.parameters()))
        first = first or length
        if limited and length > first:
            shortened += 1
            for weight in model.parameters():
                weight.grad *= first / length
        optimizer.step()
        schedule.step()
    return model.state_dict(), shortened


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_where_the_first_attempt_does_not_fail_nothing_is_different(digits, name):
    options = options_for(name, epochs=60, tolerance=0.0)
    result, weights = trained(name, digits, options)
    assert result.restarts == ()
    assert result.max_lr == options.max_lr
    assert not result.at_chance
    assert not result.limited
    assert equal(weights, by_hand(name, digits, options)[0])


def test_a_limited_training_takes_no_gradient_longer_than_the_first(digits):
    options = options_for("cnn", epochs=60, tolerance=0.0)
    result, weights = trained("cnn", digits, options, limited=True)
    expected, shortened = by_hand("cnn", digits, options, limited=True)
    assert shortened > 0
    assert result.limited
    assert result.max_lr == options.max_lr
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=2e-3)  # the divisor has 1e-6 added to it
    free, _ = by_hand("cnn", digits, options)
    assert max(float((weights[name] - free[name]).abs().max()) for name in free) > 1e-2


def exposures(n, seed):
    """Images of an exposure that all pixels share; every second has a small blob, somewhere."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    row, column = np.mgrid[0:16, 0:16]
    at = rng.uniform(4, 12, (2, n, 1, 1))
    blob = np.exp(-((row - at[0]) ** 2 + (column - at[1]) ** 2) / 4)
    x = 1 + 0.6 * rng.standard_normal((n, 1, 1)) + 0.1 * rng.standard_normal((n, 16, 16))
    return (x + 1.2 * labels[:, None, None] * blob)[:, None].astype(np.float32), labels


@pytest.mark.parametrize(("width", "reason"), [(8, "dead"), (16, "blew up")])
def test_where_an_exposure_makes_few_directions_steep_the_rest_is_learned_all_the_same(width, reason):
    (x, labels), (new, truth) = exposures(40, 0), exposures(200, 1)
    model = build_model("cnn", x.shape[1:], 2, 0, width=width)
    result = fit(model, x, labels, 2, options_for("cnn", epochs=200), seed=0)
    assert result.restarts[0].reason == reason
    assert result.limited
    assert result.train_accuracy == 1.0
    assert accuracy(predict(model, new), truth) > 0.7  # about 0.5 without the limit, with 8 channels


def test_after_a_failure_one_rate_more_is_tried_than_the_first_that_converges():
    (x, labels), (new, truth) = exposures(60, 1), exposures(200, 2)

    def trained_at(rate=None, restarts=None, **more):
        model = build_model("cnn", x.shape[1:], 2, 0)
        result = fit(model, x, labels, 2, options_for("cnn", max_lr=rate, restarts=restarts), seed=0, **more)
        return result, accuracy(predict(model, new), truth), model.state_dict()

    result, right, weights = trained_at()
    failed, unsteady = result.restarts
    assert failed.reason != "unsteady"
    assert (unsteady.reason, unsteady.max_lr) == ("unsteady", 0.25)
    assert result.max_lr == 0.0625
    assert result.converged
    first, less, _ = trained_at(0.25, restarts=0, limited=True)
    assert (first.converged, first.epochs, first.restarts) == (True, unsteady.epoch, ())
    assert right > less
    direct, _, same = trained_at(0.0625, limited=True)
    assert direct.restarts == ()
    assert equal(weights, same)


def test_where_one_rate_more_does_not_converge_the_first_that_did_is_kept():
    x, labels = exposures(40, 1)
    options = options_for("cnn", epochs=200)
    for seed in range(8):  # which seed shows it depends on the processor's rounding
        model, direct = (build_model("cnn", x.shape[1:], 2, seed) for _ in range(2))
        result = fit(model, x, labels, 2, options, seed=seed)
        reasons, rates = ([getattr(restart, field) for restart in result.restarts] for field in ("reason", "max_lr"))
        if reasons[1:] == ["unsteady"] and result.max_lr == rates[1]:
            break
    else:
        pytest.fail("no seed failed once, converged, and failed to at one rate more")
    assert result.converged
    assert rates == [1, 0.25]
    fit(direct, x, labels, 2, replace(options, max_lr=0.25, restarts=0), seed=seed, limited=True)
    assert equal(model.state_dict(), direct.state_dict())
    (line,) = describe(result.max_lr, result.restarts, result.at_chance, "--max-lr=")
    assert f"{'died' if reasons[0] == 'dead' else reasons[0]} at 1 (epoch " in line
    assert "; the network is that of 0.25" in line


@pytest.mark.parametrize("epochs", [1, 6, LONG])
def test_training_that_is_merely_slow_is_not_started_again(digits, epochs):
    options = replace(QUICK, epochs=epochs, max_lr=1e-4)
    result, weights = trained("cnn", digits, options)
    assert result.residual_rms > 0.9
    assert result.restarts == ()
    assert not result.at_chance
    assert equal(weights, by_hand("cnn", digits, options)[0])


def test_images_on_which_the_default_rate_diverges_are_learned():
    data, options = hues(24), options_for("mlp", epochs=100)
    with pytest.raises(Diverged, match=r"^training diverged at learning rate 0.8: "):
        trained("mlp", data, replace(options, restarts=0))
    result, weights = trained("mlp", data, options)
    assert result.train_accuracy == 1.0
    assert not result.at_chance
    assert result.restarts[0].reason == "diverged"
    assert [restart.max_lr for restart in result.restarts] == list(falling(0.8))[: len(result.restarts)]
    assert result.max_lr == 0.8 * LOWER ** len(result.restarts)
    assert len(result.history) == result.epochs
    again, same = trained("mlp", data, options)
    assert equal(weights, same)
    assert (again.restarts, again.history) == (result.restarts, result.history)
    assert result.limited
    _, direct = trained("mlp", data, replace(options, max_lr=result.max_lr, restarts=0), limited=True)
    assert equal(weights, direct)  # the start and every random stream are those of a training that is the first


def test_a_network_that_dies_at_the_default_rate_is_found_early_and_trained():
    data, options = hues(8), options_for("mlp", epochs=100)
    dead, _ = trained("mlp", data, replace(options, restarts=0))
    assert dead.at_chance
    assert not dead.converged
    assert dead.train_accuracy == pytest.approx(0.1)
    assert dead.epochs < options.epochs / 2
    result, _ = trained("mlp", data, options)
    assert result.restarts == (Restart(0.8, dead.epochs, "dead"),)
    assert result.max_lr == 0.2
    assert result.train_accuracy == 1.0
    assert not result.at_chance


def test_a_network_that_cannot_learn_ends_at_chance_after_every_rate(digits):
    x, labels = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 10))
    nn.init.zeros_(model[1].weight)
    nn.init.constant_(model[1].bias, -1.0)
    result = fit(model, x, labels, 10, QUICK, seed=0)
    assert result.at_chance
    assert [restart.max_lr for restart in result.restarts] == list(falling(QUICK.max_lr))
    assert len(result.restarts) == RESTARTS + 1
    assert result.max_lr in {restart.max_lr for restart in result.restarts}
    assert result.residual_rms == pytest.approx(float(np.sqrt(np.square(residual(model, digits)).sum() / len(x))))
    assert not model.training


def residual(model, data):
    x, labels = data
    with torch.no_grad():
        return one_hot(labels, 10) - model(torch.from_numpy(x)).numpy()


def test_one_class_is_learned_by_a_constant_and_that_is_no_failure(digits):
    x, _ = digits
    result, _ = trained("mlp", (x, np.zeros(40, np.int64)), replace(QUICK, max_lr=0.8))
    assert result.restarts == ()
    assert not result.at_chance


def test_one_class_that_runs_away_from_its_labels_is_one(digits):
    x, labels = digits
    result, _ = trained("mlp", (x[:1], labels[:1]), options_for("mlp", epochs=6))
    assert result.restarts[0].reason == "diverged"
    assert result.residual_rms < 2


def test_patience_keeps_nothing_that_ran_away(digits):
    x, labels = digits
    options = options_for("mlp", epochs=6, holdout=0.25, patience=1, schedule="constant", tolerance=0.0)
    result, _ = trained("mlp", (x[:12], labels[:12]), options)
    assert result.restarts[0].reason == "diverged"
    assert result.residual_rms < 2


def test_an_explicit_rate_is_lowered_too(digits):
    result, weights = trained("mlp", digits, replace(QUICK, max_lr=1e4))
    assert result.max_lr < 1e4
    assert equal(weights, trained("mlp", digits, replace(QUICK, max_lr=result.max_lr, restarts=0), limited=True)[1])


def normalised():
    """A network with batch norm, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def test_where_all_rates_diverge_weights_and_statistics_are_those_of_the_start(digits):
    x, labels = digits
    model = normalised()
    with pytest.raises(Diverged, match="at all rates from 1e.30 down to 1.53e.25") as caught:
        fit(model, x, labels, 10, replace(QUICK, max_lr=1e30), seed=0)
    assert caught.value.max_lr == 1e30 * LOWER**RESTARTS
    assert equal(model.state_dict(), normalised().state_dict())


def test_batch_norm_begins_again_as_if_it_were_the_first_time(digits):
    x, labels = digits
    model, direct = normalised(), normalised()
    result = fit(model, x, labels, 10, replace(QUICK, max_lr=1e5), seed=0)
    assert result.restarts
    fit(direct, x, labels, 10, replace(QUICK, max_lr=result.max_lr, restarts=0), seed=0, limited=True)
    assert equal(model.state_dict(), direct.state_dict())


def test_blowing_up_by_hand():
    still = [0.5] * LONG
    assert not blew_up(still, 0.9)
    assert blew_up([*still, 1.1], 0.9)
    assert not blew_up([*still, 0.9], 0.8)  # less than twice the lowest
    assert not blew_up([*still, 1.1], 0.4)  # it recovered
    assert not blew_up([1.1, *still], 0.9)  # it fell
    assert not blew_up([*still[: LONG - 2], 1.1], 0.9)  # too short
    assert blew_up([0.4, *still], 0.9)  # it forgot what it knew
    assert not blew_up([0.4, *still], 0.8)
    assert not blew_up([0.49, *still], 0.9)  # not by much


def test_running_away_by_hand():
    assert ran_away([1.0, 2.5, 0.5], 2.1)
    assert not ran_away([1.0, 1.5, 0.5], 2.1)  # that is where it came from
    assert not ran_away([1.0, 2.5, 0.5], 1.9)


def test_chance_by_hand():
    y = one_hot(np.array([0, 0, 0, 1]), 2)
    assert constant_residual(y) == pytest.approx(math.sqrt(1 - 0.75**2 - 0.25**2))
    assert constant_residual(y) == pytest.approx(np.linalg.norm(y - y.mean(0)) / 2)
    assert constant_residual(y[:3]) == 0
    same = np.tile(np.array([[0.3, 0.7]], np.float32), (4, 1))
    assert all_equal(same)
    assert is_at_chance(same, y, 0.1)
    assert not all_equal(same + np.float32(1e-5) * y)
    assert is_at_chance(same + np.float32(0.1) * y[::-1], y, 0.95)
    assert not is_at_chance(same + np.float32(0.1) * y[::-1], y, 0.85)
    balanced = one_hot(np.arange(4), 4)
    assert not is_at_chance(balanced, balanced, 0.95)  # all are right


def test_what_is_said_of_it():
    assert describe(1.0, (), False, "--max-lr=") == []
    (line,) = describe(0.25, (Restart(4.0, 3, "diverged"), Restart(1.0, 125, "unsteady")), False, "--max-lr=")
    assert "training diverged at 4 (epoch 3), was unsteady at 1 (epoch 125); the network is that of 0.25" in line
    failed = (Restart(1.0, 12, "diverged"), Restart(0.25, 120, "dead"), Restart(0.0625, 400, "blew up"))
    (line,) = describe(0.015625, failed, False, "--set train.max_lr=")
    assert "diverged at 1 (epoch 12), died at 0.25 (epoch 120), blew up at 0.0625 (epoch 400)" in line
    assert line.endswith(
        "the network is that of 0.0156, where --set train.max_lr=0.0156 begins, with gradients no longer than at the "
        "start"
    )
    (line,) = describe(0.0625, failed, True, "--max-lr=")
    assert line.startswith("the network learned nothing")
    assert "0.0625 to 1" in line


@pytest.fixture
def fit_digits(tmp_path):
    """Call the command: fit_digits(*options) -> (what it said, the lines of metrics.jsonl)."""

    def call(*arguments):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        common = ["fit", "--model", "mlp", "--n-labelled", "40", "--epochs", "10", "--out", str(out)]
        result = CliRunner().invoke(cli, [*common, *arguments])
        metrics = (out / "metrics.jsonl").read_text() if out.exists() else ""
        return result, [json.loads(line) for line in metrics.splitlines()]

    return call


def test_the_command_warns_of_a_lower_rate_and_records_it(fit_digits):
    result, lines = fit_digits("--max-lr", "1e4")
    assert result.exit_code == 0
    *history, summary = lines
    assert len(history) == summary["epochs"]
    assert summary["restarts"][0]["max_lr"] == 1e4
    assert summary["max_lr"] < 1e4
    assert result.stderr.startswith("warning: the learning rate was too high")
    assert result.stderr.count("\n") == 1
    quiet, lines = fit_digits("--epochs", "60")
    assert quiet.stderr == ""
    assert (lines[-1]["restarts"], lines[-1]["max_lr"], lines[-1]["at_chance"]) == ([], 0.8, False)


def test_the_option_that_a_failure_names_is_one_that_helps(fit_digits):
    result, _ = fit_digits("--max-lr", "1e13")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: training diverged at all rates")
    named = result.stderr.split("; try ")[1].split()[0]
    option, equals, rate = named.partition("=")
    assert (option, equals) == ("--max-lr", "=")
    assert float(rate) < 1e13 * LOWER**RESTARTS
    assert option in CliRunner().invoke(cli, ["fit", "--help"]).output
    again, _ = fit_digits(f"--max-lr={rate}")
    assert again.exit_code == 0 or f"from {float(rate):.3g} down to" in again.stderr
