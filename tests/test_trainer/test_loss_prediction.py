"""The learner loss-prediction: its ranking loss by hand, one step by loops, gradients, what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from learner_cases import LEARNER, PLACES, PLAIN, SHAPE, Inplace, copied, equal, hooks, network
from safetensors.torch import load_file
from torch import nn

from common.losses import LOSSES, get_loss
from trainer import cli
from trainer.checkpoint import load_weights
from trainer.data import load
from trainer.errors import Diverged, TrainerError
from trainer.learners import LEARNERS, Setting, loss_prediction
from trainer.learners.loss_prediction import LossPrediction, predicted_losses, ranking_loss
from trainer.learners.taps import find_taps, reading
from trainer.loop import fit
from trainer.models import build_model
from trainer.predict import predict


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    ids = np.arange(41)
    return data.inputs("train", ids), data.labels("train", ids)


# The ranking loss -----------------------------------------------------------------------------------------------------


def by_loops(predicted, losses, margin=1.0):
    """(1/P) Σ over the pairs from both ends, one by one."""
    n = len(losses) - len(losses) % 2
    pairs = [(i, n - 1 - i) for i in range(n // 2)]
    total = 0.0
    for i, j in pairs:
        sign = 1.0 if losses[i] - losses[j] > 0 else -1.0
        total += max(0.0, -sign * (predicted[i] - predicted[j]) + margin)
    return total / len(pairs) if pairs else 0.0


def test_the_ranking_loss_by_hand():
    # pairs (0, 3) and (1, 2): 0.2 > 0.1, so 1 - (0.3 - 0) = 0.7; 1 > 0.5, so 1 - (0.2 - 0.6) = 1.4; mean 1.05
    predicted = torch.tensor([0.3, 0.2, 0.6, 0.0], requires_grad=True)
    losses = torch.tensor([0.2, 1.0, 0.5, 0.1])
    loss = ranking_loss(predicted, losses)
    assert loss.item() == pytest.approx(1.05)
    loss.backward()
    torch.testing.assert_close(predicted.grad, torch.tensor([-0.5, -0.5, 0.5, 0.5]))
    far = torch.tensor([3.0, 5.0, 0.0, 0.0])  # right by more than the margin
    assert ranking_loss(far, losses).item() == 0


def test_equal_losses_count_as_the_second_being_larger():
    assert ranking_loss(torch.tensor([0.4, 0.0]), torch.tensor([1.0, 1.0])).item() == pytest.approx(1.4)


def test_of_an_odd_batch_the_last_is_left_out_and_one_alone_has_no_pair():
    losses, predicted = torch.tensor([0.2, 1.0, 0.5, 0.1]), torch.tensor([0.3, 0.2, 0.6, 0.0])
    odd = ranking_loss(torch.cat([predicted, torch.tensor([9.0])]), torch.cat([losses, torch.tensor([9.0])]))
    assert odd.item() == pytest.approx(1.05)
    one = torch.tensor([2.0], requires_grad=True)
    loss = ranking_loss(one, torch.tensor([1.0]))
    loss.backward()
    assert (loss.item(), one.grad.item()) == (0, 0)


@pytest.mark.parametrize("size", [2, 3, 4, 7, 16, 33])
def test_the_ranking_loss_is_that_of_loops_over_pairs(size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        predicted, losses = rng.normal(size=size), rng.integers(0, 4, size=size) / 4  # with ties
        found = ranking_loss(torch.tensor(predicted), torch.tensor(losses)).item()
        assert found == pytest.approx(by_loops(predicted, losses))
    even = 2 * (size // 2)
    losses = rng.permutation(size).astype(float)  # without ties pairs have no order
    backwards = ranking_loss(torch.tensor(predicted[:even][::-1].copy()), torch.tensor(losses[:even][::-1].copy()))
    assert backwards.item() == pytest.approx(by_loops(predicted, losses))


# One step -------------------------------------------------------------------------------------------------------------


def loss_of_one(loss, f, label):
    """The loss of one example, by hand: of l2 the mean over classes."""
    if loss == "l2":
        return sum((f[c] - float(c == label)) ** 2 for c in range(len(f))) / len(f)
    return torch.logsumexp(f, 0) - f[label]


def features_of_one(model, image):
    """Averages after each ReLU of a plain convolutional network, and its outputs, layer by layer."""
    h, found = image[None], []
    for layer in model:
        h = layer(h)
        if isinstance(layer, nn.ReLU):
            found.append(torch.stack([h[0, d].sum() / h[0, d].numel() for d in range(h.shape[1])]))
    return found, h[0]


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
@pytest.mark.parametrize("shared", [True, False])
def test_one_step_is_that_of_loops_over_examples(digits, loss, shared):
    x, labels = torch.from_numpy(digits[0][:9]), digits[1][:9]
    options = replace(PLAIN, epochs=1, schedule="constant", momentum=0.0, weight_decay=0.0, loss=loss)
    model, slow = network(), network().double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_prediction, "SHARED", float(shared))
        result = fit(model, x.numpy(), labels, 10, options, seed=3)

    with torch.random.fork_rng():
        torch.manual_seed(3)
        narrow = [nn.Linear(width, 128).double() for width in (4, 8, 8)]
        last = nn.Linear(3 * 128, 1).double()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3)).tolist()
    losses, predicted = [], []
    for b in order:
        features, f = features_of_one(slow, x[b].double())
        losses.append(loss_of_one(loss, f, int(labels[b])))
        read = features if shared else [h.detach() for h in features]
        hidden = torch.cat(
            [torch.clamp(layer.weight @ h + layer.bias, min=0) for layer, h in zip(narrow, read, strict=True)]
        )
        predicted.append((last.weight @ hidden + last.bias)[0])
    weight = 0.1 if loss == "l2" else 1.0  # of ten classes
    total = sum(losses) / 9 + weight * by_loops(predicted, [one.item() for one in losses])
    assert result.history[0]["loss"] == pytest.approx(total.item(), rel=1e-5)
    layers = [slow, *narrow, last]
    parameters = [p for layer in layers for p in layer.parameters()]
    for p, gradient in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
        p.data -= 0.05 * gradient
    for name, p in slow.named_parameters():
        torch.testing.assert_close(model.state_dict()[name].double(), p.data, rtol=1e-5, atol=1e-6)
    for name, p in [
        *(
            (f"narrow.{k}.{part}", getattr(layer, part))
            for k, layer in enumerate(narrow)
            for part in ("weight", "bias")
        ),
        *((f"last.{part}", getattr(last, part)) for part in ("weight", "bias")),
    ]:
        torch.testing.assert_close(result.beside[name].double(), p.data, rtol=1e-5, atol=1e-6)


def objective(digits, name="cnn", **options):
    x, labels = torch.from_numpy(digits[0]), digits[1]
    y = F.one_hot(torch.from_numpy(labels), 10).float()
    model = network(name).train()
    setting = Setting(model, x, y, None, replace(PLAIN, **options), torch.Generator().manual_seed(0))
    return model, LEARNERS[LEARNER].objective(setting)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", ["cnn", "mlp", "wide_resnet"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_after_six_tenths_of_the_epochs_the_ranking_loss_leaves_the_network_alone(digits, name, loss):
    model, ours = objective(digits, name, loss=loss)
    rows = torch.arange(12)
    plain = gradients(model, get_loss(loss).value(model(ours.setting.x[rows]), ours.setting.y[rows]))
    for epoch, shared in ((1, True), (6, True), (7, False), (10, False)):
        found = gradients(model, ours.loss(rows, epoch))
        same = all(torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in zip(found, plain, strict=True))
        assert same is not shared, epoch  # where it is, the target has no gradient either
        assert any(p.grad.abs().max() > 0 for p in ours.module.parameters())
        ours.module.zero_grad()


@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses_of_examples_are_those_whose_mean_is_minimised(digits, loss):
    _, ours = objective(digits, loss=loss)
    outputs, y = torch.randn(7, 10, requires_grad=True), ours.setting.y[:7]
    each = ours._each(outputs, y)
    assert not each.requires_grad
    torch.testing.assert_close(each.mean(), ours.value(outputs, y).detach())
    for b in range(7):
        torch.testing.assert_close(each[b], ours.value(outputs[[b]], y[[b]]).detach())


# Training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLACES)
def test_training_is_the_same_bit_for_bit_and_leaves_hooks_and_generators_alone(digits, name):
    results = []
    for _ in range(2):
        model, random = network(name), torch.get_rng_state()
        result = fit(model, *digits, 10, replace(PLAIN, batch_size=16), seed=5)
        assert torch.equal(torch.get_rng_state(), random)
        assert not any(hooks(model))
        results.append((result, model))
    (one, first), (other, second) = results
    assert one.history == other.history
    assert equal(copied(first), copied(second))
    assert equal(one.beside, other.beside)
    widths = [width for _, _, _, width in PLACES[name]]
    assert [one.beside[f"narrow.{k}.weight"].shape[1] for k in range(len(widths))] == widths
    assert one.beside["last.weight"].shape == (1, 128 * len(widths))


def test_it_learns_to_rank_images_by_their_loss():
    data = load("digits")
    ids, left = np.arange(200), np.arange(200, 700)
    x, labels = data.inputs("train", ids), data.labels("train", ids)
    model, options = network(width=8), replace(PLAIN, epochs=40, max_lr=0.2, loss="cross-entropy")
    result = fit(model, x, labels, 10, options, seed=0)
    assert result.train_accuracy > 0.9
    f, truth = predict(model, data.inputs("train", left)), data.labels("train", left)
    losses = np.log(np.exp(f).sum(axis=1)) - f[np.arange(len(f)), truth]
    predicted = predicted_losses(model, result.beside, data.inputs("train", left))
    ranks = [np.argsort(np.argsort(values)) for values in (losses, predicted)]
    assert np.corrcoef(ranks)[0, 1] > 0.4


def test_hooks_are_gone_whatever_happens(digits):
    class Broken(Inplace):
        passes = 0

        def forward(self, x):
            Broken.passes += 1
            if Broken.passes == 4:
                raise KeyboardInterrupt
            return super().forward(x)

    model = Broken()
    with pytest.raises(KeyboardInterrupt):
        fit(model, *digits, 10, PLAIN, seed=0)
    assert not any(hooks(model))
    wild = network()
    before = copied(wild)
    with pytest.raises(Diverged):
        fit(wild, *digits, 10, replace(PLAIN, max_lr=1e30, restarts=1), seed=0)
    assert not any(hooks(wild))
    assert equal(copied(wild), before)


def test_a_warm_start_goes_on_with_the_module_too(digits):
    first = fit(network(), *digits, 10, PLAIN, seed=0).beside
    still = replace(PLAIN, epochs=1, max_lr=1e-30, weight_decay=0.0)
    warm = fit(network(), *digits, 10, still, seed=1, beside=first).beside
    assert all(torch.allclose(warm[name], first[name], rtol=0, atol=1e-20) for name in first)
    new = fit(network(), *digits, 10, still, seed=1).beside
    assert not any(torch.equal(new[name], first[name]) for name in first)
    with pytest.raises(TrainerError, match="expected the weights of a module with .* beside this network") as caught:
        fit(network("mlp"), *digits, 10, still, seed=1, beside=first)
    assert "\n" not in str(caught.value)


def test_a_restart_begins_with_the_same_module(digits):
    result = fit(network(), *digits, 10, replace(PLAIN, max_lr=1e5, restarts=12), seed=0)
    assert result.restarts
    direct = fit(network(), *digits, 10, replace(PLAIN, max_lr=result.max_lr), seed=0, limited=True)
    assert direct.history == result.history
    assert equal(direct.beside, result.beside)
    warm = fit(network(), *digits, 10, replace(PLAIN, max_lr=1e5, restarts=12), seed=0, beside=direct.beside)
    straight = fit(
        network(), *digits, 10, replace(PLAIN, max_lr=warm.max_lr), seed=0, limited=True, beside=direct.beside
    )
    assert equal(warm.beside, straight.beside)


def test_a_failure_is_told_by_the_networks_own_loss(digits, monkeypatch):
    jumps = iter(range(1000))
    monkeypatch.setattr(loss_prediction, "ranking_loss", lambda predicted, _: predicted.sum() * 0 + next(jumps) % 5)
    slow = replace(PLAIN, epochs=60, max_lr=1e-4, restarts=3)  # it fits nothing, and its whole loss goes up and down
    result = fit(network(), *digits, 10, slow, seed=0)
    assert result.residual_rms > 0.9
    assert result.restarts == ()
    plain = fit(network(), *digits, 10, replace(slow, learner="supervised"), seed=0)
    assert [record["own_loss"] for record in result.history] == pytest.approx([r["loss"] for r in plain.history])
    assert [record["loss"] - record["own_loss"] for record in result.history[:6]] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0], abs=1e-6
    )
    assert "own_loss" not in plain.history[0]


def test_the_module_goes_back_with_the_network_to_the_best_epoch(digits, monkeypatch):
    made, states = [], []
    build = loss_prediction.LearnedLoss.objective
    monkeypatch.setattr(
        loss_prediction.LearnedLoss, "objective", lambda self, setting: made.append(build(self, setting)) or made[-1]
    )
    options = replace(PLAIN, epochs=200, holdout=0.2, patience=3, schedule="constant", max_lr=0.5)
    result = fit(network(), *digits, 10, options, seed=0, on_epoch=lambda _: states.append(copied(made[-1].module)))
    best = int(np.argmin([record["held_out_loss"] for record in result.history]))
    assert result.ended == "patience"
    assert equal(result.beside, states[best])
    assert not equal(result.beside, states[-1])


# Predicting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("training", [True, False])
def test_predicted_losses_are_the_modules_in_eval_mode(digits, name, training):
    model = network(name)
    beside = fit(model, *digits, 10, PLAIN, seed=0).beside
    model.train(training)
    before, random = copied(model), torch.get_rng_state()
    found = predicted_losses(model, beside, digits[0], batch_size=7)
    assert (found.shape, found.dtype) == ((41,), np.float32)
    assert equal(copied(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training is training for module in model.modules())
    assert not any(hooks(model))
    module = LossPrediction([tap.width for tap in find_taps(model, SHAPE)])
    module.load_state_dict(beside)
    model.eval()
    for b in (0, 17, 40):
        with torch.no_grad(), reading(model, find_taps(model, SHAPE)) as features:
            model(torch.from_numpy(digits[0][[b]]))
        assert found[b] == pytest.approx(module(features).item(), rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(found, predicted_losses(model, beside, digits[0]), rtol=1e-4, atol=1e-5)


def test_weights_of_something_else_are_refused_in_one_line(digits):
    with pytest.raises(TrainerError, match="expected the weights of a module with .*: train again") as caught:
        predicted_losses(network(), {"w": torch.zeros(3)}, digits[0])
    assert "\n" not in str(caught.value)


def test_the_command_writes_the_module_beside_the_network(tmp_path):
    for learner, files in ((LEARNER, 1), ("supervised", 0)):
        out = tmp_path / learner
        arguments = ["fit", "--n-labelled", "20", "--model", "mlp", "--option", "width=8", "--epochs", "2"]
        result = CliRunner().invoke(cli.cli, [*arguments, "--learner", learner, "--out", str(out)])
        assert result.exit_code == 0, result.output
        found = [*out.glob("beside.safetensors")]
        assert len(found) == files
    model = build_model("mlp", SHAPE, 10, width=8)
    load_weights(model, tmp_path / LEARNER / "weights.safetensors")
    beside = load_file(tmp_path / LEARNER / "beside.safetensors")
    assert predicted_losses(model, beside, load("digits").inputs("test", np.arange(3))).shape == (3,)
