"""One table over all operator families: forward, gradient and kernel of each case against torch."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from migrator import migrate
from migrator.weights import get, to_torch_order

FAST = {"xla_backend_optimization_level": 0}  # half the time to compile; what is computed stays the same

LAYERS = {
    "conv strided, padded": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "conv uneven": lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
    "conv dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2, bias=False),
    "conv grouped": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "conv same": lambda: nn.Conv2d(3, 4, 4, padding="same"),
    "conv valid": lambda: nn.Conv2d(3, 4, 3, padding="valid"),
    "conv transposed": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "conv transposed grouped": lambda: nn.ConvTranspose2d(3, 6, 3, groups=3, dilation=2),
    "conv 1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5, stride=3, padding=2)),
    "conv 3d": lambda: nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 2, (1, 3, 3), padding=(0, 1, 1))),
    "linear on images": lambda: nn.Linear(7, 4),
    "linear without bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(147, 4, bias=False)),
    "batch norm": lambda: networks.randomise(nn.BatchNorm2d(3)),
    "batch norm, not affine": lambda: nn.BatchNorm2d(3, affine=False),
    "batch norm 1d": lambda: nn.Sequential(nn.Flatten(2), networks.randomise(nn.BatchNorm1d(3))),
    "group norm": lambda: nn.GroupNorm(3, 3),
    "layer norm": lambda: nn.LayerNorm((7, 7)),
    "prelu": lambda: nn.PReLU(3),
    "transformer": lambda: nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(49, 7, 8, batch_first=True)),
    "instance norm, learned": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "flatten after conv": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(100, 5)),
    "bilinear tail": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(2), nn.Linear(25, 3)),
}

FUNCTIONS = {
    "max pool": lambda x: F.max_pool2d(x, 2),
    "max pool padded": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "max pool ceil": lambda x: F.max_pool2d(x, 2, stride=2, ceil_mode=True),
    "max pool ceil, last window in padding": lambda x: F.max_pool2d(x, 2, stride=3, padding=1, ceil_mode=True),
    "max pool dilated": lambda x: F.max_pool2d(x, 2, stride=1, dilation=3),
    "max pool 1d": lambda x: F.max_pool1d(x.flatten(2), 3),
    "avg pool": lambda x: F.avg_pool2d(x, 2),
    "avg pool padded": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
    "avg pool padded, not counted": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "avg pool ceil": lambda x: F.avg_pool2d(x, 3, stride=3, padding=1, ceil_mode=True),
    "avg pool divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive avg pool to 1": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive avg pool uneven": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive avg pool larger": lambda x: F.adaptive_avg_pool2d(x, 9),
    "relu": torch.relu,
    "relu in place on a reused tensor": lambda x: F.relu(y := x * 2, inplace=True) + y,
    "relu6": lambda x: F.relu6(5 * x),
    "hardtanh": F.hardtanh,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "leaky relu": lambda x: F.leaky_relu(x, 0.1),
    "elu": F.elu,
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.5),  # torch rounds 1 / alpha to float32 in the derivative, so one that is exact
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": lambda x: F.softplus(x, beta=2.0, threshold=3.0),
    "hardswish": lambda x: F.hardswish(3 * x),
    "hardsigmoid": lambda x: F.hardsigmoid(3 * x),
    "log sigmoid": F.logsigmoid,
    "abs": torch.abs,
    "threshold": lambda x: F.threshold(x, 0.2, -1.0),
    "sigmoid, tanh, exp": lambda x: torch.sigmoid(x) * torch.tanh(x) + torch.exp(x),
    "power and root": lambda x: (x**2 + 1).sqrt() + (x.abs() + 1).rsqrt() + (x.abs() + 1).log(),
    "arithmetic": lambda x: (2 - x) / (x * x + 1) - 3 * x,
    "where": lambda x: torch.where(x > 0, x * x, -x),
    "masked fill": lambda x: x.masked_fill(x < 0, 0.5),
    "maximum": lambda x: torch.maximum(x, 0.3 - x),
    "softmax": lambda x: F.softmax(x, 1),
    "log softmax": lambda x: F.log_softmax(x, 1),
    "mean over space": lambda x: x.mean((2, 3)),
    "sum, kept": lambda x: x / (1 + x.sum((2, 3), keepdim=True) ** 2),
    "amax": lambda x: x.amax((2, 3)),
    "variance": lambda x: x.var((2, 3)),
    "concatenated": lambda x: torch.cat([x, 2 * x, x * x], 1),
    "stacked": lambda x: torch.stack([x, x * x], 2),
    "chunks": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "split": lambda x: x.split([1, 2], 1)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "sliced": lambda x: x[:, 1:, ::2, 3],
    "padded": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "cropped": lambda x: F.pad(x, (-1, -2, 0, 1)),
    "permuted": lambda x: x.permute(0, 2, 3, 1).transpose(1, 2),
    "reshaped by batch": lambda x: x.reshape(x.shape[0], -1),
    "flipped": lambda x: x.flip(2),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "einsum": lambda x: torch.einsum("nchw, ndhw -> ncd", x, x),
    "unsqueezed": lambda x: x.unsqueeze(1).squeeze(1),
    "max pool with indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive max pool": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "instance norm": F.instance_norm,
    "normalised": lambda x: F.normalize(x, dim=1),
    "maximum along an axis": lambda x: x.max(1)[0] * x.min(1)[0],
    "running sum, product": lambda x: x.cumsum(2) + x.prod(1, keepdim=True),
    "attention": lambda x: F.scaled_dot_product_attention(x, 2 * x, x * x),
    "attention, causal": lambda x: F.scaled_dot_product_attention(x, 2 * x, x * x, is_causal=True),
    "attention, masked": lambda x: F.scaled_dot_product_attention(x, x, x, torch.ones(7, 7).tril(1) > 0),
    "rolled": lambda x: x.roll((1, 2), (2, 3)),
    "indexed": lambda x: x[:, [2, 0]],
    "pad reflected": lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"),
    "pad replicated": lambda x: F.pad(x, (1, 2, 1, 0), mode="replicate"),
    "pad circular": lambda x: F.pad(x, (1, 2, 1, 0), mode="circular"),
    "resized to nearest": lambda x: F.interpolate(x, scale_factor=2),
    "resized bilinearly": lambda x: F.interpolate(x, size=(10, 5), mode="bilinear"),
    "resized with corners": lambda x: F.interpolate(x, size=(10, 5), mode="bilinear", align_corners=True),
    "detached": lambda x: x * x.detach(),
}


def per_example(module, x, weights):
    """Outputs and gradients of `sum(weights * output)` for each example, by torch's autograd."""
    outputs, rows = [], []
    for i in range(len(x)):
        y = module(torch.from_numpy(x[i : i + 1]))
        gradients = torch.autograd.grad((y * torch.from_numpy(weights[i])).sum(), list(module.parameters()))
        outputs.append(y.detach().numpy()[0])
        rows.append({name: g.numpy() for (name, _), g in zip(module.named_parameters(), gradients, strict=True)})
    return np.stack(outputs), {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def check(module, x):
    """Outputs, and per-example gradients of every parameter, in float64 against torch."""
    module = module.double().eval()
    with jax.enable_x64(True):
        migrated = migrate(module, (torch.zeros(2, *x.shape[1:], dtype=torch.float64),))
        params = migrated.variables["params"]
        rest = {name: value for name, value in migrated.variables.items() if name != "params"}
        with torch.no_grad():
            shape = module(torch.from_numpy(x)).shape
        weights = np.random.default_rng(1).normal(size=shape)

        def weighted(params, row, weight):
            y = migrated.apply_fn({**rest, "params": params}, row[None])[0]
            return jnp.sum(y * weight), y

        derivative = jax.vmap(jax.grad(weighted, has_aux=True), (None, 0, 0))
        gradients, outputs = jax.jit(derivative, compiler_options=FAST)(params, x, weights)
    expected_outputs, expected = per_example(module, x, weights)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-9, atol=1e-9 * np.abs(expected_outputs).max())
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for binding in migrated.graph.bindings:
        if binding.collection == "params":
            found = np.stack([to_torch_order(binding, row) for row in get({"params": gradients}, binding)])
            truth = expected[binding.key]
            np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9 * largest)
    return migrated


