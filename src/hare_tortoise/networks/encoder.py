"""What the networks of reinforcement learning share: an encoder of images to flat features, a hidden layer, a head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from hare_tortoise.networks.activations import Activation
from hare_tortoise.networks.layers import check_count
from hare_tortoise.networks.transforms import ActivationName, with_options


class Encoder(nn.Module):
    """`body`: convolutions, then flatten.

    Args:
        layers: from (batch, channels, height, width) to (batch, maps, rows, columns).
        maps: shape of what they give for one image, `(maps, rows, columns)`.

    Attributes:
        maps: the same; where an activation that doubles its channels was put in the place of the last one, with twice
            the maps.
        features: number of entries of what it gives for one image, `maps · rows · columns`.
    """

    def __init__(self, layers: Sequence[nn.Module], maps: tuple[int, int, int]) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers, nn.Flatten())
        self._built = maps, _channels(self.body)

    @property
    def maps(self) -> tuple[int, int, int]:
        """Shape of what the layers give for one image."""
        (maps, rows, columns), channels = self._built
        return maps * _channels(self.body) // channels, rows, columns

    @property
    def features(self) -> int:
        """Number of entries of what it gives for one image."""
        return math.prod(self.maps)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, channels, height, width), floating, to (batch, features)."""
        features: Tensor = self.body(images)
        return features

    def latent(self, images: Tensor) -> Tensor:
        """Map (batch, channels, height, width), floating, to (batch, *maps): what `forward` gives, not yet flat."""
        for layer in list(self.body)[:-1]:
            images = layer(images)
        return images


class EncodedNetwork(nn.Module):
    """`encoder`, `hidden` (Linear, ReLU), `head` (Linear)."""

    def __init__(self, encoder: Encoder, hidden: int, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.hidden = nn.Sequential(nn.Linear(encoder.features, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, channels, height, width), floating, to (batch, outputs)."""
        outputs: Tensor = self.head(self.hidden(self.encoder(images)))
        return outputs


def encoded_network(
    encoder: Encoder, hidden: int, outputs: int, activation: ActivationName | None, layer_norm: bool
) -> EncodedNetwork:
    """Put a hidden layer and a linear head behind an encoder, and apply the options to the whole.

    Raises:
        ValueError: if a size is not an integer of at least 1, or there is no such activation.
    """
    network = EncodedNetwork(encoder, check_count("hidden", hidden), check_count("outputs", outputs))
    return with_options(network, activation, layer_norm)


def _channels(layers: nn.Module) -> int:
    """How many there are behind the last convolution and the activations after it, in the order of the modules."""
    channels = 1
    for module in layers.modules():
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, Activation):
            channels *= module.widens
    return channels
