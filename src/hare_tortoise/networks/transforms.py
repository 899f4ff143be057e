"""The transforms of a given network, by name, and as options of our own networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

from hare_tortoise.networks.activations import Network
from hare_tortoise.networks.aid import aid
from hare_tortoise.networks.crelu import crelu
from hare_tortoise.networks.fourier import fourier
from hare_tortoise.networks.layer_norm import layer_norm as add_layer_norm

TRANSFORMS: dict[str, Callable[..., nn.Module]] = {
    "aid": aid,
    "crelu": crelu,
    "fourier": fourier,
    "layer-norm": add_layer_norm,
}

ActivationName = Literal["crelu", "fourier", "aid"]


def with_options(network: Network, activation: ActivationName | None, layer_norm: bool) -> Network:
    """Apply the options of our networks: another activation, then LayerNorm before every activation.

    Args:
        network: changed in place.
        activation: "crelu", "fourier" or "aid", each with its default settings; None: that of the network.
        layer_norm: whether a LayerNorm stands before every activation.

    Raises:
        ValueError: there is no such activation; nothing in the network can change.
    """
    if activation is not None:
        if activation not in get_args(ActivationName):
            names = ", ".join(map(repr, get_args(ActivationName)))
            raise ValueError(
                f"activation is {activation!r}, expected one of {names}, or None for the network's own"
            )
        TRANSFORMS[activation](network)
    if layer_norm:
        add_layer_norm(network)
    return network
