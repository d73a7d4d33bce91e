"""Every registered family through the migrator: verified, with all its parameters, and the same outputs as torch."""

import numpy as np
import pytest
import torch

from migrator import migrate, verify
from trainer.models import MODELS, ModelSpec, build

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("quick_compilation")]

CLASSES = 3
NETWORKS = {
    "mlp": ("mlp", (1, 4, 5), {"width": 6, "depth": 3, "dropout": 0.5}),
    "cnn": ("cnn", (3, 8, 9), {"width": 3, "dropout": 0.5}),
    "resnet18, ImageNet": ("resnet18", (3, 33, 40), {"width": 2, "imagenet_stem": True, "dropout": 0.5}),
    "wide_resnet, leaky": ("wide_resnet", (3, 8, 8), {"max_width": 4, "leaky_slope": 0.1, "dropout": 0.5}),
    "tutorial_cnn": ("tutorial_cnn", (1, 8, 8), {"width": 2}),
    "tutorial_cnn, larger": ("tutorial_cnn", (3, 18, 28), {"width": 2}),
    "linear": ("linear", (1, 4, 5), {"dropout": 0.5}),
    "cnn_gap": ("cnn_gap", (3, 5, 6), {"width": 2}),
    "vgg11": ("vgg11", (1, 8, 8), {"width": 1}),
    "vgg11, torchvision's classifier": (
        "vgg11",
        (3, 8, 8),
        {"width": 1, "hidden": 5, "batch_norm": False, "dropout": 0.5},
    ),
    "convnet": ("convnet", (1, 5, 6), {"width": 4, "depth": 3}),
}


def test_every_family_is_here():
    assert {name for name, _, _ in NETWORKS.values()} == set(MODELS)


@pytest.mark.parametrize("case", NETWORKS)
def test_a_family_is_ported_and_verified(case):
    name, shape, options = NETWORKS[case]
    module = build(ModelSpec(name, shape, CLASSES, options), seed=0)
    generator = torch.Generator().manual_seed(0)
    for buffer in module.buffers():  # running statistics that are not an identity
        if buffer.dtype == torch.float32:
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    migrated = migrate(module, (torch.from_numpy(x[:1]),))
    report = verify(module, migrated, x)
    assert report.verified
    assert report.parameters == sum(p.numel() for p in module.parameters())
    assert set(report.key_map) == set(module.state_dict())
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(migrated.apply_fn(migrated.variables, x), expected, rtol=1e-4, atol=1e-5)
