"""The linear network for features learned elsewhere."""

import numpy as np
import pytest
import torch
from torch import nn

from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import predict


def test_the_linear_network_by_hand():
    model = build_model("linear", (1, 2, 2), 2, 0)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert model(x).tolist() == [[0, 0]]  # whatever the seed
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]]))
        head.bias.copy_(torch.tensor([0.5, -1.0]))
    assert model(x).tolist() == [[1 / 2 + 0.5, (2 + 4) / 2 - 1]]
    model(x)[0, 0].backward()  # Θ(x, x) of one output is |x|² / d + 1
    assert head.weight.grad[0].square().sum() + head.bias.grad[0].square() == 30 / 4 + 1


def test_the_linear_network_learns_features_as_ridge_regression_does():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 300))
    labels = np.tile(np.arange(5), 12)
    x = (centres[labels] + 2 * rng.normal(size=(60, 300))).astype(np.float32).reshape(60, 1, 1, 300)
    model = build_model("linear", (1, 1, 300), 5, 0)
    trained = fit(model, x, labels, 5, options_for("linear"), seed=0)
    assert trained.converged
    flat = x.reshape(60, 300)
    K = flat @ flat.T / 300 + 1
    other = (centres[labels] + 2 * rng.normal(size=(60, 300))).astype(np.float32)
    regression = (other @ flat.T / 300 + 1) @ np.linalg.solve(K, np.eye(5)[labels])
    outputs = predict(model, other.reshape(60, 1, 1, 300))
    assert np.abs(outputs - regression).max() < 0.1


def test_of_unit_length_it_sees_directions_alone():
    model = build_model("linear", (4, 1, 1), 2, 0, unit_length=True)
    x = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).reshape(2, 4, 1, 1)
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]]))
        head.bias.copy_(torch.tensor([0.5, -1.0]))
    for length in (1, 100):
        torch.testing.assert_close(model(length * x), torch.tensor([[0.6 + 0.5, 4.0 - 1], [0.5, -1.0]]))
    model(x)[0, 0].backward()  # Θ(x, x) of one output is the cosine + 1
    assert float(head.weight.grad[0].square().sum() + head.bias.grad[0].square()) == 2


def test_the_default_rate_falls_with_fewer_than_ten_classes():
    full = options_for("linear", optimizer="sgd")
    by = {"optimizer": "sgd"}
    assert options_for("linear", num_classes=10, **by) == options_for("linear", num_classes=200, **by) == full
    assert [options_for("linear", num_classes=C, **by).max_lr for C in (1, 2, 3, 5, 9)] == [2.0, 2.0, 3.0, 5.0, 9.0]
    assert options_for("linear", num_classes=2, max_lr=10.0) == full  # a rate that is given is what is taken
    for more in ({"loss": "cross-entropy"}, {"optimizer": "adam"}):  # not a mean over classes; a rate of its own
        assert options_for("linear", num_classes=2, **more) == options_for("linear", **more)
    assert options_for("cnn", num_classes=2) == options_for("cnn")


@pytest.mark.parametrize("C", [2, 3, 5])
def test_few_classes_are_learned_at_the_first_attempt(C):
    rng = np.random.default_rng(C)
    labels = np.tile(np.arange(C), 8)
    x = 3 * rng.normal(size=(C, 64))[labels] + rng.normal(size=(len(labels), 64))
    x = ((x - x.mean(0)) / x.std()).astype(np.float32).reshape(-1, 1, 1, 64)  # centred, of unit variance, as data is

    def trained(**more):
        return fit(
            build_model("linear", (1, 1, 64), C, 0), x, labels, C, options_for("linear", epochs=60, **more), seed=0
        )

    assert trained(num_classes=C).restarts == ()
    assert (trained().restarts != ()) == (C < 5)  # at the rate of ten classes; of five it is at the limit
