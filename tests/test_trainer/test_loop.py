"""Training: convergence, honesty about the residual, determinism, divergence, batch norm."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_cases import SMALL
from torch import nn

from common.losses import LOSSES
from trainer import attempt
from trainer.attempt import steps_per_epoch
from trainer.batch_norm import restate_statistics
from trainer.data import load
from trainer.errors import Diverged, TrainerError
from trainer.loop import fit
from trainer.models import MODELS, build_model
from trainer.options import TrainOptions, options_for
from trainer.predict import accuracy, predict
from trainer.targets import one_hot

SHORT = TrainOptions(epochs=6, max_lr=0.1, tolerance=0.0)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def labelled(digits, n, start=0):
    ids = np.arange(start, start + n)
    return digits.inputs("train", ids), digits.labels("train", ids)


def network(name="cnn", seed=0, **options):
    return build_model(name, (1, 8, 8), 10, seed, **options)


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("n", [100, 300])
def test_the_default_network_converges_on_digits(digits, n):
    x, labels = labelled(digits, n)
    model, options = network(), options_for("cnn")
    result = fit(model, x, labels, 10, options, seed=0)
    assert result.converged
    assert result.residual_rms <= options.tolerance
    assert result.epochs < options.epochs
    assert result.train_accuracy == 1.0
    # The residual is that of the network as it is left: eval mode, clean inputs.
    r = one_hot(labels, 10) - predict(model, x)
    assert result.residual_norm == pytest.approx(np.linalg.norm(r), rel=1e-4)
    assert result.residual_rms == pytest.approx(np.linalg.norm(r) / math.sqrt(n), rel=1e-4)
    assert accuracy(predict(model, digits.inputs("test")), digits.labels("test")) > 0.8


class TakesOff(nn.Sequential):
    """Takes a number off its inputs, in their place or not."""

    def __init__(self, in_place):
        super().__init__(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
        self.in_place = in_place

    def forward(self, x):
        return super().forward(x.sub_(0.5) if self.in_place else x - 0.5)


def test_a_network_that_works_in_place_of_its_inputs_changes_nothing_of_them(digits):
    x, labels = labelled(digits, 40)
    before, made = x.copy(), []
    for in_place in (False, True):
        torch.manual_seed(0)
        made.append(TakesOff(in_place))
        fit(made[-1], x, labels, 10, SHORT, seed=0)
        predict(made[-1], x)
        restate_statistics(made[-1], torch.from_numpy(x))
    assert equal(*map(weights, made))
    assert np.array_equal(x, before)


def test_batch_norm_network_converges_in_eval_mode(digits):
    x, labels = labelled(digits, 60)
    model = network("wide_resnet", max_width=16, blocks_per_group=1)
    result = fit(model, x, labels, 10, options_for("wide_resnet", tolerance=0.1, epochs=150), seed=0)
    r = one_hot(labels, 10) - predict(model, x)
    assert result.converged
    assert result.residual_norm == pytest.approx(np.linalg.norm(r), rel=1e-4)


def test_training_stops_only_while_the_rate_falls_and_only_on_a_measured_residual(digits):
    x, labels = labelled(digits, 20)
    result = fit(network(), x, labels, 10, replace(SHORT, epochs=100, tolerance=10.0), seed=0)
    assert result.converged
    assert result.epochs == 35  # the first multiple of 5 after 30 % of 100
    assert [record["epoch"] for record in result.history] == list(range(1, 36))
    assert [record["residual_rms"] is None for record in result.history] == [True] * 34 + [False]


def test_at_the_epoch_limit_the_residual_is_reported_all_the_same(digits):
    x, labels = labelled(digits, 20)
    result = fit(network(), x, labels, 10, SHORT, seed=0)
    assert not result.converged
    assert result.epochs == 6
    assert result.residual_norm > 0.5
    assert result.history[-1]["residual_rms"] == result.residual_rms


def test_the_rate_makes_one_cycle(digits):
    x, labels = labelled(digits, 20)
    rates = [record["lr"] for record in fit(network(), x, labels, 10, replace(SHORT, epochs=50), seed=0).history]
    top = int(np.argmax(rates))
    assert 13 <= top <= 16
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[-1] < 1e-3
    assert (np.diff(rates[:top]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()


def test_one_step_in_all_is_enough_to_run(digits):
    x, labels = labelled(digits, 3)
    assert fit(network(), x, labels, 10, replace(SHORT, epochs=1), seed=0).epochs == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("augment", ["none", "flip-crop"])
def test_the_same_seed_gives_bit_identical_weights(digits, name, augment):
    x, labels = labelled(digits, 21)
    options = replace(SHORT, epochs=3, batch_size=8, augment=augment)
    before = torch.random.get_rng_state()
    runs = []
    for seed in (5, 5, 6):
        model = network(name, **SMALL[name])
        history = fit(model, x, labels, 10, options, seed=seed).history
        runs.append((weights(model), history))
        torch.rand(1)  # the state of the global generator must not matter
    assert equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not equal(runs[0][0], runs[2][0])
    torch.random.set_rng_state(before)


def test_global_generators_and_the_callers_arrays_are_left_alone(digits):
    x, labels = labelled(digits, 12)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    first = weights(model)
    copies, before = (x.copy(), labels.copy()), torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    fit(model, x, labels, 10, SHORT, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(labels, copies[1])
    again = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    again.load_state_dict(first)
    torch.rand(3)
    fit(again, x, labels, 10, SHORT, seed=3)
    assert equal(weights(model), weights(again))  # dropout is seeded too


def test_a_warm_start_goes_on_from_the_weights_it_is_given(digits):
    x, labels = labelled(digits, 60)
    model, options = network(), options_for("cnn", epochs=200)
    fit(model, x, labels, 10, options, seed=0)
    warm = fit(model, x, labels, 10, replace(options, epochs=1, max_lr=1e-6), seed=1)
    cold = fit(network(), x, labels, 10, replace(options, epochs=1, max_lr=1e-6), seed=1)
    assert warm.residual_rms < 0.1 < cold.residual_rms


def test_a_rate_far_too_high_is_reported_as_divergence_at_once(digits):
    x, labels = labelled(digits, 40)
    seen = []
    wild = replace(SHORT, epochs=100, max_lr=1e4)
    with pytest.raises(Diverged, match=r"at learning rate 1e\+04: .* in epoch \d+$"):
        fit(network(), x, labels, 10, replace(wild, restarts=0), seed=0, on_epoch=seen.append)
    assert len(seen) < 30
    assert all(math.isfinite(record["loss"]) for record in seen)


def test_inputs_that_are_not_finite_are_reported_as_divergence(digits):
    x, labels = labelled(digits, 10)
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(Diverged, match="diverged before the first step, which no learning rate can help"):
        fit(network(), x, labels, 10, SHORT, seed=0, on_epoch=pytest.fail)


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_outputs_that_are_infinite_in_eval_mode_alone_are_reported(digits, loss):
    class Overflowing(nn.Sequential):
        def forward(self, x):
            outputs = super().forward(x)
            return outputs if self.training else outputs.abs() * math.inf

    x, labels = labelled(digits, 10)
    with pytest.raises(Diverged, match="outputs for the labelled images are not finite"):
        fit(Overflowing(nn.Flatten(), nn.Linear(64, 10)), x, labels, 10, replace(SHORT, loss=loss), seed=0)


def test_weights_that_break_in_the_last_step_are_reported(digits, monkeypatch):
    x, labels = labelled(digits, 10)
    monkeypatch.setattr(attempt.Run, "measure", lambda run: (math.nan, np.full((10, 10), np.nan, np.float32)))
    with pytest.raises(Diverged):
        fit(network(), x, labels, 10, SHORT, seed=0)


@pytest.mark.parametrize("n", [2, 9, 17, 129])
def test_batch_norm_never_sees_a_batch_of_one(digits, n):
    x, labels = labelled(digits, n)
    model = network("resnet18", width=2)  # its last batch norm has 1x1 images: a batch of one raises
    sizes = []
    model.stem[0].register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    batch_size = 128 if n == 129 else 8
    result = fit(model, x, labels, 10, replace(SHORT, epochs=1, batch_size=batch_size), seed=0)
    assert math.isfinite(result.residual_norm)
    steps, looks = sizes[:-2], sizes[-2:]  # after the steps: one pass for the statistics, one for the residual
    assert looks == [n, n]
    assert 2 <= min(steps) <= max(steps) <= batch_size


def test_one_image_and_batch_norm_is_refused_but_one_image_is_not(digits):
    x, labels = labelled(digits, 1)
    with pytest.raises(TrainerError, match="at least 2 labelled images"):
        fit(network("wide_resnet"), x, labels, 10, SHORT, seed=0)
    assert fit(network("mlp"), x, labels, 10, SHORT, seed=0).epochs == 6


@pytest.mark.parametrize(
    ("n", "batch", "batch_norm", "steps"),
    [
        (100, 128, True, 1),
        (128, 128, True, 1),
        (129, 128, True, 2),
        (240, 128, False, 2),
        (1000, 128, True, 8),
        (1, 128, False, 1),
        (3, 2, False, 2),
        (3, 2, True, 1),
        (5, 1, False, 5),
        (5, 1, True, 2),
    ],
)
def test_steps_in_an_epoch(n, batch, batch_norm, steps):
    assert steps_per_epoch(n, batch, batch_norm) == steps


def test_every_image_is_used_once_an_epoch(digits):
    x, labels = labelled(digits, 23)
    x = np.arange(23, dtype=np.float32)[:, None, None, None] * np.ones((1, 8, 8), np.float32) / 23
    seen = []
    model = network("mlp")
    model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][:, 0, 0, 0]))
    fit(model, x, labels, 10, replace(SHORT, epochs=1, batch_size=8), seed=0)
    order = torch.cat(seen[:3]).numpy()
    np.testing.assert_array_equal(np.sort(order), x[:, 0, 0, 0])
    assert not np.array_equal(order, x[:, 0, 0, 0])


def test_restated_statistics_are_those_of_the_images(digits):
    x = torch.from_numpy(labelled(digits, 50)[0])
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.9)).train()
    restate_statistics(model, x)
    assert not model.training
    assert model[0].running_mean.item() == pytest.approx(x.mean().item(), rel=1e-5)
    assert model[0].running_var.item() == pytest.approx(x.var().item(), rel=1e-5)
    assert model[0].momentum == 0.1


def test_cross_entropy_residual_is_between_softmax_and_one_hot(digits):
    x, labels = labelled(digits, 40)
    model = network()
    result = fit(model, x, labels, 10, options_for("cnn", loss="cross-entropy", epochs=60), seed=0)
    outputs = predict(model, x).astype(np.float64)
    p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    r = one_hot(labels, 10) - p / p.sum(axis=1, keepdims=True)
    assert result.residual_norm == pytest.approx(np.linalg.norm(r), rel=1e-3)
    assert result.train_accuracy == 1.0


def test_augmentation_changes_training_but_no_prediction(digits):
    x, labels = labelled(digits, 20)
    plain, changed = network(), network()
    fit(plain, x, labels, 10, SHORT, seed=0)
    result = fit(changed, x, labels, 10, replace(SHORT, augment="flip-crop"), seed=0)
    assert not equal(weights(plain), weights(changed))
    r = one_hot(labels, 10) - predict(changed, x)
    assert result.residual_norm == pytest.approx(np.linalg.norm(r), rel=1e-4)


def test_predict_gives_the_same_for_any_batch_size_and_keeps_the_mode(digits):
    x, _ = labelled(digits, 17)
    model = network("wide_resnet").train()
    before = weights(model)
    outputs = predict(model, x)
    assert outputs.shape == (17, 10)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, predict(model, x, batch_size=4), rtol=1e-4, atol=1e-5)
    assert model.training
    assert equal(before, weights(model))
    assert predict(model, x[:0]).shape == (0, 10)


def test_accuracy_by_hand():
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32)
    assert accuracy(outputs, np.array([0, 1, 1, 0])) == 0.5
    with pytest.raises(TrainerError):
        accuracy(outputs, np.array([0, 1]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("max_lr", 0.0),
        ("max_lr", math.nan),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("tolerance", -0.1),
        ("tolerance", math.nan),
        ("loss", "hinge"),
        ("augment", "mixup"),
    ],
)
def test_options_that_make_no_sense_are_refused(field, value):
    with pytest.raises(TrainerError, match=field):
        TrainOptions(**{field: value})


def test_an_unknown_loss_is_refused_with_those_that_there_are():
    with pytest.raises(TrainerError, match=f"^loss must be one of {', '.join(LOSSES)}, got 'hinge'$"):
        TrainOptions(loss="hinge")


def test_each_family_has_its_own_defaults_and_none_keeps_them():
    assert options_for("wide_resnet").max_lr == MODELS["wide_resnet"].training["max_lr"]
    assert options_for("wide_resnet", max_lr=0.5, epochs=None) == replace(options_for("wide_resnet"), max_lr=0.5)
    assert options_for("cnn", loss="cross-entropy").max_lr == pytest.approx(0.1 * options_for("cnn").max_lr)
    assert options_for("cnn", loss="cross-entropy", max_lr=0.3).max_lr == 0.3
    with pytest.raises(TrainerError, match="no training option 'lr'"):
        options_for("cnn", lr=1)


@pytest.mark.parametrize("case", ["labels", "dtype", "empty", "classes"])
def test_inputs_that_do_not_belong_together_are_refused(digits, case):
    x, labels = labelled(digits, 5)
    wrong = {
        "labels": (x, labels[:4]),
        "dtype": (x.astype(np.float64), labels),
        "empty": (x[:0], labels[:0]),
        "classes": (x, labels + 9),
    }[case]
    with pytest.raises(TrainerError):
        fit(network(), *wrong, 10, SHORT, seed=0)


def test_an_unknown_device_is_refused(digits):
    x, labels = labelled(digits, 5)
    with pytest.raises(TrainerError, match="device 'abacus' cannot be used"):
        fit(network(), x, labels, 10, SHORT, seed=0, device="abacus")
    with pytest.raises(TrainerError, match="device 'abacus' cannot be used"):
        predict(network(), x, device="abacus")
