"""Modules as users write them, each ported and verified: outputs, per-parameter gradients and tangent kernel."""

import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from migrator import migrate, to_source, verify
from migrator.source import check_source


class UNet(nn.Module):
    """Encoder and decoder with a skip at each level, joined channels, and both ways of growing."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = self.block(3, 4), self.block(4, 6)
        self.bottom = self.block(6, 8)
        self.up2, self.join2 = nn.ConvTranspose2d(8, 6, 2, stride=2), self.block(12, 6)
        self.join1, self.head = self.block(10, 4), nn.Conv2d(4, 2, 1)

    @staticmethod
    def block(c_in, c_out):
        return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(2, c_out), nn.ReLU(inplace=True))

    def forward(self, x):
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        y = self.bottom(F.avg_pool2d(two, 2))
        y = self.join2(torch.cat([self.up2(y), two], 1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(self.join1(torch.cat([y, one], 1))).mean((2, 3))


class GPT(nn.Module):
    """Token and position embeddings, a causal pre-norm block with its mask as a buffer, and a tied head."""

    def __init__(self, words=11, width=8, heads=2, length=6):
        super().__init__()
        self.heads = heads
        self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.tokens.weight
        self.register_buffer("mask", torch.tril(torch.ones(length, length)), persistent=False)

    def attend(self, x):
        n, length, width = x.shape
        q, k, v = (t.view(n, length, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5
        scores = scores.masked_fill(self.mask[:length, :length] == 0, float("-inf"))
        return self.project((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width))

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        x = x + self.attend(self.norm1(x))
        return self.head(self.norm3(x + self.mlp(self.norm2(x))))[:, -1]


class Then(nn.Module):
    """Layers, and a function over them."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleDict(layers)

    def forward(self, x):
        return self.function(x, **self.layers)


def tied_autoencoder():
    return Then(
        lambda x, first, second: F.linear(torch.tanh(first(x)), first.weight.t()) + second(x),
        first=nn.Linear(6, 4),
        second=nn.Linear(6, 6),
    )


def hooked():
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    module[0].register_forward_pre_hook(lambda layer, inputs: (inputs[0] * 3,))
    module[2].register_forward_hook(lambda layer, inputs, output: output + inputs[0].sum(-1, keepdim=True))
    return module


def frozen_trunk():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), networks.randomise(nn.BatchNorm2d(4)), nn.ReLU(), nn.Flatten())
    module.requires_grad_(False)
    return nn.Sequential(module, nn.Linear(4 * 36, 3))


def no_grad_trunk():
    def function(x, trunk, head):
        with torch.no_grad():
            features = trunk(x)
        return head(features) + trunk(x).mean((1, 2, 3), keepdim=True).flatten(1)

    return Then(function, trunk=nn.Conv2d(3, 4, 3), head=nn.Sequential(nn.Flatten(), nn.Linear(144, 3)))


def spectral_nets():
    conv, dense = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)
    return nn.Sequential(
        parametrizations.spectral_norm(conv), nn.ReLU(), nn.Flatten(), parametrizations.spectral_norm(dense)
    )


def weight_norm_nets():
    layers = (nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 3, groups=2), nn.Linear(4, 3))
    conv, up, dense = (parametrizations.weight_norm(layer) for layer in layers)
    return nn.Sequential(conv, nn.ReLU(), up, nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense)


def encoder(**settings):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **settings)
    return nn.Sequential(
        nn.Linear(3, 8), nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False), nn.Linear(8, 2)
    )


def cross_attention():
    return Then(
        lambda x, embed, attention: attention(embed(x), x, 2 * x, average_attn_weights=False)[0].mean(1),
        embed=nn.Linear(3, 4),
        attention=nn.MultiheadAttention(4, 2, kdim=3, vdim=3, batch_first=True, add_bias_kv=True),
    )


def causal_attention():
    def function(x, attention):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        y, weights = attention(x, x, x, attn_mask=mask)
        return y.flatten(1) + weights.mean()

    return Then(function, attention=nn.MultiheadAttention(4, 2, batch_first=True))


def bag_of_words():
    table = nn.Embedding(11, 5, padding_idx=0)
    with torch.no_grad():
        table.weight[0] = 1.0  # a padding row that counts in the output, but never in the gradient
    return Then(lambda ids, table, head: head(table(ids).mean(1)), table=table, head=nn.Linear(5, 3))


