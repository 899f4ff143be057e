"""The small convolutional network of MinAtar."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hare_tortoise.networks.encoder import EncodedNetwork, Encoder, encoded_network
from hare_tortoise.networks.layers import check_image
from hare_tortoise.networks.transforms import ActivationName, with_options

_WIDTH, _KERNEL = 16, 3


def minatar_encoder(input_shape: Sequence[int], *, layer_norm: bool = False) -> Encoder:
    """One convolution, 16 of 3×3 without padding, with a ReLU; flatten.

    1,024 features of a grid of 10×10; 592 parameters at 4 channels.

    Args:
        input_shape: (channels, height, width), such as (4, 10, 10); height and width at least 3.
        layer_norm: whether a LayerNorm stands before the activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width), floating, to (batch, features); `features` is its attribute.

    Raises:
        ValueError: if a size is not an integer of at least 1, or `input_shape` is no image or one too small.

    References:
        Young and Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning
        Experiments", 2019, arXiv 1903.03176.

    Example:
        >>> minatar_encoder((4, 10, 10)).features
        1024
    """
    channels, high, wide = shape = check_image("minatar_encoder", input_shape)
    if min(high, wide) < _KERNEL:
        raise ValueError(
            f"input_shape is {shape}; the convolution of MinAtar needs at least {_KERNEL}×{_KERNEL}. "
            "Pad the images, or use mlp"
        )
    layers = [nn.Conv2d(channels, _WIDTH, _KERNEL), nn.ReLU()]
    maps = (_WIDTH, high - _KERNEL + 1, wide - _KERNEL + 1)
    return with_options(Encoder(layers, maps), None, layer_norm)


def minatar(
    input_shape: Sequence[int],
    outputs: int,
    *,
    hidden: int = 128,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> EncodedNetwork:
    """Network of MinAtar: one convolution of 16 channels, a hidden layer of 128, a linear head.

    132,566 parameters at input (4, 10, 10) and 6 outputs (Young and Tian, 2019).

    Args:
        input_shape: (channels, height, width); height and width at least 3.
        outputs: number of outputs, at least 1.
        hidden: width of the hidden layer, at least 1.
        activation: "crelu", "fourier" or "aid" in the place of every ReLU, with their default settings (the transforms
            of the same names take others); None: ReLU.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: as `minatar_encoder`; if `hidden` or `outputs` is not an integer of at least 1, or there is no such
            activation.

    Example:
        >>> sum(parameter.numel() for parameter in minatar((4, 10, 10), 6).parameters())
        132566
    """
    return encoded_network(minatar_encoder(input_shape), hidden, outputs, activation, layer_norm)
