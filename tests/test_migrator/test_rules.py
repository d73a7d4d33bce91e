"""One table over all operator families: forward, gradient and kernel of each case against torch."""

import networks
import pytest
import torch
import torch.nn.functional as F
from against_torch import check, images, places
from torch import nn


def source(x):
    """What is placed there."""
    return (x * x)[:, 1:, 2:5, :5]


def assigned(x):
    y = x.clone()
    y[:, [0, 2]] = 2 * x[:, [1, 0]]
    y[:, 1, [0, 3]] = 0.5
    return y


def assigned_by_mask(x):
    y = x.clone()
    y[x > 0.5] = x.amax()
    return y


def largest_by_mask(x):
    rows = x.flatten(1)
    mask = torch.zeros_like(rows, dtype=torch.bool).scatter(1, rows.topk(4).indices, True)
    return rows[mask].reshape(-1, 4) * rows[:, :1]


def added(x):
    y = x.clone()
    y.index_put_((torch.arange(x.shape[0])[:, None], torch.tensor([[0, 2, 0]])), x * x, accumulate=True)
    return y


def grid(x):
    """Places for grid_sample, some of them beyond the border."""
    return (1.5 * x[:, :2, :5]).permute(0, 2, 3, 1)


def positive(x):
    """Positive definite matrices."""
    return x @ x.mT + torch.eye(7, dtype=x.dtype)


def triangle(x):
    return x.tril() + 3 * torch.eye(7, dtype=x.dtype)


def logarithm(x):
    values, vectors = torch.linalg.eigh(positive(x))
    return (vectors * values.log()[..., None, :]) @ vectors.mT


def orthogonal(x):
    left, _, right = torch.linalg.svd(x[..., :5], full_matrices=False)
    return left @ right


def signal(x):
    return torch.complex(x, x * x)


def diagonal_of_zeros(x):
    y = x.clone()
    y.diagonal(1, 2, 3).fill_(0.5)
    return y


class Bag(nn.Module):
    """Rows of a table for the signs of an image, times the image."""

    def __init__(self, mode, **settings):
        super().__init__()
        self.bag = nn.EmbeddingBag(2, 7, mode=mode, **settings)

    def forward(self, x):
        return self.bag((x[:, 0, 0] > 0).long())[:, None, None] * x


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised by a batch norm over them, as NFNet and BiT do."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, weight=self.bias, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, weight.view_as(self.weight))


