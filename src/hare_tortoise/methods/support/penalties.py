"""What penalties share: their strength, the parameters they are about, sums over processes and over classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .names import is_sharded, known_weight, named_modules, named_weights
from .norm_layers import is_layer_norm
from .sharding import reshard


def check_strength(strength: float, usual: str) -> None:
    """Raise a ValueError unless a strength is finite and at least 0.

    >>> check_strength(0.1, "1e-5 to 1e-1")
    """
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"strength is {strength}, expected a finite number of at least 0; {usual} are usual")


def penalised_names(model: nn.Module, *, layer_norm: bool) -> list[str]:
    """Return the canonical names of the floating parameters, with or without those of LayerNorm and its kin.

    These are RMSNorm, and GroupNorm with a single group.

    >>> penalised_names(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), layer_norm=False)
    ['0.weight', '0.bias']
    """
    left_out = {
        id(parameter)
        for _, module in named_modules(model)
        if is_layer_norm(module) and not layer_norm
        for parameter in module.parameters()
    }
    reshard(model)
    return [
        name
        for name, tensor in named_weights(model).items()
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and id(tensor) not in left_out
    ]


def trained(model: nn.Module, shapes: Mapping[str, torch.Size]) -> Iterator[tuple[str, Tensor]]:
    """Yield those of the named parameters that require a gradient, at least in float32.

    Args:
        model: whatever wraps it.
        shapes: by canonical name, as they were when the method was built.

    Raises:
        RuntimeError: one of them is not in the model any more, or has another shape.

    >>> [(name, tensor.item()) for name, tensor in trained(nn.LayerNorm(1), {"weight": torch.Size([1])})]
    [('weight', 1.0)]
    """
    reshard(model)
    weights = named_weights(model)
    for name, shape in shapes.items():
        tensor = known_weight(weights, name, shape)
        if tensor.requires_grad:
            yield name, at_least_float32(tensor)


def whole_sum(values: Tensor) -> Tensor:
    """Sum over all processes; the gradient of a shard is that of its own part."""
    return gathered(values.sum())


def gathered(tensor: Tensor) -> Tensor:
    """Return the global values, differentiable; the gradient of a shard is that of its own part."""
    return cast(Tensor, cast(Any, tensor).full_tensor()) if is_sharded(tensor) else tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Cast half precision to float32, in which sums and logarithms are taken."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def check_tensor(value: object, what: str) -> None:
    """Raise a TypeError unless something is a tensor.

    >>> check_tensor(torch.zeros(8, 3), "outputs")
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{what} are a {type(value).__name__}, expected a tensor: give the method a module that takes and returns "
            "one, around your network, and to penalty() what that one is given and returns"
        )


def check_classes(outputs: Tensor, targets: Tensor | None, method: str) -> None:
    """Raise a ValueError unless the outputs have a dimension of classes, which is the second.

    >>> check_classes(torch.zeros(8, 3), None, "SelfDistillation")
    """
    check_tensor(outputs, "outputs")
    if targets is not None and outputs.ndim > 2 and not targets.is_floating_point():
        positions = outputs.shape[:1] + outputs.shape[2:]
        if targets.ndim == outputs.ndim - 1 and targets.shape != positions:
            raise ValueError(
                f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}, expected (batch, "
                f"classes, positions) and (batch, positions) as {method} sums over classes: give outputs.movedim(-1, 1)"
            )
    if outputs.ndim < 2:
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}, expected (batch, classes, ...) as {method} sums over "
            "classes: give the logits as the network returns them for cross-entropy"
        )


def mean_of_class_sums(values: Tensor) -> Tensor:
    """Sum over the classes (the second dimension), then average over samples and positions.

    >>> mean_of_class_sums(torch.ones(4, 10)).item()
    10.0
    """
    return values.sum(1).mean()
