"""The linear and convolutional layers of a network, by name."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .names import named_modules, named_weights
from .sharding import reshard

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Dense:
    """A layer: the canonical names of the module, of its weight and of its bias, and its groups of channels."""

    name: str
    weight: str
    bias: str | None
    groups: int


def dense_layers(model: nn.Module) -> list[Dense]:
    """Return the linear and (not transposed) convolutional layers; a weight that several share, once.

    Raises:
        ValueError: a layer computes its weight from others (weight norm, spectral norm, pruning).

    >>> [layer.weight for layer in dense_layers(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Linear(4, 2)))]
    ['0.weight', '2.weight']
    """
    reshard(model)
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    layers: dict[str, Dense] = {}
    for name, module in named_modules(model):
        if not isinstance(module, _KINDS):
            continue
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is None:
            raise ValueError(
                f"{name or 'model'} ({type(module).__name__}) computes its weight from other tensors, expected a weight "
                "that is a parameter: remove the parametrization, weight norm or pruning first"
            )
        layer = Dense(
            name,
            names[id(weight)],
            names[id(bias)] if bias is not None else None,
            getattr(module, "groups", 1),
        )
        layers.setdefault(layer.weight, layer)
    return list(layers.values())
