"""Penultimate features: of our networks, of anyone's, and refused where there are none."""

import numpy as np
import pytest
import torch
from model_cases import SMALL
from torch import nn

from trainer.errors import TrainerError
from trainer.features import embed, last_layer
from trainer.models import MODELS, build_model
from trainer.predict import predict


def images(n, *shape):
    return np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_maps_the_features_to_the_outputs(name):
    model, x = build_model(name, (1, 8, 8), 3, seed=0, **SMALL[name]), images(7, 1, 8, 8)
    features, outputs = embed(model, x)
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    W, b = head.weight.detach().numpy(), head.bias.detach().numpy()
    assert features.shape == (7, head.in_features)
    np.testing.assert_allclose(features @ W.T + b, outputs, atol=1e-5)
    np.testing.assert_array_equal(outputs, predict(model, x))


def test_features_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))
        model[3].weight.copy_(torch.tensor([[10.0, 1.0]]))
    x = np.array([[3, 4], [-5, 1]], np.float32).reshape(2, 1, 1, 2)
    features, outputs = embed(model, x)  # W x = (11, -3) and (-3, 5), then ReLU
    np.testing.assert_array_equal(features, [[11, 0], [0, 5]])
    np.testing.assert_array_equal(outputs, [[110], [5]])


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_is_the_one_whose_inputs_are_the_features(name):
    model, x = build_model(name, (1, 8, 8), 3, seed=0, **SMALL[name]).train(), images(7, 1, 8, 8)
    W, b = last_layer(model, x[:1])
    assert model.training
    assert hooks(model) == 0
    features, outputs = embed(model, x)
    assert W.dtype == b.dtype == np.float64
    np.testing.assert_allclose(features @ W.T + b, outputs, atol=1e-5)


def test_the_last_layer_without_biases_and_run_last():
    W, b = last_layer(nn.Linear(6, 3, bias=False), images(1, 6))
    assert W.shape == (3, 6)
    np.testing.assert_array_equal(b, np.zeros(3))
    model = HeadFirst()
    np.testing.assert_array_equal(last_layer(model, images(1, 1, 2, 3)).W, model.head.weight.detach().double())
    with pytest.raises(TrainerError, match="goes on after its last linear layer"):
        last_layer(ending_in(nn.ReLU(), bias=1.0), images(1, 1, 2, 2))


def test_batches_modes_and_hooks_leave_no_trace():
    model, x = build_model("cnn", (1, 8, 8), 3, seed=0, width=4, batch_norm=True).train(), images(7, 1, 8, 8)
    whole, parts = embed(model, x), embed(model, x, batch_size=3)
    np.testing.assert_allclose(whole.features, parts.features, atol=1e-6)
    assert len(parts.features) == len(parts.outputs) == 7
    assert model.training
    assert hooks(model) == 0
    np.testing.assert_array_equal(whole.features, embed(model.eval(), x).features)


class HeadFirst(nn.Module):
    """Its layers run in another order than they are named in, and the last is called by keyword."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(4, 3), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(input=self.body(x.flatten(1)).tanh())


def test_the_last_layer_is_the_one_that_runs_last():
    model, x = HeadFirst().eval(), images(5, 1, 2, 3)
    with torch.no_grad():
        expected = model.body(torch.from_numpy(x).flatten(1)).tanh().numpy()
    np.testing.assert_array_equal(embed(model, x).features, expected)


def test_a_linear_model_sees_its_inputs():
    x = images(5, 6)
    np.testing.assert_array_equal(embed(nn.Linear(6, 3), x).features, x)


def ending_in(*layers, bias):
    """A network whose last linear layer returns the bias, whatever it is given."""
    linear = nn.Linear(4, 3)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.fill_(bias)
    return nn.Sequential(nn.Flatten(), linear, *layers)


def refused(model, message):
    with pytest.raises(TrainerError, match=message) as error:
        embed(model.eval(), images(5, 1, 2, 2))
    assert "\n" not in str(error.value)
    assert hooks(model) == 0


def test_a_network_without_a_linear_layer_is_refused():
    refused(nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()), "Sequential has no torch.nn.Linear that runs")


def test_a_linear_layer_whose_outputs_are_joined_is_refused():
    refused(nn.Sequential(nn.Linear(2, 3), nn.Flatten()), "goes on after its last linear layer")


@pytest.mark.parametrize("bias", [-1.0, 1.0])
@pytest.mark.parametrize(
    "after", [nn.ReLU(inplace=True), nn.ReLU(), nn.Softmax(1)], ids=["in-place", "relu", "softmax"]
)
def test_a_network_that_goes_on_after_its_last_linear_layer_is_refused(after, bias):
    """Also where the outputs are positive, which a ReLU leaves as they are."""
    refused(ending_in(after, bias=bias), "goes on after its last linear layer")


@pytest.mark.parametrize(
    "after", [nn.Flatten(), nn.Dropout(), nn.Unflatten(1, (3,))], ids=["flatten", "dropout", "view"]
)
def test_what_passes_the_outputs_on_is_a_linear_end(after):
    x = images(5, 1, 2, 2)
    features, outputs = embed(ending_in(after, bias=1.0).eval(), x)
    np.testing.assert_array_equal(features, x.reshape(5, 4))
    np.testing.assert_array_equal(outputs, np.ones((5, 3)))
