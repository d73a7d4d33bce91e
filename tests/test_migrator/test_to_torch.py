"""Variables go back to torch exactly, changed or not, and what does not fit is refused by name."""

import copy

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
import torch
from torch import nn

from migrator import errors, load, migrate, save, to_state_dict, verify

SHAPE = (3, 6, 6)


class Mixed(nn.Module):
    """All that a state dict may hold: tied, frozen, unused and transposed weights, statistics, counters, buffers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 6, 2, groups=2)
        self.first, self.second, self.unused = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(2, 3)
        self.second.weight = self.first.weight
        self.first.bias.requires_grad_(False)
        self.same = self.norm
        self.register_buffer("scalar", torch.tensor(2.0))
        self.register_buffer("large", torch.tensor([3, 1, 2]))
        self.register_buffer("passing", torch.randn(6), persistent=False)

    def forward(self, x):
        y = self.up(torch.relu(self.norm(self.conv(x)))).mean((2, 3))
        return self.second(torch.tanh(self.first(y))) * self.scalar + self.passing[self.large].sum()


@pytest.fixture
def mixed():
    module = networks.randomise(Mixed())
    module.norm.num_batches_tracked += 7
    return module, migrate(module, (torch.zeros(2, *SHAPE),))


def assert_equal_states(state, expected):
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype, name
        assert torch.equal(state[name], tensor), name


def test_round_trip_is_exact(mixed):
    module, port = mixed
    state = to_state_dict(port, port.variables)
    assert_equal_states(state, module.state_dict())
    assert state["first.weight"] is state["second.weight"]
    assert_equal_states(to_state_dict(port.graph, port.variables), module.state_dict())
    other = networks.randomise(Mixed())
    other.passing.copy_(module.passing)
    other.load_state_dict(state)
    x = torch.from_numpy(networks.examples(SHAPE))
    assert torch.equal(other(x), module(x))


def test_the_state_is_a_copy(mixed):
    _, port = mixed
    before = np.array(port.variables["params"]["first"]["kernel"])
    to_state_dict(port, port.variables)["first.weight"].zero_()
    np.testing.assert_array_equal(port.variables["params"]["first"]["kernel"], before)


def test_a_model_trained_in_jax_goes_back(tmp_path):
    module, x = networks.cnn(), networks.examples((1, 8, 8))
    port = migrate(module, (torch.zeros(2, 1, 8, 8),))
    verify(module, port, x)
    port = load(save(port, tmp_path / "port"))
    rest = {name: value for name, value in port.variables.items() if name != "params"}
    params = port.variables["params"]

    def loss(params):
        return jnp.square(port.apply_fn({**rest, "params": params}, x) - 1).mean()

    params = jax.tree.map(lambda a, g: a - 0.01 * g, params, jax.grad(loss)(params))
    trained = copy.deepcopy(module)
    trained.load_state_dict(to_state_dict(port, {**rest, "params": params}))
    assert not torch.equal(trained[0].weight, module[0].weight)
    again = migrate(trained, (torch.zeros(2, 1, 8, 8),))
    assert again.apply_fn is port.apply_fn
    for leaf, expected in zip(jax.tree.leaves(again.variables["params"]), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    y = trained(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(port.apply_fn({**rest, "params": params}, x), y, atol=1e-5)


def without(variables, *path):
    level = {**variables}
    if len(path) == 1:
        del level[path[0]]
    else:
        level[path[0]] = without(level[path[0]], *path[1:])
    return level


def replaced(variables, value, *path):
    return value if not path else {**variables, path[0]: replaced(variables.get(path[0], {}), value, *path[1:])}


KERNEL = ("params", "first", "kernel")
REFUSED = {
    "a tensor is missing": (lambda v: without(v, *KERNEL), errors.StateDictMismatch, "missing: params/first.kernel"),
    "a collection is missing": (
        lambda v: without(v, "batch_stats"),
        errors.StateDictMismatch,
        "missing: batch_stats/norm.mean, batch_stats/norm.var",
    ),
    "an unknown tensor": (
        lambda v: replaced(v, jnp.ones(3), "params", "head", "bias"),
        errors.StateDictMismatch,
        "unknown: params/head.bias",
    ),
    "a transposed tensor": (
        lambda v: replaced(v, v["params"]["conv"]["kernel"].T, "params", "conv", "kernel"),
        errors.StateDictMismatch,
        r"params/conv.kernel is \[4, 3, 3, 3\], expected \[3, 3, 3, 4\]",
    ),
    "a number for a tensor": (lambda v: replaced(v, 1.0, *KERNEL), errors.StateDictMismatch, "kernel is float"),
    "digits that float32 lacks": (
        lambda v: replaced(v, np.full((6, 6), 1 / 3), *KERNEL),
        errors.PrecisionLoss,
        "params/first.kernel is float64",
    ),
    "fractions of a counter": (
        lambda v: replaced(v, np.float32(1.5), "buffers", "norm", "num_batches_tracked"),
        errors.PrecisionLoss,
        "int64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(mixed, name):
    change, kind, message = REFUSED[name]
    _, port = mixed
    with pytest.raises(kind, match=message):
        to_state_dict(port, change(port.variables))


def test_exact_numbers_of_another_type_are_taken(mixed):
    module, port = mixed
    double = {**port.variables, "params": jax.tree.map(lambda a: np.asarray(a, np.float64), port.variables["params"])}
    assert_equal_states(to_state_dict(port, double), module.state_dict())
