"""A copy of a network without its wrappers and forward hooks, to be evaluated on its own."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dis import get_instructions
from functools import partial
from types import FunctionType, MethodType
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
    own = {id(part) for part in (*model.modules(), *model.parameters(), *model.buffers())}
    for name, module in named_modules(model):
        check_copyable(name, module)
        _check_functions(name, module, own)
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
        if own is not None and own.is_meta:
            raise ValueError(
                f"{where} is on the meta device, its weights have no values yet: call model.to_empty(device=...) and "
                "initialise or load them first"
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


def _check_functions(name: str, module: nn.Module, own: Collection[int]) -> None:
    """Raise a ValueError for a function kept in a module that has hold of the model: the copy would run the model."""
    for attribute, value in vars(module).items():
        # What `module.compile()` leaves there is left out of the copy.
        if attribute != "_compiled_call_impl" and _holds(value, own, set()):
            raise ValueError(
                f"{name or 'model'} ({type(module).__name__}) has a function {attribute!r} that holds the model or a "
                "part of it, so that its copy would run the model: make it a method of the class, or give the copy "
                "yourself by tortoise="
            )


def _holds(value: object, own: Collection[int], seen: set[int]) -> bool:
    """Whether a function, which a deep copy does not copy, reaches one of the modules or tensors of the model."""
    if isinstance(value, MethodType):
        # A deep copy binds the function of a method to the copy.
        value = value.__func__
    elif isinstance(value, partial):
        value = value.func
    if not isinstance(value, FunctionType) or id(value) in seen:
        return False
    seen.add(id(value))
    return any(
        id(item.__self__ if isinstance(item, MethodType) else item) in own or _holds(item, own, seen)
        for reached in _reached(value)
        for item in (reached if isinstance(reached, list | tuple) else (reached,))
    )


def _reached(function: FunctionType) -> Iterator[object]:
    """What a function has hold of: its closure, its defaults, the globals that it names."""
    for cell in function.__closure__ or ():
        # A cell is empty until what it stands for is assigned.
        with suppress(ValueError):
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for instruction in get_instructions(function):
        if instruction.opname == "LOAD_GLOBAL":
            yield function.__globals__.get(instruction.argval)


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
