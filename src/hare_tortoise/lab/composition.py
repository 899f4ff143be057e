"""What a composition names: transforms of the network, an optimizer, methods; each ours or the user's own.

They are written alike, ``layer-norm+upgd(lr=0.01)+hare-tortoise``, and told apart here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from hare_tortoise.lab import registry
from hare_tortoise.lab.spec import Call, parse_sum
from hare_tortoise.methods import Method
from hare_tortoise.networks import TRANSFORMS
from hare_tortoise.optimizers import OPTIMIZERS as OURS
from hare_tortoise.optimizers import Entry
from hare_tortoise.streams.names import unknown

Part = Literal["transform", "optimizer", "method"]

OPTIMIZERS: Mapping[str, Entry] = {
    "adam": Entry(torch.optim.Adam),
    "adamw": Entry(torch.optim.AdamW),
    "sgd": Entry(torch.optim.SGD),
    **OURS,
}
# what the laboratory itself passes to each
_GIVEN: Mapping[Part, tuple[str, ...]] = {
    "transform": ("network", "model"),
    "optimizer": ("params",),
    "method": registry.GIVEN,
}


@dataclass(frozen=True)
class Composition:
    """A composition taken apart; each part in the order written.

    Args:
        transforms: change the network when it is built.
        optimizer: takes the place of the recipe's; None: that one trains.
        methods: are chained; none: the network simply continues.
    """

    transforms: tuple[Call, ...]
    optimizer: Call | None
    methods: tuple[Call, ...]


def take_apart(text: str) -> Composition:
    """Tell the parts of a composition apart.

    Raises:
        ValueError: A name is not known, or two optimizers are named.

    Example:
        >>> take_apart("layer-norm+adam+ema(decay=0.9)")
        Composition(transforms=(Call(name='layer-norm', settings=(), positional=()),), optimizer=Call(name='adam', ...
    """
    parts: dict[Part, list[Call]] = {"transform": [], "optimizer": [], "method": []}
    for call in parse_sum(text):
        parts[part_of(call)[0]].append(call)
    optimizers = parts["optimizer"]
    if len(optimizers) > 1:
        raise ValueError(f"method {text!r} names {len(optimizers)} optimizers, expected one at most")
    methods = parts["method"] or [Call("warm-start")]
    return Composition(tuple(parts["transform"]), optimizers[0] if optimizers else None, tuple(methods))


def part_of(call: Call) -> tuple[Part, Any]:
    """Say what a call names, and give it: the class of a method, the entry of an optimizer, a transform.

    Raises:
        ValueError: There is none of this name, or the user's own is none of the three.
    """
    if not call.external:
        tables: Mapping[Part, Mapping[str, Any]] = {
            "method": registry.METHODS,
            "transform": TRANSFORMS,
            "optimizer": OPTIMIZERS,
        }
        for part, table in tables.items():
            if call.name in table:
                return part, table[call.name]
        raise unknown("method", call.name, [name for table in tables.values() for name in table])
    found = registry.load_external(call.name)
    if isinstance(found, type) and issubclass(found, Method):
        return "method", found
    if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
        return "optimizer", Entry(found)
    if callable(found) and not isinstance(found, type):
        return "transform", found
    raise ValueError(
        f"method {call.name!r}: got {found!r}, expected a subclass of hare_tortoise.Method or of "
        "torch.optim.Optimizer, or a function from network to network"
    )


def settings_of(call: Call) -> dict[str, Any]:
    """Give the settings of a part as keyword arguments.

    Raises:
        ValueError: It has no such setting.
    """
    part, found = part_of(call)
    target = found.build if isinstance(found, Entry) else found
    return registry.settings_of(part, call, target, given=_GIVEN[part])


def transformed(network: nn.Module, calls: tuple[Call, ...]) -> nn.Module:
    """Apply transforms to a network, left to right.

    Raises:
        ValueError: One of them gives no module, or does not fit the network.
    """
    for call in calls:
        with registry.explained("transform", call):
            network = part_of(call)[1](network, **settings_of(call))
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"transform {call}: got a {type(network).__name__}, expected a function from network to network"
            )
    return network


def optimizer_of(
    call: Call, parameters: list[nn.Parameter], *, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build an optimizer, fused where torch has it for the device; settings that are written come first.

    Raises:
        ValueError: There is no such optimizer or setting.
    """
    part, entry = part_of(call)
    if part != "optimizer":
        raise unknown("optimizer", call.name, OPTIMIZERS)
    build: Callable[..., torch.optim.Optimizer] = entry.build
    written, taken = settings_of(call), inspect.signature(build).parameters
    settings = {"lr": lr, "weight_decay": weight_decay} | written
    if "weight_decay" not in taken and not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        if weight_decay:
            raise ValueError(
                f"optimizer {call} takes no weight_decay, expected one for the recipe's {weight_decay:g}: "
                "set weight_decay=0, or let it take one"
            )
        del settings["weight_decay"]
    ours = build.__module__.startswith("torch.optim") and "fused" in taken
    if (
        ours
        and not {"fused", "foreach"} & written.keys()
        and parameters[0].device.type in ("cpu", "cuda", "mps")
    ):
        settings["fused"] = True
    with registry.explained("optimizer", call):
        return build(parameters, **settings)


def needs_closure(call: Call) -> bool:
    """Whether the optimizer that a call names takes the gradient again within a step."""
    entry = part_of(call)[1]
    return isinstance(entry, Entry) and entry.closure
