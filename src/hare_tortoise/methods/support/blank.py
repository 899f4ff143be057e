"""A copy of a tree of modules over empty parameters, to run initialisers on."""

from __future__ import annotations

import copy
from collections.abc import Collection
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .names import unwrap
from .sharding import is_fsdp

# What every module starts with: hooks are left behind by taking these instead.
_KEPT = ("training", "_parameters", "_buffers", "_modules")


def blank_copy(model: nn.Module, only: Collection[int] | None = None) -> nn.Module:
    """Copy the tree of modules: parameters become NaN, buffers are copied, hooks are left behind.

    The copies lie on the CPU, half precision as float32. Whatever refers to a module or tensor of the model,
    also from lists, dictionaries and bound methods, refers in the copy to its copy, so that nothing the copy
    does reaches the model. What is shared stays shared. A sharded module (FSDP2) is copied as its original
    class, with tensors of the global shape.

    Args:
        model: any module; wrappers (DDP, compiled modules) are stripped at every depth.
        only: identities (`id`) of the tensors that are going to be written; the parameters among the others take
            no memory, and cannot be written. None: all.

    Raises:
        ValueError: the tree holds something that cannot be copied: a lazy module, a scripted module.

    >>> layer = nn.Linear(2, 1)
    >>> empty = blank_copy(layer)
    >>> bool(empty.weight.isnan().all()), bool(layer.weight.isnan().any())
    (True, False)
    """
    return _Copier(only).module(model)


class _Copier:
    """Copies modules and tensors, each once: `memo` maps the identity of an original to its copy."""

    def __init__(self, only: Collection[int] | None) -> None:
        self.memo: dict[int, Any] = {}
        self.only = only

    def module(self, module: nn.Module) -> nn.Module:
        module = unwrap(module)
        if id(module) not in self.memo:
            if isinstance(module, torch.jit.ScriptModule):
                raise ValueError(
                    f"the model holds a scripted module ({type(module).__name__}), whose weights cannot be "
                    "drawn anew by reset_parameters; pass fresh=, a function that builds a new network"
                )
            empty = self.memo[id(module)] = _instance(module)
            attributes = {name: self.value(value) for name, value in vars(module).items()}
            starting = {name: value for name, value in vars(nn.Module()).items() if name not in _KEPT}
            vars(empty).update(attributes | starting)
        copied: nn.Module = self.memo[id(module)]
        return copied

    def tensor(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self.memo:
            if is_lazy(tensor):
                raise ValueError(
                    "the model holds a lazy module, whose weights have no shape yet; "
                    "run one batch through it first, or pass fresh=, a function that builds a new network"
                )
            self.memo[id(tensor)] = _blank(tensor, writable=self.only is None or id(tensor) in self.only)
        copied: Tensor = self.memo[id(tensor)]
        return copied

    def value(self, value: Any) -> Any:
        """Copy what an attribute holds, as far as it can lead to a module or a tensor."""
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, dict):
            same = copy.copy(value)
            same.update((key, self.value(item)) for key, item in value.items())
            return same
        if isinstance(value, list):
            items = copy.copy(value)
            items[:] = [self.value(item) for item in value]
            return items
        if type(value) in (tuple, set, frozenset):
            return type(value)(self.value(item) for item in value)
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.module(value.__self__))
        return value


def _instance(module: nn.Module) -> nn.Module:
    """Return an instance of the module's class that has not been initialised."""
    kind: type = type(module)
    if is_fsdp(module):
        from torch.distributed.fsdp import FSDPModule

        # The class that the module had before it was sharded is the first without sharding.
        kind = next(base for base in kind.__mro__ if not issubclass(base, FSDPModule))
    instance: nn.Module = object.__new__(kind)
    return instance


def _blank(tensor: Tensor, *, writable: bool) -> Tensor:
    # A draw in half precision would be rounded before it reaches an average kept in float32.
    dtype = torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype
    if not isinstance(tensor, nn.Parameter):
        return tensor.detach().to("cpu", dtype, copy=True)
    if tensor.is_floating_point() or tensor.is_complex():
        values = torch.full(tensor.shape if writable else (), float("nan"), dtype=dtype, device="cpu")
        values = values.expand(tensor.shape)
    else:
        values = tensor.detach().to("cpu", copy=True)
    blank = nn.Parameter(values, requires_grad=tensor.requires_grad)
    # Initialisers may ask for marks that were set on the parameter.
    vars(blank).update(vars(tensor))
    return blank
