"""Resetting units: which entries of which weights get which values, done to the model and to its averages alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .fresh import Fresh, draw_fresh
from .names import is_sharded, local
from .optimizer_state import clear_entries
from .unit_types import Units
from .values import share


@dataclass(frozen=True)
class Entry:
    """Places along a dimension of a weight, and the values that they get.

    Args:
        dim: the dimension.
        index: the places, on the CPU.
        values: with these places only along `dim`; None: zero.
    """

    dim: int
    index: Tensor
    values: Tensor | None


Plan = dict[str, list[Entry]]


def plan_reset(
    groups: Mapping[str, Units], chosen: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
) -> Plan:
    """Say what becomes of the weights when units are reset.

    Incoming rows, biases and what norms hold for a unit get the values drawn; outgoing columns become zero. Where a
    weight leads from one unit that is reset to another, it becomes zero, so that no unit that is reset speaks.

    Args:
        groups: sets of units by name.
        chosen: boolean masks of shape (units,) on the CPU, by name of the set.
        drawn: new values by name of the weight.
    """
    plan: Plan = {}
    for name, mask in chosen.items():
        units = groups[name]
        places = [(weight, 0, 1) for weight in (*units.incoming, *units.biases)]
        places += [(entry.name, entry.dim, entry.repeat) for entry in units.per_unit]
        for weight, dim, repeat in places:
            index = mask.repeat_interleave(repeat).nonzero()[:, 0]
            values = drawn[weight].index_select(dim, index.to(drawn[weight].device))
            plan.setdefault(weight, []).append(Entry(dim, index, values))
    for name, mask in chosen.items():
        for read in groups[name].outgoing:
            index = mask.repeat_interleave(read.repeat).nonzero()[:, 0]
            plan.setdefault(read.weight, []).append(Entry(1, index, None))
    return plan


@torch.no_grad()
def write_entries(weights: Mapping[str, Tensor], plan: Plan, *, lacking: Collection[str] = ()) -> None:
    """Do what a plan says to the tensors given, in place.

    Args:
        weights: by canonical name.
        plan: what to do.
        lacking: names that may be missing among the weights: an average may go without buffers.

    Raises:
        ValueError: other names are missing.
    """
    missing = [name for name in plan if name not in weights and name not in lacking]
    if missing:
        raise ValueError(
            f"weights lack {', '.join(missing[:8])}, of which units of the model were reset: give weights of the same "
            "network"
        )
    for name, entries in plan.items():
        if name in weights:
            for entry in entries:
                _write(weights[name], entry)


def _write(tensor: Tensor, entry: Entry) -> None:
    if not is_sharded(tensor):
        index = entry.index.to(tensor.device)
        if entry.values is None:
            tensor.index_fill_(entry.dim, index, 0)
        else:
            tensor.index_copy_(entry.dim, index, entry.values.to(tensor.device, tensor.dtype))
        return
    # Where a tensor is cut may be anywhere, so that each process cuts its part out of the whole.
    part, values = local(tensor), torch.zeros(tensor.shape)
    if entry.values is not None:
        values = values.to(entry.values.dtype).index_copy_(entry.dim, entry.index, entry.values.cpu())
    part.copy_(torch.where(_places(tensor, [entry]), share(tensor, values).to(part.dtype), part))


def _places(tensor: Tensor, entries: Sequence[Entry]) -> Tensor:
    """Where the entries are in this process's part of a tensor, as a mask of its shape."""
    where = torch.zeros(tensor.shape, dtype=torch.float32 if is_sharded(tensor) else torch.bool)
    for entry in entries:
        where.index_fill_(entry.dim, entry.index, 1)
    return share(tensor, where) != 0 if is_sharded(tensor) else where.to(tensor.device)


@torch.no_grad()
def forget_entries(weights: Mapping[str, Tensor], plan: Plan, optimizers: Sequence[Optimizer]) -> None:
    """Clear what optimizers have gathered about the entries that a plan has changed."""
    for name, entries in plan.items():
        for optimizer in optimizers:
            if weights[name] in optimizer.state:
                clear_entries(optimizer, weights[name], _places(weights[name], entries))


class Draws:
    """New values for units, each used once: a draw of a whole layer serves until one of its units is reset again.

    Building a network costs as much for one unit as for all, and units are reset a few at a time. What was drawn is
    kept on the CPU: at most a copy of the incoming weights of all units.

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

    def keep(self, groups: Mapping[str, Units]) -> None:
        """Drop the draws of sets of units that are gone or of another size; of others values are drawn again."""
        self._values = {}
        for name in [*self._used]:
            if name not in groups or len(self._used[name]) != groups[name].size:
                del self._from[name], self._used[name]

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
        return {"from": dict(self._from), "used": {name: used.clone() for name, used in self._used.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; draws are made again when they are needed."""
        self._values = {}
        self._from = {name: value.cpu() for name, value in state["from"].items()}
        self._used = {name: value.cpu().clone() for name, value in state["used"].items()}
