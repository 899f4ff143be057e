"""Norms of weights that may be sharded or in half precision, and scaling by what was made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from .names import is_sharded, local

_HALF = (torch.float16, torch.bfloat16)


@torch.no_grad()
def frobenius_norms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `‖W‖_F` of each tensor, scalars on its device, in float64 (float32 where there is none, on MPS).

    Of a shard it is the norm of the whole tensor: all processes must call it, with the same names in the same
    order. Summed in float64, the parts give what the whole gives, once it is rounded to float32. Nothing waits for
    the device.

    >>> frobenius_norms({"weight": torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16)})
    {'weight': tensor(5., dtype=torch.float64)}
    """
    groups: dict[torch.dtype, list[str]] = {}
    for name, tensor in tensors.items():
        dtype = torch.float32 if tensor.device.type == "mps" else torch.float64
        groups.setdefault(dtype, []).append(name)
    norms: dict[str, Tensor] = {}
    for dtype, names in groups.items():
        found = torch._foreach_norm([local(tensors[name]) for name in names], 2, dtype=dtype)
        norms |= dict(zip(names, found, strict=True))
    _over_all_processes(norms, tensors)
    return {name: norms[name] for name in tensors}


def _over_all_processes(norms: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Replace the norms of shards by those of the whole tensors; one message for those that are sharded alike."""
    alike: dict[Any, list[str]] = {}
    for name, tensor in tensors.items():
        if is_sharded(tensor):
            shards = cast(Any, tensor)
            key = (shards.device_mesh, tuple(shards.placements), norms[name].dtype)
            alike.setdefault(key, []).append(name)
    if not alike:
        return
    import torch.distributed as dist

    for (mesh, placements, _), names in alike.items():
        squares = torch.stack([norms[name] for name in names]).square()
        for dimension, placement in enumerate(placements):
            if placement.is_shard():
                dist.all_reduce(squares, group=mesh.get_group(dimension))
        norms |= dict(zip(names, squares.sqrt().unbind(), strict=True))


def quotient(numerator: Tensor | float, norm: Tensor) -> Tensor:
    """Return `numerator / norm`, and 1 where the norm is zero or not finite.

    >>> quotient(2.0, torch.tensor(4.0)), quotient(2.0, torch.tensor(0.0))
    (tensor(0.5000), tensor(1.))
    """
    factor = numerator / norm
    return torch.where((norm > 0) & norm.isfinite(), factor, torch.ones_like(factor))


@torch.no_grad()
def scale(tensors: Iterable[Tensor], factors: Iterable[Tensor]) -> None:
    """Multiply each tensor by its factor in place, rounding once: `W ← factor · W`.

    Args:
        tensors: weights, or shards of them.
        factors: scalars on the devices of the tensors.

    >>> weight = torch.ones(2)
    >>> scale([weight], [torch.tensor(3.0)])
    >>> weight
    tensor([3., 3.])
    """
    whole: list[Tensor] = []
    by: list[Tensor] = []
    for tensor, factor in zip(tensors, factors, strict=True):
        part = local(tensor)
        if part.dtype in _HALF:
            # The factor itself, rounded to half precision, may be 1.
            part.copy_(part.float() * factor.float())
        else:
            whole.append(part)
            by.append(factor.to(part.dtype))
    if whole:
        torch._foreach_mul_(whole, by)


def unless(skipped: Tensor | None, factors: Sequence[Tensor], otherwise: float = 1.0) -> list[Tensor]:
    """Return the factors, or a number in their place where the step was skipped, without waiting for the device.

    >>> unless(torch.tensor(True), [torch.tensor(3.0)])
    [tensor(1.)]
    """
    if skipped is None:
        return list(factors)
    return [
        torch.where(skipped.to(factor.device, non_blocking=True), otherwise, factor) for factor in factors
    ]
