"""The linear and convolutional layers of a network, by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from .names import named_modules, named_weights, unwrap
from .sharding import reshard

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Dense:
    """A layer: the canonical names of the module, of its weight and of its bias, and its groups of channels."""

    name: str
    weight: str
    bias: str | None
    groups: int


def dense_layers(model: nn.Module, patterns: Sequence[str] = ("*",)) -> list[Dense]:
    """Return the linear and (not transposed) convolutional layers; a weight that several share, once.

    Layers whose weight is a buffer are no such layers: nothing trains them (the frozen heads of plasticity injection).

    Args:
        model: any module, wrapped or not.
        patterns: of names, as in file names; a layer is returned that matches one of them.

    Raises:
        ValueError: there is no such layer, or a pattern matches none; a layer that matches computes its weight from
            other tensors (weight norm, spectral norm, pruning).

    >>> [layer.weight for layer in dense_layers(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Linear(4, 2)))]
    ['0.weight', '2.weight']
    """
    reshard(model)
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    known = {
        name: module
        for name, module in named_modules(model)
        if isinstance(module, _KINDS) and module._buffers.get("weight") is None
    }
    if not known:
        raise ValueError(
            f"model ({type(unwrap(model)).__name__}) has no linear or convolutional layer whose weight is a parameter"
        )
    _check_patterns(known, patterns)
    layers: dict[str, Dense] = {}
    for name, module in known.items():
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is None:
            raise ValueError(
                f"{name or 'model'} ({type(module).__name__}) computes its weight from other tensors, expected a "
                "weight that is a parameter: remove the parametrization, weight norm or pruning first"
            )
        layer = Dense(
            name, names[id(weight)], None if bias is None else names[id(bias)], getattr(module, "groups", 1)
        )
        layers.setdefault(layer.weight, layer)
    return list(layers.values())


def _check_patterns(known: Collection[str], patterns: Sequence[str]) -> None:
    if not patterns:
        raise ValueError('layers is empty, expected at least one pattern: "*" stands for all layers')
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ValueError(
                f"layers has {pattern!r}, which matches no linear or convolutional layer; there are: "
                f"{', '.join(name or 'the model itself' for name in known)}"
            )
