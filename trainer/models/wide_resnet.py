"""Wide residual networks, by number of block groups and maximum width as in the look-ahead paper."""

from torch import Tensor, nn

from trainer.models.layers import DROPOUT, conv, global_average, linear
from trainer.models.spec import DEEPEST, Family, Option, Shape


class PreActivationBlock(nn.Module):
    """The wide, pre-activated block: ``shortcut + conv2(relu(bn2(conv1(h))))`` with ``h = relu(bn1(x))``.

    The shortcut is ``x`` itself when the shape stays and a 1x1 convolution of ``h`` when it changes.

    Source: Zagoruyko & Komodakis 2016, fig. 1(d); the shortcut as in the authors' code.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        stride: of the first convolution and of the shortcut.
        slope: of the ReLU where its input is negative.
        momentum: of batch norm, as torch means it.

    """

    def __init__(self, c_in: int, c_out: int, stride: int, slope: float = 0.0, momentum: float = 0.1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in, momentum=momentum)
        self.conv1 = conv(c_in, c_out, 3, stride)
        self.bn2 = nn.BatchNorm2d(c_out, momentum=momentum)
        self.conv2 = conv(c_out, c_out, 3)
        self.relu = _relu(slope)
        self.shortcut = conv(c_in, c_out, 1, stride) if stride != 1 or c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, c_in, H, W]`` to ``[N, c_out, ceil(H/stride), ceil(W/stride)]``."""
        h = self.relu(self.bn1(x))
        branch = self.conv2(self.relu(self.bn2(self.conv1(h))))
        return branch + (x if self.shortcut is None else self.shortcut(h))


def _relu(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


class WideResNet(nn.Module):
    """Stem, block groups, batch norm, ReLU, global average, linear layer.

    The last group has ``max_width`` channels, each earlier one half of the next (64k, 32k, 16k in the paper);
    the first group keeps the size, each later one halves it.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        block_groups: number of groups.
        blocks_per_group: blocks in each; with three groups the paper's depth is ``6 blocks_per_group + 4``.
        max_width: channels of the last group, a multiple of ``2^(block_groups - 1)`` if not to be rounded down.
        stem_width: channels of the stem, 16 in the paper.
        stem_stride: 1 in the paper; 2 makes everything after it four times cheaper.
        leaky_slope: of every ReLU where its input is negative.
        batch_norm_momentum: share of a batch in the running statistics.
        dropout: share of features dropped in training before the linear layer.

    """

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        block_groups: int,
        blocks_per_group: int,
        max_width: int,
        stem_width: int,
        stem_stride: int,
        leaky_slope: float = 0.0,
        batch_norm_momentum: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = conv(input_shape[0], stem_width, 3, stem_stride)
        blocks: list[nn.Module] = []
        channels = stem_width
        for group in range(block_groups):
            out = max(1, max_width // 2 ** (block_groups - 1 - group))
            for block in range(blocks_per_group):
                stride = 2 if group > 0 and block == 0 else 1
                blocks.append(PreActivationBlock(channels, out, stride, leaky_slope, batch_norm_momentum))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(channels, momentum=batch_norm_momentum)
        self.relu = _relu(leaky_slope)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.head = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, num_classes]``."""
        h = global_average(self.relu(self.bn(self.blocks(self.stem(x)))))
        return self.head(h if self.dropout is None else self.dropout(h))


FAMILY = Family(
    name="wide_resnet",
    description="wide residual network by number of block groups and maximum width (640 in the papers)",
    source="Zagoruyko and Komodakis, Wide residual networks, arXiv:1605.07146",
    builder=WideResNet,
    options={
        "block_groups": Option(1, "groups of blocks", maximum=3),
        "blocks_per_group": Option(2, "blocks in a group", maximum=DEEPEST),
        "max_width": Option(32, "channels of the last group; each earlier one has half", minimum=4),
        "stem_width": Option(16, "channels of the stem"),
        "stem_stride": Option(2, "stride of the stem", maximum=2),
        "leaky_slope": Option(0.0, "slope of every ReLU below zero, 0.1 in semi-supervised learning", 0.0, 1.0),
        "batch_norm_momentum": Option(0.1, "share of a batch in batch norm's running statistics", 1e-4, 1.0),
        "dropout": DROPOUT,
    },
    training={"max_lr": 2.0, "epochs": 200},
)
