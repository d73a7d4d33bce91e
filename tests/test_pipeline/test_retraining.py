"""Really training on with one more image, against the trainer itself and against a step worked out in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.retraining import Retrainer, output_change
from trainer.errors import TrainerError
from trainer.loop import fit
from trainer.options import TrainOptions
from trainer.predict import predict

OPTIONS = TrainOptions(epochs=6, max_lr=0.1, batch_size=4, tolerance=9.0)  # it is met at the first look, after 5


def network(batch_norm=False):
    """A network that is the same every time; d = 12 inputs, C = 3."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = [nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)] if batch_norm else [nn.Linear(12, 3)]
        return nn.Sequential(nn.Flatten(), *middle)


def problem():
    rng = np.random.default_rng(0)
    x, pool = (rng.normal(size=(n, 3, 2, 2)).astype(np.float32) for n in (9, 7))
    return x, np.arange(9) % 3, pool


def retrainer(model, options=OPTIONS, **more):
    return Retrainer(model, *problem(), 3, options, "cpu", **more)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("limited", [False, True])
def test_it_limits_gradients_as_the_cycles_network_had_them_limited(limited):
    x, labels, pool = problem()
    options = TrainOptions(epochs=20, max_lr=1.0, tolerance=0.0)
    reference, found = network(), retrainer(network(), options, limited=limited)(5)
    fit(reference, x, labels, 3, options, seed=5, limited=limited)
    np.testing.assert_array_equal(found.outputs, predict(reference, pool))
    assert not np.array_equal(found.outputs, retrainer(network(), options, limited=not limited)(5).outputs)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_trains_as_the_trainer_does_and_gives_the_weights_back(batch_norm):
    x, labels, pool = problem()
    model = network(batch_norm)
    before, train = weights(model), retrainer(model)
    for added, epochs in ((None, None), (pool[2:3], None), (pool[2:3], 12)):
        reference = network(batch_norm)
        inputs, targets = (x, labels) if added is None else (np.vstack([x, added]), np.append(labels, 1))
        options = OPTIONS if epochs is None else TrainOptions(epochs=12, max_lr=0.1, batch_size=4, tolerance=0.0)
        result = fit(reference, inputs, targets, 3, options, seed=5)
        found = train(5, added, 1, epochs=epochs)
        np.testing.assert_array_equal(found.outputs, predict(reference, pool))
        assert found.converged == result.converged
        assert found.seconds > 0
        assert equal(weights(model), before)
    assert not np.array_equal(train(5).outputs, train(6).outputs)  # the order of images


def test_weights_come_back_when_it_is_stopped_or_diverges():
    _, _, pool = problem()
    model = network(batch_norm=True)
    before, epochs = weights(model), []

    def stop():
        epochs.append(0)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrainer(model)(0, pool[:1], 0, check=stop)
    assert equal(weights(model), before)
    wild = retrainer(model, TrainOptions(epochs=20, max_lr=1e30))
    for call in (lambda: wild(0), lambda: wild.step(pool[:1] * 1e10, 0)):
        with pytest.raises(TrainerError, match="max_lr"):
            call()
        assert equal(weights(model), before)
        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_one_step_of_a_linear_network_by_hand(loss):
    """∂ℓ/∂f is 2 (f - y)/C for l2 and softmax(f) - y for cross-entropy; ∂f/∂W = x."""
    _, _, pool = problem()
    model = network()
    W, b = (parameter.detach().numpy().astype(float).copy() for parameter in model.parameters())
    x, y = pool[4].ravel().astype(float), np.eye(3)[2]
    f = W @ x + b
    slope = 2 * (f - y) / 3 if loss == "l2" else np.exp(f) / np.exp(f).sum() - y
    expected = pool.reshape(7, -1) @ (W - 0.1 * np.outer(slope, x)).T + (b - 0.1 * slope)
    before = weights(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)  # of somebody else
    found = retrainer(model, TrainOptions(max_lr=0.1, loss=loss)).step(pool[4:5], 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert equal(weights(model), before)


def test_frozen_parameters_and_running_statistics_stay_in_a_step():
    model = network(batch_norm=True)
    model[1].weight.requires_grad_(False)
    _, _, pool = problem()
    kept = model[1].weight.clone(), model[2].running_mean.clone()
    seen = []
    model[1].register_forward_hook(lambda *_: seen.append((model[1].weight.clone(), model[2].running_mean.clone())))
    retrainer(model).step(pool[:1], 0)
    assert len(seen) == 2
    assert all(torch.equal(a, b) for state in seen for a, b in zip(state, kept, strict=True))


def test_the_change_is_a_sum_of_lengths_by_hand():
    assert output_change(np.zeros((2, 2)), np.array([[3.0, 4.0], [0.0, -2.0]])) == 7  # 5 + 2
