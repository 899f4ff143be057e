"""Resetting units: which entries of which weights get which values, done to the model and to its averages alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .fresh import Fresh, draw_fresh
from .names import is_sharded, local, named_weights
from .optimizer_state import clear_entries
from .unit_types import Units
from .values import share


@dataclass(frozen=True)
class Entry:
    """Entries of a weight and the values that they get: `value` where `mask`; both broadcast to the weight."""

    mask: Tensor
    value: Tensor | None


Plan = dict[str, list[Entry]]


def plan_reset(
    groups: Mapping[str, Units],
    chosen: Mapping[str, Tensor],
    drawn: Mapping[str, Tensor],
    ndims: Mapping[str, int],
) -> Plan:
    """Say what becomes of the weights when units are reset.

    Incoming rows, biases and what norms hold for a unit get the values drawn; outgoing columns become zero. Where a
    weight leads from one unit that is reset to another, it becomes zero, so that no unit that is reset speaks.

    Args:
        groups: sets of units by name.
        chosen: boolean masks of shape (units,), by name of the set.
        drawn: new values by name of the weight.
        ndims: the dimensions of each weight.
    """
    plan: Plan = {}
    for name, mask in chosen.items():
        units = groups[name]
        places = [(weight, 0, 1) for weight in (*units.incoming, *units.biases)]
        places += [(entry.name, entry.dim, entry.repeat) for entry in units.per_unit]
        for weight, dim, repeat in places:
            wide = _along(mask, dim, repeat, ndims[weight])
            plan.setdefault(weight, []).append(Entry(wide, drawn[weight]))
    for name, mask in chosen.items():
        for read in groups[name].outgoing:
            wide = _along(mask, 1, read.repeat, ndims[read.weight])
            plan.setdefault(read.weight, []).append(Entry(wide, None))
    return plan


def _along(mask: Tensor, dim: int, repeat: int, ndim: int) -> Tensor:
    """A mask of units as one that broadcasts to a weight, of whose dimension `dim` the units are."""
    shape = [1] * ndim
    shape[dim] = -1
    return mask.repeat_interleave(repeat).reshape(shape)


@torch.no_grad()
def write_entries(weights: Mapping[str, Tensor], plan: Plan) -> None:
    """Do what a plan says to the tensors given, in place.

    Averages lack what is frozen and may lack buffers; names that are not there are passed over.
    """
    for name, entries in plan.items():
        if name not in weights:
            continue
        target = local(weights[name])
        for entry in entries:
            mask = local_mask(weights[name], entry.mask)
            value = target.new_zeros(()) if entry.value is None else _local_value(weights[name], entry.value)
            target.copy_(torch.where(mask, value, target))


@torch.no_grad()
def forget_entries(weights: Mapping[str, Tensor], plan: Plan, optimizers: Sequence[Optimizer]) -> None:
    """Clear what optimizers have gathered about the entries that a plan has changed."""
    for name, entries in plan.items():
        parameter = weights[name]
        for optimizer in optimizers:
            if parameter in optimizer.state:
                masks = [local_mask(parameter, entry.mask) for entry in entries]
                shape = local(parameter).shape
                where = torch.stack([mask.expand(shape) for mask in masks]).any(0)
                clear_entries(optimizer, parameter, where)


def local_mask(tensor: Tensor, mask: Tensor) -> Tensor:
    """This process's part of a mask that broadcasts to a tensor."""
    if not is_sharded(tensor):
        return mask.to(tensor.device)
    return share(tensor, mask.expand(tensor.shape).to(torch.float32)) != 0


def _local_value(tensor: Tensor, value: Tensor) -> Tensor:
    return share(tensor, value).to(tensor.dtype)


class Draws:
    """New values for units, each used once: a draw of a whole layer serves until one of its units is reset again.

    Building a network costs as much for one unit as for all, and units are reset a few at a time.

    Args:
        model: whose weights are drawn.
        fresh: builds a network; None: `reset_parameters` of the modules.
        generator: of the method.
    """

    def __init__(self, model: nn.Module, fresh: Fresh | None, generator: torch.Generator) -> None:
        self.model = model
        self.fresh = fresh
        self.generator = generator
        self._values: dict[str, dict[str, Tensor]] = {}
        self._from: dict[str, Tensor] = {}
        self._used: dict[str, Tensor] = {}

    def take(self, groups: Mapping[str, Units], chosen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values by name of the weight, for the units chosen (masks on the CPU), whose draw is then used up."""
        found: dict[str, Tensor] = {}
        for name, mask in chosen.items():
            if name not in self._from or bool((self._used[name] & mask).any()):
                self._draw(name, groups)
            if name not in self._values:
                self._values[name] = self._drawn(self._from[name], groups[name])
            self._used[name] |= mask
            found |= self._values[name]
        return found

    def _draw(self, name: str, groups: Mapping[str, Units]) -> None:
        # A network that `fresh` builds has new values for every set of units.
        names = [name] if self.fresh is None else list(groups)
        state = self.generator.get_state()
        drawn = draw_fresh(
            self.model,
            self.fresh,
            self.generator,
            [weight for other in names for weight in groups[other].drawn],
        )
        for other in names:
            self._from[other] = state
            self._values[other] = {weight: drawn[weight] for weight in groups[other].drawn}
            self._used[other] = torch.zeros(groups[other].size, dtype=torch.bool)

    def _drawn(self, state: Tensor, units: Units) -> dict[str, Tensor]:
        """A draw that a saved state tells of, again."""
        generator = torch.Generator()
        generator.set_state(state)
        return draw_fresh(self.model, self.fresh, generator, units.drawn)

    def state_dict(self) -> dict[str, Any]:
        """From which state of the generator each draw was made, and which of its units are used up."""
        return {"from": dict(self._from), "used": dict(self._used)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; draws are made again when they are needed."""
        self._values = {}
        self._from = {name: value.cpu() for name, value in state["from"].items()}
        self._used = {name: value.cpu().clone() for name, value in state["used"].items()}


def ndims_of(model: nn.Module) -> dict[str, int]:
    """The number of dimensions of each weight."""
    return {name: tensor.ndim for name, tensor in named_weights(model).items()}