def images():
    return networks.examples((3, 7, 7), 3).astype(np.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    check(networks.Forward(nn.Identity(), layer=LAYERS[name]()), images())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    check(networks.Forward(FUNCTIONS[name]), images())


KINKS = {
    "relu": (torch.relu, [0.0]),
    "relu6": (F.relu6, [0.0, 6.0]),
    "hardtanh": (F.hardtanh, [-1.0, 1.0]),
    "clamp": (lambda x: x.clamp(-1, 1), [-1.0, 1.0]),
    "clamp from below": (lambda x: x.clamp(min=1), [1.0]),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.1), [0.0]),
    "abs": (torch.abs, [0.0]),
    "elu": (lambda x: F.elu(x, 0.5), [0.0]),
    "selu": (F.selu, [0.0]),
    "celu": (lambda x: F.celu(x, 0.5), [0.0]),
    "softplus": (lambda x: F.softplus(x, 1.0, 2.0), [2.0]),
    "hardswish": (F.hardswish, [-3.0, 3.0]),
    "hardsigmoid": (F.hardsigmoid, [-3.0, 3.0]),
    "threshold": (lambda x: F.threshold(x, 1.0, 0.5), [1.0]),
    "maximum": (lambda x: torch.maximum(x, 2 - x), [1.0]),
    "norm": (lambda x: x.norm(dim=1), [0.0]),
    "norm, order 1": (lambda x: x.norm(p=1, dim=1), [0.0]),
    "amax of equals": (lambda x: x.amax((2, 3)), [1.0]),
    "max pool of equals": (lambda x: F.max_pool2d(x, 2), [1.0]),
    "prelu": (lambda x: F.prelu(x, torch.full((3,), 0.25, dtype=x.dtype)), [0.0]),
}


@pytest.mark.parametrize("name", KINKS)
def test_derivative_at_a_kink_is_torchs(name):
    function, places = KINKS[name]
    module = networks.Forward(function)
    module.scale.data.fill_(1.0)
    check(module, np.ones((len(places), 3, 4, 4)) * np.array(places)[:, None, None, None])
