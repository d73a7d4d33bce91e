"""Kernels of migrated networks against their dense Jacobians."""

import jax
import numpy as np
import pytest
import torch
from marks import some_long
from torch import nn
from torchvision.models import ResNet, VisionTransformer
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import VGG, make_layers

import reference
from linearize.kernel import empirical_ntk
from linearize.options import KernelOptions
from migrator import migrate
from trainer.models import ModelSpec, build

pytestmark = pytest.mark.usefixtures("quick_compilation")

CLASSES = 3


def ours(name, **options):
    return lambda: build(ModelSpec(name, (1, 8, 8), CLASSES, options), seed=0)


def resnet():
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)


def vgg11():
    module = VGG(make_layers([4, "M", 8, "M", 8, 8, "M", 12, 12, "M", 12, 12, "M"]))
    module.classifier = nn.Sequential(nn.Linear(12 * 7 * 7, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, CLASSES))
    return module


def vision_transformer():
    return VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=CLASSES
    )


NETWORKS = {
    "mlp": (ours("mlp", width=8), (1, 8, 8)),
    "cnn": (ours("cnn", width=4, batch_norm=True), (1, 8, 8)),
    "resnet18": (ours("resnet18", width=2), (1, 8, 8)),
    "wide_resnet": (ours("wide_resnet", max_width=8, stem_width=4, block_groups=2), (1, 8, 8)),
    "wide_resnet, leaky": (ours("wide_resnet", max_width=4, stem_width=4, leaky_slope=0.1, dropout=0.5), (1, 8, 8)),
    "tutorial_cnn": (ours("tutorial_cnn", width=2), (1, 8, 8)),
    "cnn_gap": (ours("cnn_gap", width=2), (1, 8, 8)),
    "vgg11": (ours("vgg11", width=2, dropout=0.5), (1, 8, 8)),
    "convnet": (ours("convnet", width=4, depth=3), (1, 8, 8)),
    "torchvision's resnet": (resnet, (3, 32, 32)),
    "torchvision's vgg11": (vgg11, (3, 32, 32)),
    "torchvision's vision transformer": (vision_transformer, (3, 8, 8)),
}
OURS = [name for name in NETWORKS if "torchvision" not in name]


@pytest.mark.parametrize("name", [*OURS, *some_long(*sorted(set(NETWORKS) - set(OURS)))])
def test_theta_of_a_migrated_network(name):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval()
    for buffer in module.buffers():  # running statistics that are not an identity
        if buffer.dtype == torch.float32:
            buffer.copy_(0.5 + torch.rand(buffer.shape))
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    migrated = migrate(module, (torch.from_numpy(x[:1]),))
    theta = empirical_ntk(migrated.apply_fn, migrated.variables, x, options=KernelOptions(precision="float64"))

    def head(variables, x):
        return migrated.apply_fn(variables, x).sum(1, keepdims=True) / np.sqrt(CLASSES)

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, dict(migrated.variables))
        J = reference.jacobian(head, wide, x.astype(np.float64))[:, 0]
    expected = J @ J.T
    assert np.abs(theta - expected).max() < 1e-9 * np.abs(expected).max()
