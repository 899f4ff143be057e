"""ResNets for small images: ResNet-18, and a narrow one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hare_tortoise.networks.layers import check_count, check_counts, check_image, dense_head
from hare_tortoise.networks.transforms import ActivationName, with_options


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class ResidualBlock(nn.Module):
    """`relu(residual(x) + shortcut(x))` with two 3×3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first, second = _conv_norm(inputs, outputs, 3, stride), _conv_norm(outputs, outputs, 3, 1)
        self.residual = nn.Sequential(*first, nn.ReLU(), *second)
        changes_shape = stride != 1 or inputs != outputs
        projection = _conv_norm(inputs, outputs, 1, stride) if changes_shape else []
        self.shortcut = nn.Sequential(*projection)
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        outputs: Tensor = self.relu(self.residual(inputs) + self.shortcut(inputs))
        return outputs


class ResNet(nn.Module):
    """`stem`, `body` (stages of residual blocks), mean over the image, `head`.

    Args:
        channels: of an image.
        outputs: number of outputs.
        stem: width of the first convolution, and its stride.
        stages: width of each stage, number of its blocks, and stride of the first of them.
        head_hidden: widths of the hidden layers of the head.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        stem: tuple[int, int],
        stages: Sequence[tuple[int, int, int]],
        head_hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        width, stride = stem
        self.stem = nn.Sequential(*_conv_norm(channels, width, 3, stride), nn.ReLU())
        body: list[nn.Module] = []
        for next_width, blocks, stride in stages:
            strides = (stride, *(1,) * (blocks - 1))
            widths = (width, *(next_width,) * (blocks - 1))
            body.append(
                nn.Sequential(
                    *(ResidualBlock(w, next_width, s) for w, s in zip(widths, strides, strict=True))
                )
            )
            width = next_width
        self.body = nn.Sequential(*body)
        self.head = dense_head(width, head_hidden, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, outputs)."""
        outputs: Tensor = self.head(self.body(self.stem(inputs)).mean((2, 3)))
        return outputs


def resnet18(
    input_shape: Sequence[int],
    outputs: int,
    *,
    head_hidden: Sequence[int] = (),
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> ResNet:
    """ResNet-18 with the stem for small images (3×3, no max-pool) and BatchNorm.

    11,173,962 parameters in 62 tensors at 3 channels and 10 outputs. The paper's network for CIFAR-10 has a
    hidden layer in its head, `head_hidden=(512,)`: 11,436,618 in 64 (He et al., CVPR 2016; Lee et al.,
    ICML 2024).

    Args:
        input_shape: (channels, height, width), each at least 1.
        outputs: number of outputs, at least 1.
        head_hidden: widths of the hidden layers (Linear, ReLU) of the head, each at least 1.
        activation: "crelu", "fourier" or "aid" in the place of every ReLU, with their default settings (the transforms
            of the same names take others); None: ReLU. CReLU and Fourier leave 5 of the
            17, behind sums without a projection, and warn of it.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: if a size is not an integer of at least 1, `input_shape` is not an image's, or there
            is no such activation.

    Example:
        >>> network = resnet18((3, 32, 32), 10, head_hidden=(512,))
        >>> sum(parameter.numel() for parameter in network.parameters())
        11436618
    """
    channels, _, _ = check_image("resnet18", input_shape)
    network = ResNet(
        channels,
        check_count("outputs", outputs),
        stem=(64, 1),
        stages=((64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2)),
        head_hidden=check_counts("head_hidden", head_hidden),
    )
    return with_options(network, activation, layer_norm)


def narrow_resnet(
    input_shape: Sequence[int],
    outputs: int,
    *,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> ResNet:
    """A residual network that one core can train: blocks of 16, 32 and 64 channels.

    A 3×3 stem of 16 channels and stride 2, three blocks, the last two of stride 2. 78,042 parameters at 3 channels
    and 10 outputs. It is no paper's, but that of the studies here.

    Args:
        input_shape: (channels, height, width), each at least 1.
        outputs: number of outputs, at least 1.
        activation: as in `resnet18`.
        layer_norm: as in `resnet18`.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: as in `resnet18`.

    Example:
        >>> sum(parameter.numel() for parameter in narrow_resnet((3, 32, 32), 10).parameters())
        78042
    """
    channels, _, _ = check_image("narrow_resnet", input_shape)
    network = ResNet(
        channels, check_count("outputs", outputs), stem=(16, 2), stages=((16, 1, 1), (32, 1, 2), (64, 1, 2))
    )
    return with_options(network, activation, layer_norm)
