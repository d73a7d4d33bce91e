"""A port takes new weights without being recorded again, and is then what `migrate` would have made of them."""

import copy

import jax
import numpy as np
import pytest
import torch
from test_to_torch import SHAPE, Mixed

from migrator import errors, migrate, refresh, verify


class Doubled(Mixed):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Mixed().eval()


@pytest.fixture(scope="module")
def port(module):
    return migrate(module, torch.zeros(2, *SHAPE))


@pytest.fixture
def other(module):
    changed = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in [*changed.parameters(), *changed.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1.25)
    return changed


def test_equals_a_fresh_port_bit_for_bit_and_compiles_nothing_new(port, other):
    before = jax.tree.map(np.array, port.variables)
    fresh, refreshed = migrate(other, torch.zeros(2, *SHAPE)), refresh(port, other)
    jax.tree.map(np.testing.assert_array_equal, refreshed.variables, fresh.variables)
    assert refreshed.graph.digest == fresh.graph.digest
    assert refreshed.apply_fn is port.apply_fn
    assert not refreshed.report.verified
    jax.tree.map(np.testing.assert_array_equal, port.variables, before)  # the old port stands
    images = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
    assert verify(other, refreshed, images).verified


def test_another_forward_pass_is_found_by_verify(port, other):
    other.__class__ = Doubled
    images = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
    with pytest.raises(errors.PortMismatch):
        verify(other, refresh(port, other), images)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: setattr(m, "conv", torch.nn.Conv2d(3, 4, 1, bias=False)),
            r"conv.weight: .*\[4, 3, 3, 3\], .*1, 1\]",
        ),
        (lambda m: delattr(m, "up"), "up.weight: the port has .* the module none"),
        (lambda m: setattr(m.second, "weight", torch.nn.Parameter(m.first.weight.data.clone())), "is tied in the port"),
        (lambda m: m.conv.weight.requires_grad_(False), "conv.weight is trainable in one"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(port, other, change, said):
    change(other.eval())
    with pytest.raises(errors.StateDictMismatch, match=said):
        refresh(port, other.eval())


def test_weights_that_are_no_numbers_are_refused(port, other):
    with torch.no_grad():
        other.conv.weight[0] = torch.nan
    with pytest.raises(errors.CorruptWeights):
        refresh(port, other)
