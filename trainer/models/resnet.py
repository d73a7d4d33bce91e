"""ResNet-18 with the stem for small images."""

from torch import Tensor, nn

from trainer.models.layers import conv, global_average, linear
from trainer.models.spec import Family, Option, Shape


class BasicBlock(nn.Module):
    """The basic block: ``relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))``.

    The shortcut is the identity when the shape stays, and a 1x1 convolution with batch norm when it changes.

    Source: He et al. 2016, fig. 5 left and option B.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        stride: of the first convolution and of the shortcut.

    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(c_in, c_out, 3, stride)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = conv(c_out, c_out, 3)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, c_in, H, W]`` to ``[N, c_out, ceil(H/stride), ceil(W/stride)]``."""
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return self.relu(self.shortcut(x) + branch)


class ResNet18(nn.Module):
    """Stem, four groups of two basic blocks, global average, linear layer.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        width: channels of the first group; each later group has twice as many.

    """

    def __init__(self, input_shape: Shape, num_classes: int, *, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(input_shape[0], width, 3), nn.BatchNorm2d(width), nn.ReLU())
        blocks: list[nn.Module] = []
        channels = width
        for group in range(4):
            for block in range(2):
                out = width * 2**group
                blocks.append(BasicBlock(channels, out, stride=2 if group > 0 and block == 0 else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, num_classes]``."""
        return self.head(global_average(self.blocks(self.stem(x))))


FAMILY = Family(
    name="resnet18",
    description="ResNet-18 with the CIFAR stem (3x3 convolution, stride 1, no max pool)",
    source="He et al., Deep residual learning for image recognition, arXiv:1512.03385",
    builder=ResNet18,
    options={"width": Option(64, "channels of the first group; doubled in each of the next three")},
    training={"max_lr": 1.0, "epochs": 200},
)
