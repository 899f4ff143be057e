"""Names and tensors of a network, whatever wraps it: DDP, `torch.compile`, checkpointing, FSDP2."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

# Where each wrapper keeps what it wraps. A wrapper is known by its type, never by the name of an attribute
# (a network may well have a layer called "module"); a type whose file was never imported has no instances.
_WRAPPERS = (
    ("torch.nn.parallel.distributed", "DistributedDataParallel", "module"),
    ("torch.nn.parallel.data_parallel", "DataParallel", "module"),
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
    (
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper",
        "ActivationWrapper",
        "_checkpoint_wrapped_module",
    ),
)


def is_loaded_instance(value: object, module: str, name: str) -> bool:
    """Whether `value` is of a type that lives in a file of torch that is not imported here for its sake."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside its wrappers (DDP, DataParallel, `torch.compile`, activation checkpointing).

    Args:
        model: any module; one that is not wrapped is returned as it is. A layer that happens to be called
            `module` is no wrapper: wrappers are known by their type.

    Returns:
        The innermost module. FSDP2 does not wrap, so a sharded module is returned as it is.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1)
        >>> unwrap(torch.nn.DataParallel(layer)) is layer
        True
    """
    while (attribute := _wrapping(cast(Any, type(model)))) is not None:
        model = cast(nn.Module, getattr(model, attribute))
    return model


def layers(model: nn.Module) -> Iterator[nn.Module]:
    """A model, what it wraps, what that wraps, and so on to the network itself."""
    yield model
    attribute = _wrapping(cast(Any, type(model)))
    if attribute is not None:
        yield from layers(cast(nn.Module, getattr(model, attribute)))


@lru_cache(maxsize=1024)
def _wrapping(kind: type[nn.Module]) -> str | None:
    """Where modules of this type keep what they wrap; None: they are no wrappers."""
    for file, name, attribute in _WRAPPERS:
        wrapper = getattr(sys.modules.get(file), name, None)
        if wrapper is not None and issubclass(kind, wrapper):
            return attribute
    return None


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Canonical names and modules, depth first, wrappers left out, each module once (the root is "")."""
    seen: set[int] = set()

    def walk(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        module = unwrap(module)
        if id(module) in seen:
            return
        seen.add(id(module))
        yield prefix, module
        for name, child in module.named_children():
            yield from walk(f"{prefix}.{name}" if prefix else name, child)

    return walk("", model)


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a network by canonical name.

    The names are those of `unwrap(model).state_dict()` with the prefixes of inner wrappers left out too.
    Buffers that are not saved (`persistent=False`) are included. A tensor that is reachable by several names
    (tied weights) is listed once, under the first.

    Args:
        model: any module, wrapped or not.

    Returns:
        The tensors themselves, in the order of the modules. Under FSDP2 they are `DTensor` shards, provided
        the module is resharded.

    Example:
        >>> import torch
        >>> sorted(named_weights(torch.nn.DataParallel(torch.nn.Linear(2, 1))))
        ['bias', 'weight']
    """
    weights: dict[str, Tensor] = {}
    seen: set[int] = set()
    for prefix, module in named_modules(model):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                weights[f"{prefix}.{name}" if prefix else name] = tensor
    return weights


def known_weight(weights: Mapping[str, Tensor], name: str, shape: torch.Size) -> Tensor:
    """The weight of a name, which must have the shape that it had when a method was built.

    Args:
        weights: by canonical name, as `named_weights` gives them.
        name: of the one wanted.
        shape: that it had.

    Raises:
        RuntimeError: there is none, or it has another shape.

    Example:
        >>> layer = torch.nn.Linear(2, 1)
        >>> known_weight(named_weights(layer), "bias", torch.Size([1])) is layer.bias
        True
    """
    tensor = weights.get(name)
    if tensor is None or tensor.shape != shape:
        raise RuntimeError(
            f"{name} is not in the model any more, or has another shape than when the method was built; "
            "build a new method after changing the network"
        )
    return tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a `DTensor`, of which this process holds its own part only."""
    return is_loaded_instance(tensor, "torch.distributed.tensor", "DTensor")


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds, sharing its storage (a plain tensor: itself)."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        return cast(Tensor, cast(Any, tensor).to_local())


@torch.no_grad()
def write(target: Tensor, value: Tensor) -> None:
    """Copy a whole value into a tensor in place, cast to its dtype: `target ← value`.

    Args:
        target: a parameter or buffer; a `DTensor` shard takes its own part, without communication.
        value: a tensor of the same (global) shape, on any device and of any dtype. Under several processes
            every process gives the same value, or a `DTensor`.

    Raises:
        ValueError: if the shapes differ (nothing is broadcast).

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> write(layer.weight, torch.tensor([[1.0, 2.0]]))
        >>> layer.weight.tolist()
        [[1.0, 2.0]]
    """
    if target.shape != value.shape:
        raise ValueError(
            f"value has shape {tuple(value.shape)}, expected the shape of target, {tuple(target.shape)}: "
            "give the whole (global) tensor"
        )
    if not is_sharded(target):
        target.copy_(cast(Any, value).full_tensor() if is_sharded(value) else value)
        return
    shards = cast(Any, target)
    if not is_sharded(value):
        from torch.distributed.tensor import distribute_tensor

        # src_data_rank=None: every rank cuts its part out of its own copy, nothing is sent.
        source: Any = distribute_tensor(
            value.detach().to(target.device), shards.device_mesh, shards.placements, src_data_rank=None
        )
    else:
        source = cast(Any, value).redistribute(shards.device_mesh, shards.placements)
    shards.to_local().copy_(source.to_local())
