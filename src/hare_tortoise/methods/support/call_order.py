"""The order in which a network calls its layers, which is not always that in which it registers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .names import named_modules, unwrap
from .untouched import untouched


def last_called(
    model: nn.Module, count: int, inputs: Sequence[Any], named: Mapping[str, Any]
) -> tuple[str, ...]:
    """Name the last layers that a network calls, and what has parameters and is called among or after them.

    A layer here is a module that holds a parameter of two dimensions or more by itself; one that is called
    several times stands where it is called last. The network is run once, in eval mode, and left untouched.

    Args:
        model: wrapped or not.
        count: number of layers, at least 1.
        inputs: positional arguments of the forward; tensors are copied.
        named: keyword arguments of the forward.

    Raises:
        ValueError: there are fewer layers, or some module with parameters is not called, so that its place in the
            order is not known (the projection that attention calls as a function counts as a part of the attention);
            or one of the last is the model itself.

    >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    >>> last_called(model, 2, (torch.ones(1, 2),), {})
    ('2', '3', '4')
    """
    network = unwrap(model)
    holders = {name: module for name, module in named_modules(network) if _holds(module)}
    order: dict[str, None] = {}

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            order.pop(name, None)
            order[name] = None

        return hook

    handles = [module.register_forward_pre_hook(note(name)) for name, module in holders.items()]
    try:
        with untouched(network), torch.no_grad():
            network(*map(_copied, inputs), **{key: _copied(value) for key, value in named.items()})
    finally:
        for handle in handles:
            handle.remove()
    attention = {name for name in order if isinstance(holders[name], nn.MultiheadAttention)}
    if missing := [
        name for name in holders if name not in order and name.rpartition(".")[0] not in attention
    ]:
        raise ValueError(
            f"layers is {count}, but the place of {', '.join(missing[:8])} in the order of calls is not known, because "
            'the forward does not call it as a module: name the layers, e.g. layers=("head",)'
        )
    called = list(order)
    layers = [place for place, name in enumerate(called) if _is_layer(holders[name])]
    if len(layers) < count:
        raise ValueError(f"layers is {count}, but the model has {len(layers)} of them: give a smaller number")
    last = tuple(called[layers[-count] :])
    if "" in last:
        raise ValueError(
            f"layers is {count}, which reaches to parameters that {type(network).__name__} holds itself, outside of "
            "any layer in it: give a smaller number, or reset all by FullReset or FromScratch"
        )
    return last


def _holds(module: nn.Module) -> bool:
    return any(parameter is not None for parameter in module._parameters.values())


def _is_layer(module: nn.Module) -> bool:
    return any(parameter is not None and parameter.ndim > 1 for parameter in module._parameters.values())


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
