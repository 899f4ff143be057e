"""ResNet-18 for small images."""

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


class ResNet18(nn.Module):
    """`stem`, `body` (four stages of two residual blocks), mean over the image, `head`."""

    def __init__(self, channels: int, outputs: int, head_hidden: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_norm(channels, 64, 3, 1), nn.ReLU())
        stages: list[nn.Module] = []
        width = 64
        for stage, next_width in enumerate((64, 128, 256, 512)):
            down = ResidualBlock(width, next_width, stride=1 if stage == 0 else 2)
            stages.append(nn.Sequential(down, ResidualBlock(next_width, next_width, stride=1)))
            width = next_width
        self.body = nn.Sequential(*stages)
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
) -> ResNet18:
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
    network = ResNet18(channels, check_count("outputs", outputs), check_counts("head_hidden", head_hidden))
    return with_options(network, activation, layer_norm)
