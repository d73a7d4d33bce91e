"""Where a network's features are read: places that are found without changing anything, and refused in one line."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learner_cases import PLACES, PLAIN, SHAPE, Inplace, copied, equal, hooks, network
from torch import nn

from trainer.data import load
from trainer.errors import TrainerError
from trainer.learners.taps import find_taps, reading
from trainer.loop import fit
from trainer.models import MODELS, build_model


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    ids = np.arange(41)
    return data.inputs("train", ids), data.labels("train", ids)


@pytest.mark.parametrize("name", PLACES)
def test_features_are_read_where_groups_of_blocks_end(name):
    model = network(name)
    assert [tuple(tap) for tap in find_taps(model, SHAPE)] == PLACES[name]
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert [tuple(tap) for tap in find_taps(model, SHAPE)] == PLACES[name]  # whatever the weights


def test_features_of_a_network_of_ones_own():
    places = [("relu", 0, False, 3), ("relu", 1, False, 5), ("head", 0, True, 6)]
    assert [tuple(tap) for tap in find_taps(Inplace(), SHAPE)] == places
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))  # which returns what its pool does
    pooled = nn.Sequential(body, nn.Flatten(), nn.Linear(3, 10))
    assert [tuple(tap) for tap in find_taps(pooled, SHAPE)] == [("0.1", 0, False, 3)]
    for name in set(MODELS) - {"linear"}:  # which has nothing between its inputs and its outputs
        assert find_taps(build_model(name, (3, 32, 32), 10, 0), (3, 32, 32)), name
    groups = network("wide_resnet", block_groups=3, max_width=16)
    assert [tap.width for tap in find_taps(groups, SHAPE)] == [4, 8, 16]


def test_features_are_averages_over_positions():
    model, x = Inplace(), torch.randn(5, 1, 8, 8)
    taps = find_taps(model, SHAPE)
    with reading(model, taps) as features:
        outputs = model(x)
    first = model.one(x).relu()
    second = model.two(F.max_pool2d(first, 2)).relu()
    hidden = model.hidden(second.mean(dim=(2, 3))).relu()
    for found, expected in zip(features, (first.mean(dim=(2, 3)), second.mean(dim=(2, 3)), hidden), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(outputs, model.head(hidden))


@pytest.mark.parametrize("name", [*PLACES, "dropout"])
@pytest.mark.parametrize("training", [True, False])
def test_looking_for_places_changes_nothing(name, training):
    model = nn.Sequential(Inplace(), nn.Dropout(0.5)) if name == "dropout" else network(name)
    model.train(training)
    model.register_forward_hook(lambda *_: None)
    before, random, attached = copied(model), torch.get_rng_state(), hooks(model)
    find_taps(model, SHAPE)
    assert equal(copied(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert hooks(model) == attached
    assert all(module.training is training for module in model.modules())


class Functional(nn.Module):
    """A network without any layer to read at."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(10, 64))

    def forward(self, x):
        return x.flatten(1) @ self.w.T


@pytest.mark.parametrize("model", [Functional(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))])
def test_a_network_without_features_is_refused_in_one_line(digits, model):
    with pytest.raises(TrainerError, match="expected a network with convolutions or hidden linear layers") as caught:
        fit(model, *digits, 10, PLAIN, seed=0)
    assert "\n" not in str(caught.value)
    assert not any(hooks(model))


class Fickle(nn.Module):
    """A network that leaves a layer out in training."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(3, 10)

    def forward(self, x):
        h = F.conv2d(x, self.body.weight) if self.training else self.body(x)
        return self.head(h.mean(dim=(2, 3)))


def test_a_network_that_does_not_come_by_is_refused_in_one_line(digits):
    model = Fickle()
    with pytest.raises(TrainerError, match="same layers in every pass, but body did not run"):
        fit(model, *digits, 10, PLAIN, seed=0)
    assert not any(hooks(model))
