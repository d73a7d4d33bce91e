"""Monte Carlo dropout: masks differ by pass and are shared by all inputs of a pass, and nothing else changes."""

import numpy as np
import pytest
import torch
from torch import nn

from trainer.dropout import sample_outputs
from trainer.errors import TrainerError
from trainer.predict import predict

N, C = 9, 3


def images(n=N, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *(shape or (1, 4, 4)))).astype(np.float32)


class Twice(nn.Module):
    """One dropout layer that runs twice in a forward pass, and one that never does."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.drop, self.unused = (
            nn.Linear(16, 16),
            nn.Linear(16, C),
            nn.Dropout(),
            nn.Dropout(),
        )

    def forward(self, x):
        return self.second(self.drop(self.drop(self.first(x.flatten(1)))))


def convolutional(layer):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), layer, nn.Flatten(), nn.Linear(96, C)
    )


NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, C)),
    "on the input": lambda: nn.Sequential(nn.Dropout(0.3, inplace=True), nn.Flatten(), nn.Linear(16, C)),
    "twice": Twice,
    "elements of an image": lambda: convolutional(nn.Dropout(0.4)),
    "channels": lambda: convolutional(nn.Dropout2d(0.4)),
    "channels of a line": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(1, 8, 3), nn.Dropout1d(), nn.Flatten(), nn.LazyLinear(C)
    ),
    "alpha": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.SELU(), nn.AlphaDropout(0.2), nn.Linear(20, C)),
    "channels, alpha": lambda: convolutional(nn.FeatureAlphaDropout(0.3)),
}


def network(name):
    model = NETWORKS[name]()
    model.eval()(torch.zeros(2, 1, 4, 4))  # lazy layers get their sizes
    return model


def sample(model, x, **options):
    return sample_outputs(model, x, **{"passes": 6, "seed": 5, **options})


@pytest.mark.parametrize("name", NETWORKS)
class TestEveryNetwork:
    def test_passes_differ_and_inputs_of_a_pass_share_their_masks(self, name):
        x = images()
        x[7] = x[2]  # a copy: with a mask of its own it would have other outputs
        outputs = sample(network(name), x)
        assert outputs.shape == (6, N, C)
        assert outputs.dtype == np.float32
        np.testing.assert_allclose(outputs[:, 7], outputs[:, 2], atol=1e-6)
        assert len({outputs[k, 2].tobytes() for k in range(6)}) > 3  # few channels may repeat

    def test_batches_and_order_change_nothing(self, name):
        model, x = network(name), images()
        whole = sample(model, x)
        for size in (1, 4, 8):
            np.testing.assert_allclose(sample(model, x, batch_size=size), whole, atol=1e-6)
        order = np.random.default_rng(1).permutation(N)
        np.testing.assert_allclose(sample(model, x[order]), whole[:, order], atol=1e-6)
        np.testing.assert_allclose(sample(model, x[3:4]), whole[:, 3:4], atol=1e-6)

    def test_the_seed_decides_alone(self, name):
        model, x = network(name), images()
        first = sample(model, x)
        torch.manual_seed(99)
        np.testing.assert_array_equal(sample(model, x), first)
        np.testing.assert_array_equal(sample(model, x, passes=2), first[:2])
        assert not np.allclose(sample(model, x, seed=6), first)

    def test_nothing_is_left_behind(self, name):
        model, x = network(name).train(), images()
        list(model.modules())[-1].eval()  # modes are each module's own
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        modes, given, state = [module.training for module in model.modules()], x.copy(), torch.get_rng_state()
        sample(model, x)
        assert [module.training for module in model.modules()] == modes
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())  # batch norm's, too
        np.testing.assert_array_equal(x, given)
        assert all(module.p > 0 for module in model.modules() if isinstance(module, nn.Dropout))


def identity(layer):
    return nn.Sequential(layer, nn.Flatten())


def test_masks_by_hand():
    """With no layer after it, what dropout lets through is 0 or x / (1 - p), the same place in every input."""
    x = 1 + np.abs(images(5, 1, 30, 30))
    outputs = sample(identity(nn.Dropout(0.2)), x, passes=40) / x.reshape(5, -1)
    kept = outputs > 0
    np.testing.assert_allclose(outputs[kept], 1 / 0.8, rtol=1e-6)
    assert (kept == kept[:, :1]).all()
    places = kept[:, 0].sum()
    n = 40 * 900
    assert abs(places - 0.8 * n) < 4 * np.sqrt(n * 0.2 * 0.8)
    assert abs(np.corrcoef(kept[0, 0], kept[1, 0])[0, 1]) < 4 / np.sqrt(900)


class Chain(nn.Module):
    """Dropout layers one after another, with nothing between."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = layers
        self.named = nn.ModuleList(dict.fromkeys(layers))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x.flatten(1)


