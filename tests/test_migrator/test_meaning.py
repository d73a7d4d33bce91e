"""Equal outputs are not enough: tied, frozen and detached weights must give torch's tangent kernel too."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
import torch
from torch import nn

from migrator import PortMismatch, migrate, verify
from migrator.decode import from_json
from migrator.graph import to_json
from migrator.module import apply_function
from migrator.ops import RULES

SHAPE = (6,)


def ported(module):
    return migrate(module, (torch.zeros(2, *SHAPE),))


def passes(module):
    migrated = ported(module)
    verify(module, migrated, networks.examples(SHAPE))
    return migrated


def test_tied_weights_are_one_parameter():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    migrated = passes(Tied().eval())
    assert migrated.report.parameters == 36 + 12
    assert migrated.report.key_map["first.weight"] == migrated.report.key_map["second.weight"] == "params/first.kernel"


def test_a_layer_that_is_called_three_times():
    class Thrice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(torch.relu(self.layer(torch.relu(self.layer(x)))))

    assert passes(Thrice().eval()).report.parameters == 42


def test_a_weight_in_two_roles_keeps_torchs_layout():
    class TwoRoles(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6))

        def forward(self, x):
            y = nn.functional.linear(x, self.weight).reshape(-1, 6, 1, 1)
            return nn.functional.conv2d(y, self.weight[:, :, None, None]).flatten(1) @ self.weight

    passes(TwoRoles().eval())


def test_frozen_layers_are_not_in_params():
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    module[0].requires_grad_(False)
    migrated = passes(module)
    assert set(migrated.variables["params"]) == {"2"}
    assert set(migrated.variables["frozen"]) == {"0"}


def test_unused_parameters_are_kept_with_zero_gradient():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            return self.used(x)

    assert passes(Unused().eval()).report.parameters == 42


@pytest.mark.parametrize("nested", [False, True])
def test_no_grad_blocks_stop_the_gradient(nested):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.outside = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            with torch.no_grad():
                y = self.inside(x)
                if nested:
                    with torch.enable_grad():
                        y = self.inside(y)
            return self.outside(x) * y + x

    migrated = passes(Frozen().eval())
    assert any(node.op == "aten.detach.default" for node in migrated.graph.nodes)


def test_hooks_run():
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh()).eval()
    module[0].register_forward_hook(lambda layer, inputs, output: output * 2)
    passes(module)


def test_weight_norm_stays_two_parameters():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))).eval()
    migrated = passes(module)
    assert migrated.report.parameters == sum(p.numel() for p in module.parameters())


def test_constants_and_buffers_are_not_differentiated():
    class Buffered(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)
            self.register_buffer("kept", torch.randn(6))
            self.register_buffer("passing", torch.randn(6), persistent=False)
            self.constant = torch.randn(6)

        def forward(self, x):
            return self.layer(x) * self.kept + self.passing * self.constant

    migrated = passes(Buffered().eval())
    assert set(migrated.variables["params"]) == {"layer"}
    assert {b.key: b.persistent for b in migrated.graph.bindings if b.collection == "buffers" and b.key} == {
        "kept": True,
        "passing": False,
    }


def perturb(variables, collection, change):
    return {**variables, collection: jax.tree.map(change, variables[collection])}


def test_a_perturbed_weight_fails_by_name():
    module = networks.mlp()
    migrated = migrate(module, (torch.zeros(2, 1, 8, 8),))
    migrated.variables = perturb(migrated.variables, "params", lambda a: a.at[(0,) * a.ndim].multiply(1 + 1e-6))
    with pytest.raises(PortMismatch, match=r"value of 1\.weight"):
        verify(module, migrated, networks.examples((1, 8, 8)))


def test_other_weights_in_the_module_fail():
    migrated = migrate(networks.mlp(), (torch.zeros(2, 1, 8, 8),))
    with pytest.raises(PortMismatch, match="migrate again"):
        verify(networks.mlp(), migrated, networks.examples((1, 8, 8)))


def damaged(migrated, op, change):
    """The port with the first node of an operator changed in its JSON form."""
    data = to_json(migrated.graph)
    change(next(node for node in data["nodes"] if node["op"] == op))
    graph = from_json(data)
    return dataclasses.replace(migrated, graph=graph, apply_fn=apply_function(graph))


def test_a_wrong_operator_fails_in_the_output_and_is_named():
    module = networks.wide_resnet()
    migrated = migrate(module, (torch.zeros(2, 1, 8, 8),))

    def looser(node):
        node["args"][-1] = 1e-3

    broken = damaged(migrated, "aten._native_batch_norm_legit_no_training.default", looser)
    with pytest.raises(PortMismatch, match="float64 output, batch of 5"):
        verify(module, broken, networks.examples((1, 8, 8)))


def test_a_wrong_rule_is_named_with_its_module(monkeypatch):
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    wrong = dataclasses.replace(RULES["aten.tanh.default"], apply=lambda x: jnp.tanh(x) * (1 + 1e-7))
    monkeypatch.setitem(RULES, "aten.tanh.default", wrong)
    with pytest.raises(PortMismatch, match=r"first different at tanh#1 \(aten.tanh.default\) in 1 at activation.py"):
        verify(module, ported(module), networks.examples(SHAPE))


def test_a_missing_detach_has_equal_outputs_and_fails_in_the_gradient():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            y = self.layer(x)
            return y * y.detach()

    module = Detached().eval()

    def passed_through(node):
        node["op"] = "aten.clone.default"

    broken = damaged(ported(module), "aten.detach.default", passed_through)
    with pytest.raises(PortMismatch, match="gradient of each parameter"):
        verify(module, broken, networks.examples(SHAPE))


def test_single_examples_and_batches_agree_under_transformations(x64):
    module = networks.cnn().double()
    migrated = migrate(module, (torch.zeros(2, 1, 8, 8, dtype=torch.float64),))
    x = jnp.asarray(networks.examples((1, 8, 8)), jnp.float64)
    batched = migrated.apply_fn(migrated.variables, x)
    single = jax.vmap(lambda row: migrated.apply_fn(migrated.variables, row[None])[0])(x)
    np.testing.assert_allclose(single, batched, rtol=1e-12, atol=1e-12)
