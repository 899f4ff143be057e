"""A copy of a network without its wrappers and forward hooks, to be evaluated on its own."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .names import named_modules, unwrap

HALF = (torch.float16, torch.bfloat16)


def plain_copy(model: nn.Module, shared: Collection[int] = ()) -> nn.Module:
    """Copy a network, half precision as float32, in eval mode and without gradients.

    Wrappers (DDP, `torch.compile`, activation checkpointing) and forward and backward hooks are left behind, at
    every depth. Tied weights stay tied.

    Args:
        model: any module that is not sharded.
        shared: identities (`id`) of the parameters that are not copied but shared.

    Raises:
        ValueError: something in the model cannot be copied; the message names the module and the cure.

    Example:
        >>> layer = torch.nn.Linear(2, 1).bfloat16()
        >>> twin = plain_copy(torch.nn.DataParallel(layer))
        >>> type(twin).__name__, twin.weight.dtype, twin.training
        ('Linear', torch.float32, False)
    """
    memo: dict[int, Any] = {}
    for name, module in named_modules(model):
        check_copyable(name, module)
        for attribute, value in vars(module).items():
            if attribute.endswith("_hooks") and isinstance(value, dict):
                memo[id(value)] = copied_hooks(value, attribute)
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and id(tensor) not in memo:
                memo[id(tensor)] = tensor if id(tensor) in shared else _copied(tensor)
    # Inner wrappers first, so that the copy of a wrapper is the copy of what it wraps.
    for module in reversed(list(model.modules())):
        if unwrap(module) is not module:
            memo[id(module)] = _deepcopy(unwrap(module), memo)
    twin = _deepcopy(unwrap(model), memo)
    for module in twin.modules():
        module.__dict__.pop("_compiled_call_impl", None)
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
    return twin.eval()


def check_copyable(name: str, module: nn.Module) -> None:
    """Raise a ValueError for what a copy could not stand for: lazy modules, weights that are computed."""
    where = f"{name or 'model'} ({type(module).__name__})"
    for own in (*module._parameters.values(), *module._buffers.values()):
        if own is not None and is_lazy(own):
            raise ValueError(
                f"{where} is lazy, its weights have no shape yet: run one batch through the model first"
            )
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):
            raise ValueError(
                f"{where} has its weight computed by a {type(hook).__name__} hook, expected weights that are "
                "parameters: use torch.nn.utils.parametrizations instead, or for pruning torch.nn.utils.prune.remove"
            )
    for attribute, value in (*vars(module).items(), *module._buffers.items()):
        if isinstance(value, Tensor) and not value.is_leaf:
            raise ValueError(
                f"{where} has a tensor {attribute!r} that was computed from others and cannot be copied, expected "
                "parameters and buffers: detach() it, or compute it in forward (torch.nn.utils.parametrize)"
            )


def copied_hooks(hooks: dict[Any, Any], name: str) -> dict[Any, Any]:
    """The hooks that a copy has: those of its `state_dict`, which say how it is saved."""
    # Others act on the hare, and a deep copy would drag along whatever they are bound to.
    return copy.copy(hooks) if "state_dict" in name else OrderedDict()


def _copied(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.dtype in HALF else tensor.dtype
    values = tensor.detach().to(dtype, copy=True)
    return nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values


def _deepcopy(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        for name, inner in reversed(list(named_modules(module))):
            kept = {key: value for key, value in vars(inner).items() if key != "_modules"}
            try:
                copy.deepcopy(kept, dict(memo))
            except Exception:
                raise ValueError(
                    f"{name or 'model'} ({type(inner).__name__}) cannot be copied ({error}): keep what cannot be "
                    "copied out of the module, or give the copy yourself by tortoise="
                ) from error
        raise
