"""ResNet-18 with the stem for small images, or that for ImageNet."""

from torch import Tensor, nn

from trainer.models.layers import DROPOUT, conv, global_average, linear
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
        imagenet_stem: begin with a 7x7 convolution of stride 2 and 3x3 max pooling of stride 2, for large images.
        dropout: share of features dropped in training before the linear layer.

    """

    def __init__(
        self, input_shape: Shape, num_classes: int, *, width: int, imagenet_stem: bool, dropout: float
    ) -> None:
        super().__init__()
        first = conv(input_shape[0], width, 7, 2) if imagenet_stem else conv(input_shape[0], width, 3)
        pool = [nn.MaxPool2d(3, stride=2, padding=1)] * imagenet_stem
        self.stem = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), *pool)
        blocks: list[nn.Module] = []
        channels = width
        for group in range(4):
            for block in range(2):
                out = width * 2**group
                blocks.append(BasicBlock(channels, out, stride=2 if group > 0 and block == 0 else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.head = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, num_classes]``."""
        h = global_average(self.blocks(self.stem(x)))
        return self.head(h if self.dropout is None else self.dropout(h))


FAMILY = Family(
    name="resnet18",
    description="ResNet-18 with the CIFAR stem (3x3 convolution, stride 1, no max pool) or that of ImageNet",
    source="He et al., Deep residual learning for image recognition, arXiv:1512.03385",
    builder=ResNet18,
    options={
        "width": Option(64, "channels of the first group; doubled in each of the next three"),
        "imagenet_stem": Option(False, "7x7 convolution and max pooling, each of stride 2, for large images"),
        "dropout": DROPOUT,
    },
    training={"max_lr": 1.0, "epochs": 200},
)
