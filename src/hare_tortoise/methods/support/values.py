"""Values of weights that may be sharded: the whole, this process's share, and copies to come back to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .names import is_sharded, local, named_weights, write
from .sharding import reshard


def whole(tensor: Tensor) -> Tensor:
    """Return the global values of a tensor that may be sharded (a collective call then), without gradient.

    >>> whole(torch.ones(2, requires_grad=True)).requires_grad
    False
    """
    gathered: Tensor = cast(Any, tensor).full_tensor() if is_sharded(tensor) else tensor
    return gathered.detach()


@torch.no_grad()
def share(target: Tensor, value: Tensor) -> Tensor:
    """Return the part of a whole value that this process holds of `target`, on its device, at least float32.

    >>> share(torch.zeros(2, dtype=torch.float16), torch.ones(2))
    tensor([1., 1.])
    """
    dtype = torch.promote_types(target.dtype, torch.float32)
    part = torch.empty_like(target, dtype=dtype, requires_grad=False)
    write(part, value)
    return local(part)


def snapshot(model: nn.Module, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Copy the weights of a model by canonical name; of a sharded tensor, this process's shard.

    >>> layer = nn.Linear(2, 1)
    >>> kept = snapshot(layer, only=["bias"])
    >>> list(kept), torch.equal(kept["bias"], layer.bias), kept["bias"] is layer.bias
    (['bias'], True, False)
    """
    reshard(model)
    return {
        name: tensor.detach().clone()
        for name, tensor in named_weights(model).items()
        if only is None or name in only
    }


def check_snapshot(kept: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if a saved snapshot names other tensors, or other shapes, than one of the model.

    >>> check_snapshot({"bias": torch.zeros(2)}, {"bias": torch.ones(2)})
    """
    other = sorted(kept.keys() ^ saved.keys())
    other += [name for name in kept if name in saved and kept[name].shape != saved[name].shape]
    if other:
        raise ValueError(
            f"the saved state is of another model: {', '.join(other[:8])} differ in name or shape; "
            "load it into a method that was built on the same model"
        )


@torch.no_grad()
def loaded_snapshot(kept: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what was saved in the form (dtype, device, shards) of a snapshot of the same model.

    Raises:
        ValueError: `saved` names other tensors, or other shapes, than `kept`.
    """
    check_snapshot(kept, saved)
    loaded = {name: torch.empty_like(tensor) for name, tensor in kept.items()}
    for name, tensor in loaded.items():
        write(tensor, saved[name])
    return loaded
