"""The convolutional network of deep Q-learning, with either of the paddings that pass under its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import nn

from hare_tortoise.networks.encoder import EncodedNetwork, Encoder, encoded_network
from hare_tortoise.networks.layers import check_image
from hare_tortoise.networks.transforms import ActivationName, with_options

Padding = Literal["valid", "same"]
# Channels, kernel and stride of each convolution.
_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
_SMALLEST = 36


def nature_encoder(
    input_shape: Sequence[int], *, padding: Padding = "valid", layer_norm: bool = False
) -> Encoder:
    """Three convolutions: 32 of 8×8 and stride 4, 64 of 4×4 and stride 2, 64 of 3×3, each with a ReLU; flatten.

    With `padding="valid"` there is none, and a layer gives `⌊(size − kernel) / stride⌋ + 1` places: 84 → 20 → 9 → 7,
    3,136 features (the publication, and PyTorch's implementations). With "same" it gives `⌈size / stride⌉`: 84 → 21 →
    11 → 11, 7,744 features. The image is then padded with
    `max((⌈size / stride⌉ − 1) · stride + kernel − size, 0)` zeros, half of them in front and, where that number is
    odd, one more behind (the default of flax and TensorFlow, hence of the scores that are published for Dopamine's
    and BBF's agents). 77,984 parameters at 4 channels, with either.

    Args:
        input_shape: (channels, height, width), such as (4, 84, 84); with "valid", height and width at least 36.
        padding: "valid" or "same".
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width), floating, to (batch, features); `features` is its attribute.

    Raises:
        ValueError: if a size is not an integer of at least 1, `input_shape` is no image or one too small, or there is
            no such padding.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015.

    Example:
        >>> nature_encoder((4, 84, 84)).features, nature_encoder((4, 84, 84), padding="same").features
        (3136, 7744)
    """
    shape = check_image("nature_encoder", input_shape)
    if padding not in get_args(Padding):
        raise ValueError(
            f"padding is {padding!r}; it must be 'valid' (PyTorch's usual) or 'same' (flax's and Dopamine's)"
        )
    if padding == "valid" and min(shape[1:]) < _SMALLEST:
        raise ValueError(
            f"input_shape is {shape}; nature_encoder without padding needs at least {_SMALLEST}×{_SMALLEST}. "
            "Enlarge the images, give padding='same', or use minatar for small grids"
        )
    channels, *size = shape
    layers: list[nn.Module] = []
    for width, kernel, stride in _LAYERS:
        around = [_same(length, kernel, stride) if padding == "same" else (0, 0) for length in size]
        layers += [*_convolution(channels, width, kernel, stride, around), nn.ReLU()]
        size = [
            (length + sum(both) - kernel) // stride + 1 for length, both in zip(size, around, strict=True)
        ]
        channels = width
    return with_options(Encoder(layers, (channels, size[0], size[1])), None, layer_norm)


def nature(
    input_shape: Sequence[int],
    outputs: int,
    *,
    padding: Padding = "valid",
    hidden: int = 512,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> EncodedNetwork:
    """Network of deep Q-learning: the Nature encoder, a hidden layer of 512 and a linear head.

    1,687,206 parameters at input (4, 84, 84) and 6 outputs, 4,046,502 with `padding="same"` (Mnih et al., Nature 2015).

    Args:
        input_shape: (channels, height, width); with `padding="valid"`, height and width at least 36.
        outputs: number of outputs, at least 1.
        padding: "valid" or "same", as in `nature_encoder`.
        hidden: width of the hidden layer, at least 1.
        activation: "crelu", "fourier" or "aid" in the place of every ReLU, with their default settings (the transforms
            of the same names take others); None: ReLU. CReLU leaves those behind which "same" is more zeros on one
            side than on the other, at 84×84 the first, and warns of it.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: as `nature_encoder`; if `hidden` or `outputs` is not an integer of at least 1, or there is no such
            activation.

    Example:
        >>> sum(parameter.numel() for parameter in nature((4, 84, 84), 6).parameters())
        1687206
    """
    encoder = nature_encoder(input_shape, padding=padding)
    return encoded_network(encoder, hidden, outputs, activation, layer_norm)


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind, so that a layer gives ⌈length / stride⌉ places."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, around: Sequence[tuple[int, int]]
) -> list[nn.Module]:
    (top, bottom), (left, right) = around
    if top == bottom and left == right:
        return [nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=(top, left))]
    # A convolution of torch pads both sides alike.
    return [nn.ZeroPad2d((left, right, top, bottom)), nn.Conv2d(inputs, outputs, kernel, stride=stride)]