def volumes():
    return nn.Sequential(
        nn.Conv3d(2, 4, (2, 3, 3), padding=(1, 1, 0), groups=2),
        networks.randomise(nn.BatchNorm3d(4)),
        nn.PReLU(4),
        nn.MaxPool3d(2, ceil_mode=True),
        nn.ConvTranspose3d(4, 2, 2),
        nn.AdaptiveAvgPool3d((2, 1, 3)),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


def signals():
    return nn.Sequential(
        nn.Conv1d(3, 6, 3, padding=2, padding_mode="circular", groups=3),
        nn.BatchNorm1d(6),
        nn.GELU(),
        nn.AvgPool1d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1, groups=2),
        nn.AdaptiveMaxPool1d(3),
        nn.Flatten(),
        nn.Linear(12, 2),
    )


def pads():
    def function(x, conv):
        modes = ("reflect", "replicate", "circular", "constant")
        return conv(sum(F.pad(x, (1, 2, 2, 1), mode=mode) * (i + 1) for i, mode in enumerate(modes))).flatten(1)

    return Then(function, conv=nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"))


def resizes():
    modes = (
        {},
        {"mode": "bilinear"},
        {"mode": "bicubic"},
        {"mode": "bicubic", "align_corners": True},
        {"mode": "area"},
    )

    def function(x, conv):
        y = conv(x)
        parts = [F.interpolate(y, size=(5, 11), **given) * (i + 1) for i, given in enumerate(modes)]
        return sum(parts).flatten(1)

    return Then(function, conv=nn.Conv2d(3, 2, 1))


def mixing():
    def function(x, first, second):
        y = torch.einsum("nchw,dc->ndhw", x, first.weight) * torch.einsum("...hw,...hw->...", x, x)[:, :1, None, None]
        return second(torch.roll(y, (1, -2), (2, 3))[:, :, 0])

    return Then(function, first=nn.Linear(3, 4), second=nn.Linear(8, 2))


def shared_relu():
    def function(x, conv, again):
        y = conv(x)
        z = F.relu_(y)  # from here on y is rectified as well
        return again(y * z + z).flatten(1)

    return Then(function, conv=nn.Conv2d(3, 3, 3), again=nn.Conv2d(3, 2, 3))


def thrice():
    body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.GroupNorm(3, 3), nn.ReLU(inplace=True))
    return Then(lambda x, body: body(body(body(x)) + x).flatten(1), body=body)


def recurrent(kind, **settings):
    layer = kind(3, 4, batch_first=True, **settings)
    width = 4 * (2 if layer.bidirectional else 1)
    return Then(lambda x, layer, head: head(layer(x)[0][:, -1]), layer=layer, head=nn.Linear(width, 2))


IMAGE, SIGNAL, VOLUME, VECTOR, SEQUENCE = (3, 8, 8), (3, 9), (2, 3, 5, 5), (6,), (5, 3)
TOKENS = "tokens"

MODULES = {
    "tied autoencoder": (tied_autoencoder, VECTOR),
    "hooks before and after": (hooked, VECTOR),
    "frozen trunk": (frozen_trunk, IMAGE),
    "no_grad trunk": (no_grad_trunk, IMAGE),
    "in place on a reused tensor": (shared_relu, IMAGE),
    "a block called three times": (thrice, IMAGE),
    "spectral norm": (spectral_nets, IMAGE),
    "weight norm": (weight_norm_nets, IMAGE),
    "transformer encoder": (lambda: encoder(), SEQUENCE),
    "transformer encoder, pre-norm, gelu": (lambda: encoder(norm_first=True, activation="gelu"), SEQUENCE),
    "cross attention": (cross_attention, SEQUENCE),
    "causal attention": (causal_attention, (5, 4)),
    "embedding with padding": (bag_of_words, TOKENS),
    "gpt block": (GPT, TOKENS),
    "signals": (signals, SIGNAL),
    "volumes": (volumes, VOLUME),
    "pad modes": (pads, IMAGE),
    "interpolation": (resizes, IMAGE),
    "einsum and roll": (mixing, IMAGE),
    "u-net": (UNet, IMAGE),
    "lstm, both ways, two layers": (lambda: recurrent(nn.LSTM, bidirectional=True, num_layers=2), (3, 3)),
    "gru": (lambda: recurrent(nn.GRU), (3, 3)),
    "rnn": (lambda: recurrent(nn.RNN), (3, 3)),
}


def inputs(shape):
    if shape == TOKENS:
        return np.random.default_rng(0).integers(0, 11, (6, 6))
    return networks.examples(shape)


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    build, shape = MODULES[name]
    module, x = build().eval(), inputs(shape)
    migrated = migrate(module, (torch.from_numpy(x[:2]),))
    report = verify(module, migrated, x, ntk_examples=2)
    assert report.parameters == sum(p.numel() for p in module.parameters() if p.requires_grad)
    check_source(migrated, to_source(migrated))