@pytest.mark.parametrize("layers", [[nn.Dropout()] * 2, [nn.Dropout(), nn.Dropout()]], ids=["one twice", "two"])
def test_every_layer_has_masks_of_its_own_every_time_that_it_runs(layers):
    outputs = sample(Chain(*layers), np.ones((2, 1, 60, 60), np.float32), passes=1)
    assert set(np.unique(outputs)) == {0, 4}
    assert abs((outputs[0, 0] > 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 3600)


def test_whole_channels_are_left_out():
    x = np.ones((3, 50, 4, 4), np.float32)
    outputs = sample(identity(nn.Dropout2d(0.5)), x).reshape(6, 3, 50, 16)
    assert set(np.unique(outputs)) == {0, 2}
    assert (outputs == outputs[:, :1, :, :1]).all()
    assert 60 < (outputs[:, 0, :, 0] > 0).sum() < 240


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p):
    x = images(2, 1, 300, 300)
    outputs = sample(identity(nn.AlphaDropout(p)), x, passes=1)
    assert abs(outputs.mean()) < 0.02
    assert abs(outputs.var() - 1) < 0.02
    torch.manual_seed(0)  # and puts the same value in the place of what is left out as torch's own does
    theirs = nn.AlphaDropout(p).train()(torch.from_numpy(x)).numpy()
    least = [np.unique(values.round(4), return_counts=True) for values in (outputs, theirs)]
    assert least[0][0][least[0][1].argmax()] == least[1][0][least[1][1].argmax()]


def test_everything_may_be_left_out():
    assert (sample(identity(nn.Dropout(1.0)), images()) == 0).all()
    assert (sample(identity(nn.AlphaDropout(1.0)), images()) == 0).all()


def test_a_linear_network_is_on_average_itself():
    model, x, K = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, C)), images(4), 4000
    outputs = sample(model, x, passes=K).astype(float)
    error = outputs.std(axis=0) / np.sqrt(K)
    assert (np.abs(outputs.mean(axis=0) - predict(model, x)) < 4.5 * error).all()


def slow(model, x, masks):
    """The mlp of the table, one unit at a time, with given masks of its hidden layer."""
    W, b = (layer.detach().numpy().astype(float) for layer in (model[1].weight, model[1].bias))
    V, d = (layer.detach().numpy().astype(float) for layer in (model[4].weight, model[4].bias))
    found = np.zeros((len(masks), len(x), C))
    for k, mask in enumerate(masks):
        for i, image in enumerate(x):
            h = [max(0.0, W[j] @ image.ravel() + b[j]) * mask[j] / 0.7 for j in range(20)]
            found[k, i] = V @ h + d
    return found


def test_outputs_are_those_of_the_masks():
    model, x = network("mlp"), images()
    hidden = nn.Sequential(*model[:4])  # the same layer has the same number and the same masks
    h = sample(hidden, x)
    active = predict(nn.Sequential(*model[:3]), x) > 0
    assert active.any(axis=0).all()
    masks = (h > 0).any(axis=1)
    np.testing.assert_allclose(sample(model, x), slow(model, x, masks), atol=1e-5)


REFUSED = {
    "none": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, C)),
    "p is 0": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(16, C)),
    "it never runs": lambda: Unused(),
    "a function": lambda: Functional(),
}


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(16, C), nn.Dropout()

    def forward(self, x):
        return self.linear(x.flatten(1))


class Functional(Unused):
    """What the docstring says cannot be found."""

    def forward(self, x):
        return self.linear(nn.functional.dropout(x.flatten(1), 0.5, self.training))


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_without_dropout_is_refused_in_one_line(name):
    model = REFUSED[name]().train()
    with pytest.raises(TrainerError, match=r"--set model.options.dropout=0.25") as error:
        sample(model, images())
    assert "\n" not in str(error.value)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


class Turned(nn.Module):
    """Has the images in the second axis where it drops out."""

    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(16, C), nn.Dropout()

    def forward(self, x):
        return self.linear(self.drop(x.flatten(1).T).T)


@pytest.mark.parametrize("size", [4, 128])
def test_masks_that_inputs_cannot_share_are_refused(size):
    with pytest.raises(TrainerError, match="images in the first axis of what Dropout is given"):
        sample(Turned(), images(), batch_size=size)


def test_an_unusable_device_is_refused():
    with pytest.raises(TrainerError, match="cannot be used"):
        sample(network("mlp"), images(), device="nowhere")


def test_no_images():
    assert sample(network("mlp"), images(0)).shape == (6, 0, C)
