"""Where a function has a kink or a tie: the derivative that torch chose."""

import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from against_torch import check, places

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
    "norm, order -inf": (lambda x: torch.linalg.vector_norm(x, -torch.inf, 1), [0.0, 1.0]),
    "norm, order inf": (lambda x: torch.linalg.vector_norm(x, torch.inf, 1), [0.0, 1.0]),
    "norm, order 0": (lambda x: torch.linalg.vector_norm(x, 0, 1) + x[:, 0], [0.0]),
    "norm, order 1 / 2": (lambda x: torch.linalg.vector_norm(x * torch.arange(3).view(3, 1, 1), 0.5, 1), [0.0, 1.0]),
    "deviation of equals": (lambda x: x.std((2, 3)) + x[:, :, 0, 0], [0.0, 1.0]),
    "extremes of equals": (lambda x: x * x.max() + x.min(), [0.0, 1.0]),
    "median of equals": (lambda x: x * x.median(), [1.0]),
    "sinc": (torch.sinc, [0.0]),
    "x log y": (lambda x: torch.xlogy(x, 2.0) + torch.xlogy(x, 0 * x.detach()) + torch.special.xlog1py(x, x), [0.0]),
    "copysign": (lambda x: x.copysign(1 - x), [0.0]),
    "angle, absolute value": (
        lambda x: torch.complex(x, x).angle() + torch.complex(x, x).abs() + x.angle(),
        [0.0, 1.0],
    ),
    "sign of complex numbers": (lambda x: torch.complex(x, -x).sgn().real + x, [0.0]),
    "atan2": (lambda x: torch.atan2(x, x), [0.0]),
    "zero to the zero": (lambda x: x ** x.detach() + x.detach() ** x, [0.0, 1.0]),
    "bessel function": (torch.i0, [0.0]),
    "fmax, fmin": (lambda x: torch.fmax(x, 2 - x) + 3 * torch.fmin(2 - x, x), [1.0]),
    "distances of equals": (lambda x: torch.cdist(x, x) + torch.cdist(x, x * x, p=1.0) + x, [1.0]),
    "scattered equals": (lambda x: x.scatter_reduce(2, places(x)[..., :4], (x * x)[:, :2, :3], "amax"), [0.0, 1.0]),
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