LAYERS = {
    "conv of standardised weights": lambda: Standardised(3, 4, 3),
    "conv strided, padded": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "conv uneven": lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
    "conv dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2, bias=False),
    "conv grouped": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "conv in groups of several": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3, stride=2, padding=(2, 1), dilation=(2, 1), groups=2)
    ),
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
    "embedding bag": lambda: Bag("sum"),
    "embedding bag, mean": lambda: Bag("mean", padding_idx=1),
    "embedding bag, largest": lambda: Bag("max"),
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
    "made smaller and smooth": lambda x: F.interpolate(x, size=(3, 5), mode="bilinear", antialias=True),
    "made smaller and smooth by cubes": lambda x: F.interpolate(x, scale_factor=0.45, mode="bicubic", antialias=True),
    "made larger with antialias": lambda x: F.interpolate(x, size=(10, 8), mode="bicubic", antialias=True),
    "standardised by channels that are examples": lambda x: F.batch_norm(
        x.reshape(1, -1, 49), None, None, training=True
    ).view_as(x),
    "channels by a mask": lambda x: x[:, torch.tensor([True, False, True])],
    "triangle by a mask": lambda x: x[..., torch.ones(7, 7).tril().bool()],
    "as many of each by a mask": largest_by_mask,
    "as many of each selected": lambda x: x.masked_select(torch.eye(7).bool().expand(x.shape)).view(-1, 3, 7),
    "resized with corners": lambda x: F.interpolate(x, size=(10, 5), mode="bilinear", align_corners=True),
    "detached": lambda x: x * x.detach(),
    "assigned by index": assigned,
    "assigned by mask": assigned_by_mask,
    "added by index": added,
    "top k": lambda x: x.topk(2, 1)[0] * x.topk(2, 1, largest=False)[0],
    "top k by index": lambda x: x.gather(2, x.topk(3, 2)[1]),
    "sorted": lambda x: x.sort(1)[0] * x.sort(1, descending=True)[0],
    "sorted stably": lambda x: torch.sort(x.round(), dim=2, stable=True)[1] * x,
    "sorted by index": lambda x: x.flatten(1).gather(1, x.flatten(1).argsort(1, descending=True)),
    "variance and mean": lambda x: sum(torch.var_mean(x, (2, 3))) + sum(torch.std_mean(x, 2, correction=0))[..., 0],
    "standard deviation": lambda x: x.std((2, 3)) + x.std(),
    "extremes of everything": lambda x: x * x.max() + x.min(),
    "smallest by index": lambda x: x.gather(1, x.argmin(1, keepdim=True)) * x.argmin(),
    "gathered, smaller": lambda x: x.gather(2, places(x)),
    "scattered": lambda x: (x * x).scatter(2, places(x)[:, :, :2], x[:, 1:, 3:5, :5]),
    "scattered number": lambda x: x.scatter(2, places(x), 0.5),
    "scattered and added": lambda x: x.scatter_add(2, places(x), source(x)),
    "scattered sum": lambda x: x.scatter_reduce(2, places(x), source(x), "sum", include_self=False),
    "scattered product": lambda x: x.scatter_reduce(2, places(x), source(x), "prod"),
    "scattered product alone": lambda x: x.scatter_reduce(1, places(x), source(x), "prod", include_self=False),
    "scattered mean": lambda x: x.scatter_reduce(2, places(x), source(x), "mean"),
    "scattered mean alone": lambda x: x.scatter_reduce(2, places(x), source(x), "mean", include_self=False),
    "scattered largest": lambda x: x.scatter_reduce(2, places(x), source(x), "amax"),
    "scattered smallest alone": lambda x: x.scatter_reduce(2, places(x), source(x), "amin", include_self=False),
    "scattered with the old names": lambda x: x.detach().scatter(2, places(x), 2.0, reduce="add") * x,
    "index added": lambda x: x.index_add(1, torch.tensor([0, 0, 2]), x * x, alpha=2),
    "index copied, filled": lambda x: x.index_copy(1, torch.tensor([2, 0]), (x * x)[:, :2]).index_fill(
        2, places(x)[0, 0, :, 0], 0.5
    ),
    "index reduced": lambda x: x.index_reduce(1, torch.tensor([0, 2]), x[:, 1:], "amax"),
    "masked scatter": lambda x: x.masked_scatter(x > 0.3, x * x),
    "put": lambda x: x.put(torch.tensor([3, 1, 1]), (x * x)[0, 0, 0, :3], accumulate=True),
    "hyperbolic inverses": lambda x: x.asinh() + (x * x + 1.5).acosh() + (0.5 * x.tanh()).atanh(),
    "error functions": lambda x: x.erfc() + (0.9 * x.tanh()).erfinv() + torch.special.erfcx(x),
    "gamma functions": lambda x: x.lgamma() + x.digamma() + torch.polygamma(2, x * x + 0.5),
    "incomplete gamma": lambda x: sum(f(torch.tensor(2.0).to(x), x * x + 0.1) for f in (torch.igamma, torch.igammac)),
    "bessel functions": lambda x: x.i0() + torch.special.i0e(x) + torch.special.i1(x) * torch.special.i1e(x),
    "normal distribution": lambda x: torch.special.ndtri(x.sigmoid()) + torch.special.log_ndtr(x),
    "zeta": lambda x: torch.special.zeta(torch.tensor(2.5).to(x), x * x + 1),
    "atan2, powers": lambda x: torch.atan2(x, x * x) + (x.abs() + 0.1) ** x + 2**x,
    "shifted": lambda x: x * (torch.tensor(3) << 2) + (torch.tensor(12) >> torch.tensor(1)),
    "hypot, copysign": lambda x: x.hypot(x * x) + x.copysign(x.sin()) + (x * x).copysign(-1.0),
    "fmax, fmin": lambda x: torch.fmax(x, 0.5 - x) + torch.fmin(x, x * x),
    "exclusive or": lambda x: torch.logical_xor(x > 0, x > 1) * x + torch.gcd(torch.tensor(12), torch.tensor(18)),
    "rounded to decimals": lambda x: x.round(decimals=1) + x,
    "distance": lambda x: x * x.dist(2 * x) + x.dist(x * x, 3),
    "sinc": torch.sinc,
    "root of integers": lambda x: torch.rsqrt(torch.tensor([1, 4, 16, 64, 256, 1024, 4096])) * x,
    "step": lambda x: torch.heaviside(x.detach(), torch.tensor(0.5).to(x)) * x,
    "interpolated": lambda x: torch.lerp(x, x * x, 0.3) + torch.lerp(x, x * x, x.sigmoid()),
    "addcmul, addcdiv": lambda x: torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, x * x + 1, value=2.0),
    "logaddexp": lambda x: torch.logaddexp(x, x * x) + torch.logaddexp2(x, -x),
    "x log y": lambda x: torch.xlogy(x, x * x) + torch.special.xlog1py(x, x * x) + torch.xlogy(2.0, x * x),
    "ldexp": lambda x: torch.ldexp(x, torch.tensor(2)) + x.signbit(),
    "rrelu": F.rrelu,
    "celu, another alpha": lambda x: F.celu(x, 0.3),
    "running product": lambda x: x.cumprod(1) + x.logcumsumexp(2),
    "running extremes": lambda x: x.cummax(2)[0] * x.cummin(3)[0] + x.round().cummax(2)[1],
    "product of everything": lambda x: x + 1e3 * x.prod(),
    "middle values": lambda x: x * x.median() + x.median(2, keepdim=True)[0] + x.nanmedian(3, keepdim=True)[0],
    "k-th value": lambda x: x.kthvalue(3, 2)[0] * x.kthvalue(2, 3, keepdim=True)[0].squeeze(3),
    "quantile": lambda x: x.quantile(0.3, dim=2),
    "mode": lambda x: x.round().mode(2)[1] * x.mode(2)[0],
    "searched": lambda x: torch.searchsorted(x.sort(-1)[0], x, right=True) * x,
    "in buckets": lambda x: torch.bucketize(x, torch.linspace(-1, 1, 5, dtype=x.dtype)) * x,
    "norms": lambda x: sum(torch.linalg.vector_norm(x, p, 1) for p in (-torch.inf, -1, 0.5, 1, 3, torch.inf)),
    "number of others than zero": lambda x: torch.linalg.vector_norm(x, 0, 1) * x[:, 0],
    "windows of an axis": lambda x: x.unfold(2, 3, 2).unfold(3, 2, 3),
    "columns and back": lambda x: F.fold(F.unfold(x, 3, padding=1) ** 2, (7, 7), 3, padding=1),
    "diagonals": lambda x: x.diagonal(1, 2, 3).square() + x.diagonal(-1, 1, 3)[:, 1:4, :1],
    "diagonal replaced": lambda x: x.diagonal_scatter(x[:, :, 0, :5], -2, 2, 3) + diagonal_of_zeros(x),
    "strided": lambda x: x.as_strided((x.shape[0], 3, 5), (147, 2, 3), 1),
    "strided, replaced": lambda x: x.detach().as_strided_scatter(x[:, :, 0] ** 2, (x.shape[0], 3, 7), (147, 49, 1), 7),
    "made empty": lambda x: torch.empty_like(x).fill_(2.0) * x + x.new_empty((3, 1, 1)).fill_(1.0),
    "triangles": lambda x: (
        x[:, :, *torch.tril_indices(7, 7, -1)] + x[:, :, *torch.triu_indices(7, 7, 1)] + x.triu().sum()
    ),
    "linspace, eye": lambda x: torch.linspace(0, 1, 7, dtype=x.dtype) * x @ torch.eye(7, dtype=x.dtype),
    "grid, bilinear": lambda x: F.grid_sample(x, grid(x), align_corners=False),
    "grid, corners": lambda x: F.grid_sample(x, grid(x), align_corners=True, padding_mode="border"),
    "grid, reflected": lambda x: F.grid_sample(x, grid(x), align_corners=False, padding_mode="reflection"),
    "grid, reflected at corners": lambda x: F.grid_sample(
        x, 3 * grid(x), align_corners=True, padding_mode="reflection"
    ),
    "grid, nearest": lambda x: F.grid_sample(x, grid(x), mode="nearest", align_corners=False),
    "grid, cubic": lambda x: F.grid_sample(x, grid(x), mode="bicubic", align_corners=False),
    "grid, cubic reflected": lambda x: F.grid_sample(x, grid(x), "bicubic", "reflection", align_corners=True),
    "grid, volumes": lambda x: F.grid_sample(x[:, :, None], x.permute(0, 2, 3, 1)[:, None], align_corners=False),
    "fourier, real": lambda x: torch.view_as_real(torch.fft.rfft2(x, norm="ortho")),
    "fourier and back": lambda x: torch.fft.irfft2(
        torch.fft.rfft2(x) * torch.fft.rfft2(x * x), s=(7, 7), norm="forward"
    ),
    "fourier, complex": lambda x: torch.fft.ifft2(torch.fft.fft2(signal(x), norm="ortho") ** 2).imag,
    "fourier, hermitian": lambda x: torch.fft.hfft(signal(x)) * torch.fft.fft(x).real.sum(),
    "short-time fourier": lambda x: torch.stft(
        x.flatten(1), 16, window=torch.ones(16).to(x), return_complex=True
    ).abs(),
    "complex": lambda x: signal(x).conj().abs() + signal(x).angle() + (signal(x) @ signal(x)).real,
    "complex views": lambda x: torch.view_as_complex(x[..., :6].unflatten(-1, (3, 2)).contiguous()).exp().imag,
    "polar": lambda x: torch.polar(x.abs(), x).imag + signal(x).conj().imag + x.angle(),
    "pairwise distances": lambda x: torch.cdist(x, x * x) + torch.cdist(x, 2 * x, p=1.0) + torch.cdist(x, x + 1, p=3.0),
    "bilinear form": lambda x: F.bilinear(x, x * x, torch.linspace(-1, 1, 196, dtype=x.dtype).view(4, 7, 7)),
    "added products": lambda x: torch.addbmm(x[0, 0], x[0], x[0] * x[0], beta=2, alpha=0.5) * x,
    "matrix exponential": lambda x: torch.matrix_exp(0.3 * x),
    "solved": lambda x: torch.linalg.solve(positive(x), x) + torch.linalg.solve(positive(x), x, left=False),
    "solved for a vector": lambda x: torch.linalg.solve(positive(x), x[..., 0]),
    "inverse": lambda x: torch.linalg.inv(positive(x)) + torch.linalg.matrix_power(positive(x), -2),
    "cholesky": lambda x: torch.linalg.cholesky(positive(x)) + torch.linalg.cholesky(9 * positive(x) + x, upper=True),
    "cholesky of one triangle": lambda x: torch.linalg.cholesky(9 * positive(x) + x),
    "solved by cholesky": lambda x: torch.cholesky_solve(x, triangle(x)) + torch.cholesky_inverse(triangle(x)),
    "solved by triangles": lambda x: (
        torch.linalg.solve_triangular(triangle(x), x, upper=False)
        + torch.linalg.solve_triangular(triangle(x).mT, x[:, :1], upper=True, left=False)
    ),
    "solved by old triangles": lambda x: torch.triangular_solve(x, triangle(x), upper=False, transpose=True)[0],
    "determinants": lambda x: torch.linalg.det(x) + torch.linalg.slogdet(x)[1] + torch.logdet(positive(x)),
    "eigenvalues": lambda x: torch.linalg.eigvalsh(x) + torch.linalg.eigh(positive(x))[0],
    "function of eigenvalues": logarithm,
    "singular values": lambda x: torch.linalg.svdvals(x) * torch.linalg.matrix_norm(x, "nuc")[..., None],
    "orthogonal factor": orthogonal,
    "qr": lambda x: torch.linalg.qr(x)[0] + torch.linalg.qr(x)[1],
    "qr, wide": lambda x: torch.linalg.qr(x[..., :4, :])[1],
    "householder": lambda x: torch.linalg.householder_product(x[..., :5], x[..., 0, :4]),
    "pseudo-inverse": lambda x: (
        torch.linalg.pinv(x[..., :4]) + torch.linalg.pinv(positive(x), hermitian=True)[..., :4, :]
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    check(networks.Forward(nn.Identity(), layer=LAYERS[name]()), images())


@pytest.mark.filterwarnings("ignore:index_reduce", "ignore:torch.triangular_solve")  # new, and old
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    check(networks.Forward(FUNCTIONS[name]), images())
