"""What the networks of reinforcement learning share: an encoder of images to flat features, a hidden layer, a head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hare_tortoise.networks.layers import check_count
from hare_tortoise.networks.transforms import ActivationName, with_options


class Encoder(nn.Module):
    """`body`: convolutions, then flatten.

    Args:
        layers: from (batch, channels, height, width) to (batch, maps, rows, columns).
        maps: shape of what they give for one image, `(maps, rows, columns)`.

    Attributes:
        features: number of entries of what it gives for one image, `maps · rows · columns`.
    """

    def __init__(self, layers: Sequence[nn.Module], maps: tuple[int, int, int]) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.features = maps[0] * maps[1] * maps[2]

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, channels, height, width), floating, to (batch, features)."""
        features: Tensor = self.body(images)
        return features


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
    reads = network.hidden[0]
    network = with_options(network, activation, layer_norm)
    if isinstance(reads, nn.Linear):
        # An activation that doubles its channels has widened what the encoder gives.
        encoder.features = reads.in_features
    return network
