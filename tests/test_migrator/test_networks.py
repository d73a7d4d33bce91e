"""The project's kinds of networks: parity in float64, gradients, tangent kernels, and one function for all weights."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
import torch

from migrator import migrate, verify

EXACT = 1e-9


def port(name):
    build, shape = networks.NETWORKS[name]
    module = build()
    return module, migrate(module, (torch.zeros(2, *shape),)), networks.examples(shape)


def doubled(variables):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, variables)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_verification_passes(name):
    module, migrated, x = port(name)
    report = verify(module, migrated, x)
    assert report.verified
    assert migrated.report is report
    assert report.parameters == sum(p.numel() for p in module.parameters())
    assert set(report.key_map) == set(module.state_dict())


@pytest.mark.parametrize("name", ["cnn", "wide_resnet"])
def test_forward_and_kernel_by_an_independent_comparison(name, x64):
    module, migrated, x = port(name)
    module, variables = module.double(), doubled(migrated.variables)
    x = x.astype(np.float64)
    for batch in (1, 2, 5):
        truth = module(torch.from_numpy(x[:batch])).detach().numpy()
        np.testing.assert_allclose(migrated.apply_fn(variables, x[:batch]), truth, rtol=EXACT, atol=EXACT)

    def logits_sum(params, row):
        return migrated.apply_fn({**variables, "params": params}, row[None]).sum()

    rows = jax.vmap(jax.grad(logits_sum), (None, 0))(variables["params"], x[:3])
    jacobian = np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(rows)], axis=1)
    expected = []
    for row in x[:3]:
        value = module(torch.from_numpy(row[None])).sum()
        expected.append(torch.cat([g.ravel() for g in torch.autograd.grad(value, list(module.parameters()))]).numpy())
    kernel = np.stack(expected) @ np.stack(expected).T
    np.testing.assert_allclose(jacobian @ jacobian.T, kernel, rtol=EXACT, atol=EXACT * np.abs(kernel).max())


def test_weights_keep_torch_names_in_flax_layouts():
    module, migrated, _ = port("cnn")
    params, statistics = migrated.variables["params"], migrated.variables["batch_stats"]
    assert params["0"]["kernel"].shape == (3, 3, 1, 8)
    assert params["7"]["kernel"].shape == (192, 10)
    assert set(params["4"]) == {"scale", "bias"}
    np.testing.assert_array_equal(statistics["4"]["mean"], module[4].running_mean)
    np.testing.assert_array_equal(statistics["4"]["var"], module[4].running_var)


def test_the_same_network_with_new_weights_reuses_function_and_compiled_code():
    _, first, x = port("cnn")
    first.apply_fn(first.variables, x)
    compiled = first.apply_fn._cache_size()
    torch.manual_seed(1)
    module, second, _ = port("cnn")
    assert second.apply_fn is first.apply_fn
    y = second.apply_fn(second.variables, x)
    assert first.apply_fn._cache_size() == compiled
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_other_networks_have_other_functions():
    assert port("mlp")[1].apply_fn is not port("cnn")[1].apply_fn


def test_training_the_module_later_does_not_change_the_port():
    module, migrated, x = port("mlp")
    before = np.array(migrated.apply_fn(migrated.variables, x))
    with torch.no_grad():
        for value in module.parameters():
            value.mul_(2)
    np.testing.assert_array_equal(migrated.apply_fn(migrated.variables, x), before)


def test_running_statistics_and_buffers_are_not_parameters():
    _, migrated, _ = port("wide_resnet")
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(migrated.variables["params"])}
    assert names == {"kernel", "scale", "bias"}


def test_a_wrong_input_shape_is_refused():
    _, migrated, x = port("cnn")
    with pytest.raises(ValueError, match=r"expected shape \[N, 1, 8, 8\]"):
        migrated.apply_fn(migrated.variables, x.transpose(0, 2, 3, 1))
