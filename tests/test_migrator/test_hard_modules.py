"""Modules that break converters, each ported, verified, saved, loaded, and written as source."""

import math
import warnings

import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from migrator import load, migrate, save, to_state_dict, verify
from migrator.source import check_source, to_source


class After(nn.Module):
    """A function of a linear layer's output."""

    def __init__(self, function, **parts):
        super().__init__()
        self.layer, self.function = nn.Linear(6, 6), function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self.layer(x), self)


class Masks(nn.Module):
    """-inf in a buffer and in a plain attribute, as in attention."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.register_buffer("mask", torch.triu(torch.full((6, 6), -math.inf), 1))
        self.other = torch.triu(torch.full((6, 6), -math.inf), 2)

    def forward(self, x):
        y = self.layer(x)
        return (y[:, :, None] * y[:, None, :] + self.mask + self.other).softmax(-1).sum(1) * y


class Clashes(nn.Module):
    """Names that are also names in Flax, or of constants."""

    def __init__(self):
        super().__init__()
        self.weight, self.params = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6))
        self.kernel, self.scale, self.constants, self.a = (nn.Linear(6, 6) for _ in range(4))
        self.a.b, self.a_b = torch.randn(6), torch.randn(6)

    def forward(self, x):
        y = self.a(self.constants(self.scale(self.kernel(x)))) * self.a.b + self.a_b
        return F.linear(y, self.weight) * self.params * torch.tensor([1.0, 2, 3, 4, 5, 6])


class Nested(nn.Module):
    """A dictionary of tensors, tuples, nothing, and whole numbers."""

    def __init__(self):
        super().__init__()
        self.layer, self.table = nn.Linear(6, 6), nn.Embedding(6, 6, sparse=True)

    def forward(self, x):
        places = x.argmax(1)
        return {"z": self.layer(x), "a": (self.table(places), None), "places": places}


class Variadic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, *inputs):
        return self.layer(inputs[0])


def llama_norm(y, _):
    wide = y.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(y)


def own_tensor_in_no_grad(y, _):
    with torch.no_grad():
        scaled = y * 2
        scaled += 1
    return scaled * y


def zero(y, _):
    return F.kl_div(y.log_softmax(1), y.softmax(1), reduction="none").sum(1)


def autocast_off(y, _):
    with torch.autocast("cpu", enabled=False):
        return y * 2


def old_spectral_norm():
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 6)), nn.Tanh())


def old_weight_norm():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 6)), nn.Tanh())


class Experts(nn.Module):
    """The two best of three experts, gated."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 3), nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        best, places = weights.topk(2, -1)
        gates = torch.zeros_like(weights).scatter(1, places, best)
        return sum(gates[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class SpatialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.where, self.conv = nn.Linear(3 * 8 * 8, 6), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        theta = 0.1 * self.where(x.flatten(1)).view(-1, 2, 3) + torch.tensor([[1.0, 0, 0], [0, 1, 0]])
        grid = F.affine_grid(theta, x.shape, align_corners=False)
        return self.conv(F.grid_sample(x, grid, align_corners=False)).mean((2, 3))


class Unpooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        spread = F.max_unpool2d(*self.pool(self.conv(x)), 2)
        return (spread * torch.arange(64.0).view(8, 8)).mean((2, 3))  # where each value goes matters


class ComplexRotation(nn.Module):
    """Rotary position embedding as a complex buffer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 8)
        angles = torch.outer(torch.arange(2.0), torch.tensor([1.0, 0.01]))
        self.register_buffer("turn", torch.polar(torch.ones(2, 2), angles), persistent=False)

    def forward(self, x):
        return torch.view_as_real(torch.view_as_complex(self.layer(x).view(-1, 2, 2, 2)) * self.turn).flatten(1)


class FirstToken(nn.Module):
    """A token before those of an image: of one example alone, torch's batch norm gives a wrong gradient (2.15, CPU)."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 3)
        nn.init.uniform_(self.norm.weight, 0.5, 2)

    def forward(self, x):
        y = self.norm(self.first(x)).flatten(2).permute(0, 2, 1)
        return self.last(torch.cat((y[:, :1].detach(), y), 1)).tanh().flatten(1)


class Decoder(nn.Module):
    """Torch's own, which looks whether its mask is the causal one."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.decoder, self.queries = nn.TransformerDecoder(layer, 1), nn.Parameter(torch.randn(1, 3, 8))
        self.embed = nn.Linear(6, 8)

    def forward(self, x):
        queries = self.queries.expand(x.shape[0], -1, -1)
        return self.decoder(queries, self.embed(x)[:, None], tgt_mask=self.mask).flatten(1)


def written_to(y, _):
    z = torch.zeros_like(y)
    z[:, [0, 2]] = y[:, :2]
    z[:, 1] += y[:, 3]
    z[..., ::2] *= 2
    return z + y


IMAGES = {"spatial transformer": SpatialTransformer, "unpooled": Unpooled, "first token": FirstToken}

MODULES = {
    "experts": Experts,
    "rotation by complex numbers": ComplexRotation,
    "transformer decoder": lambda: Decoder(nn.Transformer.generate_square_subsequent_mask(3)),
    "transformer decoder, mask of its own": lambda: Decoder(torch.eye(3).fliplr() > 0),
    "written to by index": lambda: After(written_to),
    "distance to prototypes": lambda: After(lambda y, m: torch.cdist(y, m.p), p=nn.Parameter(torch.randn(5, 6))),
    "fourier transform": lambda: After(lambda y, _: torch.fft.fft2(y.view(-1, 2, 3)).real.flatten(1)),
    "product of matrices": lambda: After(lambda y, m: torch.linalg.multi_dot([y, m.layer.weight, m.layer.weight])),
    "taken along an axis": lambda: After(lambda y, _: torch.take_along_dim(y, y.argsort(1), 1)),
    "taken, broadcast": lambda: After(lambda y, _: y[:, :, None].take_along_dim(torch.tensor([[[2], [0]]]), 1)),
    "kronecker product": lambda: After(lambda y, m: torch.kron(y, m.layer.weight[:2])[: 2 * y.shape[0] : 2]),
    "RMS norm with its default epsilon": lambda: After(lambda y, m: m.norm(y), norm=nn.RMSNorm(6)),
    "functional RMS norm": lambda: After(lambda y, _: F.rms_norm(y, (6,))),
    "epsilon of the type": lambda: After(lambda y, _: y / (y.norm(dim=1, keepdim=True) + torch.finfo(y.dtype).eps)),
    "norm in float32": lambda: After(llama_norm),
    "softmax in float32": lambda: After(lambda y, _: F.softmax(y, -1, dtype=torch.float32) * y),
    "sinusoid": lambda: After(lambda y, _: y * torch.sin(torch.arange(6).float() / 8)),
    "linspace": lambda: After(lambda y, _: y * torch.linspace(0, 1, 6)),
    "filled with 0.1": lambda: After(lambda y, _: y + torch.full((6,), 0.1)),
    "division of whole numbers": lambda: After(lambda y, _: y * (torch.arange(6) / 7)),
    "constant 0.1": lambda: After(lambda y, _: y * torch.tensor([0.1]) + y.new_tensor([0.1])),
    "one-hot": lambda: After(lambda y, _: y @ F.one_hot(torch.arange(6) % 3, 6).float()),
    "default type": lambda: After(lambda y, _: y + torch.ones(6, dtype=torch.get_default_dtype()) / 3),
    "a parameter of no consequence": lambda: After(
        lambda y, m: (y + m.shift).softmax(-1), shift=nn.Parameter(torch.ones(()))
    ),
    "no gradient at all": lambda: After(lambda y, _: y * 0 + 1),
    "an output that is zero": lambda: After(
        lambda y, _: F.kl_div(y.log_softmax(1), y.softmax(1), reduction="none").sum(1)
    ),
    "masked logits": lambda: After(lambda y, _: y.masked_fill(torch.arange(6) > 3, -math.inf)),
    "complex output": lambda: After(lambda y, _: (y, torch.fft.fft(y))),
    "only a whole number": lambda: After(lambda y, _: y.argmax(1)),
    "several outputs": lambda: After(lambda y, _: (y, y.argmax(1), [y.exp()])),
    "no_grad around a tensor of its own": lambda: After(own_tensor_in_no_grad),
    "autocast turned off": lambda: After(autocast_off),
    "data parallel": lambda: nn.DataParallel(nn.Linear(6, 6)),
    "compiled": lambda: torch.compile(nn.Linear(6, 6)),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(nn.Linear(6, 6)),
    "old spectral norm": old_spectral_norm,
    "old weight norm": old_weight_norm,
    "pruned": lambda: nn.Sequential(prune.l1_unstructured(nn.Linear(6, 6), "weight", 0.5)),
    "masks": Masks,
    "names that clash": Clashes,
    "nested outputs": Nested,
    "any number of inputs": Variadic,
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*TorchScript.*:DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", [*MODULES, *IMAGES])
def test_module_is_ported_whole(name, tmp_path):
    torch.manual_seed(0)
    shape = (3, 8, 8) if name in IMAGES else (6,)
    module, x = (MODULES | IMAGES)[name]().eval(), networks.examples(shape)
    port = migrate(module, torch.zeros(2, *shape))
    assert verify(module, port, x, ntk_examples=2).proven
    save(port, tmp_path / "port")
    again = load(tmp_path / "port")
    check_source(again, to_source(again))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = getattr(module, "_orig_mod", getattr(module, "module", module))
        inner.load_state_dict(to_state_dict(again, again.variables))


def test_several_inputs():
    module, rng = networks.TwoInputs().eval(), np.random.default_rng(0)
    examples = rng.integers(0, 7, (6, 5)), rng.standard_normal((6, 5)).astype(np.float32)
    port = migrate(module, tuple(torch.from_numpy(value[:2]) for value in examples))
    verify(module, port, examples)
    y = port.apply_fn(port.variables, *examples)
    truth = module(*map(torch.from_numpy, examples))
    assert set(y) == set(truth)
    assert y["parts"][1] is None
    np.testing.assert_allclose(y["sum"], truth["sum"].detach(), atol=1e-6)
    np.testing.assert_array_equal(y["first"], truth["first"])
