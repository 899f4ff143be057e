"""The network of an agent: an encoder, a head, and perhaps what predicts its own features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from hare_tortoise.lab.registry import explained, find, settings_of
from hare_tortoise.lab.spec import parse
from hare_tortoise.methods.support.injected import Injected
from hare_tortoise.networks.encoder import Encoder
from hare_tortoise.networks.impala import impala_encoder
from hare_tortoise.networks.minatar import minatar_encoder
from hare_tortoise.networks.nature import nature_encoder
from hare_tortoise.rl.heads import QHead
from hare_tortoise.rl.interface import Space
from hare_tortoise.rl.noisy import NoisyLinear
from hare_tortoise.rl.prediction import Prediction
from hare_tortoise.rl.recipe import AgentRecipe


class VectorEncoder(nn.Module):
    """Flatten, Linear, perhaps LayerNorm, ReLU: for observations that are vectors."""

    def __init__(self, input_shape: tuple[int, ...], width: int = 256, layer_norm: bool = False) -> None:
        super().__init__()
        norm = [nn.LayerNorm(width)] if layer_norm else []
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), width), *norm, nn.ReLU())
        self.features = width

    def forward(self, observations: Tensor) -> Tensor:
        """Map (batch, *input_shape) to (batch, width)."""
        features: Tensor = self.body(observations)
        return features


ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    "nature": nature_encoder,
    "impala": impala_encoder,
    "minatar": minatar_encoder,
    "mlp": VectorEncoder,
}


class QNetwork(nn.Module):
    """`encoder`, `head`, and perhaps `prediction`: from observations, floating, to what is known of the actions.

    That is their values, or the logits of the distributions of their returns.
    """

    def __init__(self, encoder: nn.Module, head: QHead, prediction: Prediction | None = None) -> None:
        super().__init__()
        self.encoder, self.head, self.prediction = encoder, head, prediction

    def resample(self, generator: torch.Generator) -> None:
        """Draw the noise of the head anew; where plasticity was injected, its three heads have the same."""
        head: nn.Module = self.head
        if not isinstance(head, Injected):
            self.head.resample(generator)
            return
        drawn = dict(head.trained.named_modules())
        for name, layer in drawn.items():
            if isinstance(layer, NoisyLinear):
                layer.resample(generator)
                for frozen in (head.old, head.start):
                    twin = cast(NoisyLinear, frozen.get_submodule(name))
                    twin.noise_in.copy_(layer.noise_in)
                    twin.noise_out.copy_(layer.noise_out)

    def forward(self, observations: Tensor, legal: Tensor | None = None) -> Tensor:
        """Map (batch, *shape) to (batch, actions) or (batch, actions, atoms)."""
        outputs: Tensor = self.head(self.encoder(observations), legal)
        return outputs


def input_shape(recipe: AgentRecipe, space: Space) -> tuple[int, ...]:
    """Shape of what the network sees at once: the frames of a stack are channels."""
    if len(space.shape) == 1:
        return (recipe.stack * space.shape[0],)
    channels = 1 if len(space.shape) == 2 else space.shape[0]
    return (recipe.stack * channels, *space.shape[-2:])


def prepare(observations: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Make stacks of observations, (rows, S, …), floats for the network, (rows, *shape): bytes are divided by 255."""
    floats = observations.float()
    if observations.dtype == torch.uint8:
        floats = floats / 255
    return floats.reshape(len(observations), *shape)


def build_network(recipe: AgentRecipe, space: Space, actions: int) -> QNetwork:
    """Build the network of an agent with weights from torch's global random state.

    Args:
        recipe: says of what.
        space: of the observations.
        actions: outputs; at least those that are legal.

    Raises:
        ValueError: There is no such encoder, or it does not fit the observations.
    """
    call = parse(recipe.encoder)
    build = find("encoder", call, ENCODERS)
    settings = settings_of("encoder", call, build, given=("input_shape",))
    if recipe.layer_norm and not call.external:
        settings["layer_norm"] = True
    with explained("encoder", call):
        encoder = build(input_shape(recipe, space), **settings)
    features = getattr(encoder, "features", None)
    if not isinstance(encoder, nn.Module) or not isinstance(features, int):
        raise ValueError(
            f"encoder {call}: got a {type(encoder).__name__}, expected an nn.Module with a whole number `features`: "
            "the width of what it gives"
        )
    head = QHead(
        features,
        actions,
        hidden=recipe.hidden,
        dueling=recipe.dueling,
        atoms=recipe.atoms,
        noisy=recipe.noisy,
        shared_hidden=recipe.shared_hidden,
        layer_norm=recipe.layer_norm,
    )
    if not recipe.prediction:
        return QNetwork(encoder, head)
    if not isinstance(encoder, Encoder):
        raise ValueError(
            f"encoder {call}: got a {type(encoder).__name__}, expected one of this library's for images, as what it "
            "sees ahead is predicted; set prediction=0"
        )
    return QNetwork(encoder, head, Prediction(encoder.maps, actions, recipe.hidden))
