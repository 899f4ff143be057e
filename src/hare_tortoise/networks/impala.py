"""The residual network of IMPALA, with a scale for its width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hare_tortoise.networks.encoder import EncodedNetwork, Encoder, encoded_network
from hare_tortoise.networks.layers import check_count, check_image
from hare_tortoise.networks.transforms import ActivationName, with_options

_WIDTHS = (16, 32, 32)


class PreActivatedBlock(nn.Module):
    """`x + residual(x)`, with `residual` ReLU and a 3×3 convolution, twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.residual = nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        outputs: Tensor = inputs + self.residual(inputs)
        return outputs


def impala_encoder(
    input_shape: Sequence[int], *, width: int = 1, blocks: int = 2, layer_norm: bool = False
) -> Encoder:
    """Three stages of a 3×3 convolution, a max-pool that halves the image, and residual blocks; ReLU, flatten.

    The stages have `16 · width`, `32 · width` and `32 · width` channels. The pool has windows of 3×3, a stride of 2 and
    the padding "same": it gives `⌈size / 2⌉` places, and where the size is even the last window alone stands over an
    edge. (`padding=1`, which PyTorch code often has, gives as many places, of windows that begin one pixel earlier
    there.) On images of 84×84: 84 → 42 → 21 → 11, `3,872 · width` features. At 4 channels and two blocks it has 97,744
    parameters with `width=1`, and 1,552,192 with 4.

    Args:
        input_shape: (channels, height, width), each at least 1.
        width: factor of all channels, at least 1; BBF has 4.
        blocks: residual blocks in each stage, at least 1.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width), floating, to (batch, features); `features` is its attribute.

    Raises:
        ValueError: if a size is not an integer of at least 1, or `input_shape` is no image.

    References:
        Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
        ICML 2018, arXiv 1802.01561, figure 3; with a width scale: Schwarzer et al., "Bigger, Better, Faster:
        Human-level Atari with human-level efficiency", ICML 2023, arXiv 2305.19452.

    Example:
        >>> impala_encoder((4, 84, 84)).features, impala_encoder((4, 84, 84), width=4).features
        (3872, 15488)
    """
    channels, high, wide = check_image("impala_encoder", input_shape)
    scale, repeats = check_count("width", width), check_count("blocks", blocks)
    stages: list[nn.Module] = []
    for next_channels in (scale * each for each in _WIDTHS):
        stages.append(
            nn.Sequential(
                nn.Conv2d(channels, next_channels, 3, padding=1),
                # Of an even size one place is missing, behind: what the mode "ceil" adds, and no padding of its own.
                nn.MaxPool2d(3, stride=2, padding=(high % 2, wide % 2), ceil_mode=True),
                *(PreActivatedBlock(next_channels) for _ in range(repeats)),
            )
        )
        channels, high, wide = next_channels, (high + 1) // 2, (wide + 1) // 2
    return with_options(Encoder([*stages, nn.ReLU()], (channels, high, wide)), None, layer_norm)


def impala(
    input_shape: Sequence[int],
    outputs: int,
    *,
    width: int = 1,
    blocks: int = 2,
    hidden: int = 256,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> EncodedNetwork:
    """Residual network of IMPALA: its encoder, a hidden layer of 256 and a linear head.

    1,090,774 parameters at input (4, 84, 84) and 6 outputs (Espeholt et al., ICML 2018, without the recurrent layer).

    Args:
        input_shape: (channels, height, width), each at least 1.
        outputs: number of outputs, at least 1.
        width: factor of the channels of the encoder, at least 1.
        blocks: residual blocks in each of its stages, at least 1.
        hidden: width of the hidden layer, at least 1.
        activation: "crelu", "fourier" or "aid" in the place of every ReLU, with their default settings (the transforms
            of the same names take others); None: ReLU.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: as `impala_encoder`; if `hidden` or `outputs` is not an integer of at least 1, or there is no such
            activation.

    Example:
        >>> sum(parameter.numel() for parameter in impala((4, 84, 84), 6).parameters())
        1090774
    """
    encoder = impala_encoder(input_shape, width=width, blocks=blocks)
    return encoded_network(encoder, hidden, outputs, activation, layer_norm)
