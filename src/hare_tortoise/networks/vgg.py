"""VGG-16 with BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hare_tortoise.networks.layers import check_count, check_counts, check_image, dense_head
from hare_tortoise.networks.transforms import ActivationName, with_options

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """`body` (five stages of 3×3 convolutions, each halving the image), flatten, `head`."""

    def __init__(
        self, shape: tuple[int, int, int], outputs: int, head_hidden: Sequence[int], width: int = 64
    ) -> None:
        super().__init__()
        channels, high, wide = shape
        stages: list[nn.Module] = []
        for widths in _STAGES:
            layers: list[nn.Module] = []
            for next_channels in (width * each // 64 for each in widths):
                conv = nn.Conv2d(channels, next_channels, 3, padding=1)
                layers += [conv, nn.BatchNorm2d(next_channels), nn.ReLU()]
                channels = next_channels
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.body = nn.Sequential(*stages, nn.Flatten())
        shrunk = 2 ** len(_STAGES)
        self.head = dense_head(channels * (high // shrunk) * (wide // shrunk), head_hidden, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, outputs)."""
        outputs: Tensor = self.head(self.body(inputs))
        return outputs


def vgg16(
    input_shape: Sequence[int],
    outputs: int,
    *,
    head_hidden: Sequence[int] = (1024, 1024),
    width: int = 64,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> VGG16:
    """VGG-16 with BatchNorm and a dense head.

    Thirteen 3×3 convolutions with bias, BatchNorm and ReLU in five stages, each ended by a 2×2 max-pool; the
    features are flattened, not averaged. The paper's network for Tiny ImageNet, (3, 64, 64), is the default
    (Simonyan & Zisserman, ICLR 2015; Lee et al., ICML 2024): 18,075,912 parameters at 200 outputs.

    Args:
        input_shape: (channels, height, width); height and width at least 32.
        outputs: number of outputs, at least 1.
        head_hidden: widths of the hidden layers (Linear, ReLU) of the head, each at least 1; may be empty.
        width: channels of the first stage; the others are 2, 4, 8 and 8 times as wide. Below 64 it is no VGG-16 of
            the publication, but one for a single core.
        activation: "crelu", "fourier" or "aid" in the place of every ReLU, with their default settings (the transforms
            of the same names take others); None: ReLU.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: if a size is not an integer of at least 1, `input_shape` is no image of at least 32×32,
            or there is no such activation.

    Example:
        >>> import torch
        >>> network = vgg16((3, 32, 32), 10, head_hidden=())
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    shape = check_image("vgg16", input_shape)
    if min(shape[1:]) < 2 ** len(_STAGES):
        raise ValueError(
            f"input_shape is {shape}; vgg16 halves the image five times and needs at least 32×32. "
            "Enlarge or pad the images, or use resnet18"
        )
    network = VGG16(
        shape,
        check_count("outputs", outputs),
        check_counts("head_hidden", head_hidden),
        check_count("width", width),
    )
    return with_options(network, activation, layer_norm)
