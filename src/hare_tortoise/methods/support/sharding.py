"""What differs under DDP and FSDP2: resharding, the groups of processes, tensors of which each holds a part."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .names import is_loaded_instance, is_sharded, layers, local, named_modules, named_weights


def is_fsdp(module: nn.Module) -> bool:
    """Whether `fully_shard` was applied to this module."""
    return is_loaded_instance(module, "torch.distributed.fsdp", "FSDPModule")


def reshard(model: nn.Module) -> None:
    """Put every FSDP2 module back to its shards; nothing for any other model.

    After a forward without gradients the root keeps its gathered weights: what is then written to the shards
    would not be seen by the next forward.
    """
    if "torch.distributed.fsdp" in sys.modules:
        for _, module in named_modules(model):
            if is_fsdp(module):
                cast(Any, module).reshard()


def in_parts(model: nn.Module) -> bool:
    """Whether a process holds only its part of some weight (FSDP2, tensor parallelism)."""
    return any(is_sharded(tensor) for tensor in named_weights(model).values()) or any(
        is_fsdp(module) for _, module in named_modules(model)
    )


def process_groups(model: nn.Module) -> list[Any]:
    """The groups over which the buffers of a model are made equal, one after the other; none on one process."""
    for layer in layers(model):
        if is_loaded_instance(layer, "torch.nn.parallel.distributed", "DistributedDataParallel"):
            return [cast(Any, layer).process_group]
    for tensor in named_weights(model).values():
        if is_sharded(tensor):
            mesh = cast(Any, tensor).device_mesh
            return [mesh.get_group(dimension) for dimension in range(mesh.ndim)]
    return []


def on_any_rank(flag: bool, tensors: Iterable[Tensor], groups: Sequence[Any]) -> bool:
    """Whether a flag is set on any process; all processes of the groups must take part.

    Args:
        flag: this process's.
        tensors: they tell the device over which the groups communicate.
        groups: as `process_groups` gives them; none on one process, where nothing is asked then.
    """
    if not groups:
        return flag
    import torch.distributed as dist

    device = next((local(tensor).device for tensor in tensors), torch.device("cpu"))
    anywhere = torch.tensor(int(flag), device=device)
    for group in groups:
        dist.all_reduce(anywhere, op=dist.ReduceOp.MAX, group=group)
    return bool(anywhere)


@torch.no_grad()
def take_from_first_rank(tensors: Iterable[Tensor], groups: Sequence[Any]) -> None:
    """Overwrite tensors by those of the first process; all processes of the groups must take part."""
    if not groups:
        return
    import torch.distributed as dist

    for tensor in map(local, tensors):
        for group in groups:
            dist.broadcast(tensor, src=dist.get_global_rank(group, 0), group=group)
