"""Hare and tortoise side by side, tensor by tensor, in the lists that the averaging step uses as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from .names import is_loaded_instance, is_sharded, local, named_modules, named_weights

Treatment = Literal["average", "copy", "none"]


@dataclass
class Group:
    """Pairs of one device, and of one dtype on either side, which one foreach call takes together."""

    mixed: bool
    hare: list[Tensor] = field(default_factory=list)
    tortoise: list[Tensor] = field(default_factory=list)

    def average(self, decay: float, weight: float) -> None:
        """`tortoise ← decay·tortoise + weight·hare`, where `weight = 1 − decay`."""
        if self.mixed:
            # lerp refuses two dtypes; these two calls take them without a converted copy of the hare.
            torch._foreach_mul_(self.tortoise, decay)
            torch._foreach_add_(self.tortoise, self.hare, alpha=weight)
        else:
            torch._foreach_lerp_(self.tortoise, self.hare, weight)

    def average_on_device(self, weight: Tensor) -> None:
        """The same with a weight that only the device knows; 0 leaves the tortoise as it is, if the hare is finite."""
        weight = weight.to(self.tortoise[0], non_blocking=True)
        weights = [weight] * len(self.tortoise)
        if self.mixed:
            torch._foreach_mul_(self.tortoise, 1 - weight)
            torch._foreach_addcmul_(self.tortoise, self.hare, weights)
        else:
            torch._foreach_lerp_(self.tortoise, self.hare, weights)


class Pairs:
    """The tensors of hare and tortoise that belong together, and what is done with each pair.

    Args:
        hare: parameters and buffers of the model by canonical name.
        tortoise: those of the average, with the same names and shapes.
        treatment: "average", "copy" or "none" by name.
    """

    def __init__(
        self, hare: Mapping[str, Tensor], tortoise: Mapping[str, Tensor], treatment: Mapping[str, Treatment]
    ) -> None:
        self.hare = dict(hare)
        self.tortoise = dict(tortoise)
        self.treatment = dict(treatment)
        groups: dict[Any, Group] = {}
        self._copied = Group(mixed=True)
        self._places = {name: _place(tensor) for name, tensor in self.hare.items()}
        for name, tensor in self.hare.items():
            near, far = local(tensor), local(self.tortoise[name])
            if treatment[name] == "average":
                key = (near.device, near.dtype, far.dtype)
                group = groups.setdefault(key, Group(mixed=near.dtype != far.dtype))
            elif treatment[name] == "copy":
                group = self._copied
            else:
                continue
            group.hare.append(near)
            group.tortoise.append(far)
        self._averaged = list(groups.values())
        # `model.to(...)` keeps the objects of the parameters. What is cast, moved or resized has other storage; one
        # of each group tells of storage that came back to the same address.
        self._seen = [tensor for group in (*self._averaged, self._copied) for tensor in group.hare]
        self._addresses = list(map(Tensor.data_ptr, self._seen))
        self._signs = [(group.hare[0], group.hare[0].dtype) for group in self._averaged]
        self._shards = [
            (cast(Any, tensor), cast(Any, tensor)._local_tensor)
            for tensor in self.hare.values()
            if is_sharded(tensor)
        ]

    def average(self, decay: float) -> None:
        """`tortoise ← decay·tortoise + (1 − decay)·hare`; what is not averaged is copied."""
        # As a decorator it would cost twice as much.
        with torch.no_grad():
            for group in self._averaged:
                group.average(decay, 1 - decay)
            if self._copied.hare:
                torch._foreach_copy_(self._copied.tortoise, self._copied.hare)

    @torch.no_grad()
    def average_on_device(self, weight: Tensor, skipped: Tensor | None) -> None:
        """`tortoise ← tortoise + weight·(hare − tortoise)`, all scalars on the device; nothing if it was skipped."""
        if skipped is not None:
            weight = weight.masked_fill(skipped, 0.0)
        for group in self._averaged:
            group.average_on_device(weight)
        copied = self._copied.hare
        if skipped is not None:
            copied = [
                torch.where(skipped.to(old.device, non_blocking=True), old, new.to(old.dtype))
                for old, new in zip(self._copied.tortoise, copied, strict=True)
            ]
        if copied:
            torch._foreach_copy_(self._copied.tortoise, copied)

    @torch.no_grad()
    def put_back(self) -> None:
        """`hare ← tortoise`, by value."""
        for group in (*self._averaged, self._copied):
            if group.hare:
                torch._foreach_copy_(group.hare, group.tortoise)

    @torch.no_grad()
    def start(self) -> None:
        """`tortoise ← hare`, all of it."""
        for name, tensor in self.hare.items():
            local(self.tortoise[name]).copy_(local(tensor))

    def moved(self) -> bool:
        """Whether a step can tell that the lists do not hold the model's weights as they are now."""
        return (
            list(map(Tensor.data_ptr, self._seen)) != self._addresses
            or any(tensor.dtype != dtype for tensor, dtype in self._signs)
            or any(shard._local_tensor is not part for shard, part in self._shards)
        )

    def match(self, hare: Mapping[str, Tensor], tortoise: Mapping[str, Tensor]) -> bool:
        """Whether the lists hold these very tensors, where they were."""
        return (
            hare.keys() == self.hare.keys()
            and all(tensor is self.hare[name] for name, tensor in hare.items())
            and all(tensor is self.tortoise[name] for name, tensor in tortoise.items())
            and all(_place(tensor) == self._places[name] for name, tensor in hare.items())
        )

    @torch.no_grad()
    def non_finite(self) -> list[str]:
        """Names of the averages that hold a NaN or an infinity; one synchronisation for each device."""
        averages: dict[torch.device, dict[str, Tensor]] = {}
        for name, treatment in self.treatment.items():
            values = local(self.tortoise[name])
            if treatment == "average" and values.numel():
                averages.setdefault(values.device, {})[name] = values
        found = []
        for tensors in averages.values():
            # A finite norm means finite values, and is many times quicker than looking at each of them. It may
            # overflow where they are finite: then they are looked at.
            norms = torch._foreach_norm(list(tensors.values()))
            finite = torch.stack([norm.float() for norm in norms]).isfinite().tolist()
            suspects = [name for name, fine in zip(tensors, finite, strict=True) if not fine]
            found += [name for name in suspects if not bool(tensors[name].isfinite().all())]
        return found

    def written_buffers(self) -> list[str]:
        """Names of the buffers that a reset writes."""
        return [
            name
            for name, tensor in self.hare.items()
            if not isinstance(tensor, nn.Parameter) and self.treatment[name] != "none"
        ]


def treatments(model: nn.Module, buffers: Treatment) -> dict[str, Treatment]:
    """What is done with each tensor of a hare, `buffers` being the wish for floating buffers."""
    file = "torch.nn.utils.parametrizations"
    # The mean of two unit vectors is none: a weight divided by what they say of it would be scaled wrongly.
    unit_vectors = {
        id(buffer)
        for _, module in named_modules(model)
        if is_loaded_instance(module, file, "_SpectralNorm")
        for buffer in module._buffers.values()
    }
    return {
        name: "copy" if id(tensor) in unit_vectors else _treatment(tensor, buffers)
        for name, tensor in named_weights(model).items()
    }


def _treatment(tensor: Tensor, buffers: Treatment) -> Treatment:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return "copy"
    if isinstance(tensor, nn.Parameter):
        return "average"
    # An attention mask of −inf or an observer's minimum of +inf would be averaged to NaN.
    if buffers == "average" and not bool(local(tensor).isfinite().all()):
        return "copy"
    return buffers


def _place(tensor: Tensor) -> tuple[Any, ...]:
    part = local(tensor)
    return part.device, part.dtype, tuple(tensor.shape), part.data_ptr()
