"""Watching the activations of units while a network trains, or the gradients by them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .forward_watch import is_paused
from .names import named_modules
from .sharding import process_groups
from .unit_types import Tap, Units
from .untraced import untraced

Observes = Literal["activations", "gradients"]
Statistic = Literal["magnitude", "mean", "fired"]

# Hooks are copied and saved along with the modules that they are on, so that they know their taps by a number only.
_TAPS: weakref.WeakValueDictionary[int, Taps] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Observation:
    """What was seen of a set of units in the forwards since the last step, each of shape (units,).

    The means are over batch, positions, forwards, places and processes.

    Args:
        magnitude: the mean of `|h − shift|` (without a shift `|h|`), or of `|∂L/∂h|`.
        mean: the mean of `h`; None: not asked for.
        fired: whether any `h` was above the shift, or zero; None: not asked for.
    """

    magnitude: Tensor
    mean: Tensor | None = None
    fired: Tensor | None = None


class Taps:
    """Hooks on the modules of a network that add up what units say.

    They count while `on` is true, and between `begin` and the end of a forward only; copies of the network do
    not count.

    Args:
        model: the network, wrapped or not; its modules are known by their canonical names.
        groups: what to watch, by name.
        observes: "activations", or "gradients" by them, which come in the backward pass.
        statistics: what is added up.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Mapping[str, Units],
        observes: Observes,
        statistics: Collection[Statistic],
    ) -> None:
        self.on = False
        self.shifts: Mapping[str, Tensor | float] = {}
        self.observes = observes
        self.statistics: tuple[Statistic, ...] = ("magnitude", *sorted(set(statistics) - {"magnitude"}))
        modules = dict(named_modules(model))
        places: dict[tuple[str, bool], list[tuple[str, Tap]]] = {}
        for name, units in groups.items():
            for tap in units.taps if observes == "activations" else units.gradient_taps:
                places.setdefault((tap.module, tap.given), []).append((name, tap))
        self.sites = [_Site(modules[module], taps) for (module, _), taps in places.items()]
        self.sums: dict[tuple[str, Tap], tuple[Tensor, int]] = {}
        # The same order on all processes, whatever each of them sees first.
        self._keys = [place for taps in places.values() for place in taps]
        self._processes = process_groups(model)
        self._sizes = {name: units.size for name, units in groups.items()}
        number = next(_NUMBERS)
        _TAPS[number] = self
        self._handles = []
        for index, ((_, given), site) in enumerate(zip(places, self.sites, strict=True)):
            if given:
                hook = partial(_given, number, index)
                self._handles.append(site.module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                self._handles.append(site.module.register_forward_hook(partial(_result, number, index)))

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def begin(self, on: bool, shifts: Mapping[str, Tensor | float]) -> None:
        """A forward begins, which counts or not; `shifts` are taken from the activations, by name of the set."""
        self.on, self.shifts = on, shifts
        for site in self.sites:
            site.calls = 0

    def clear(self) -> None:
        """Forget what was added up."""
        self.sums.clear()

    @torch.no_grad()
    def add(self, name: str, tap: Tap, value: Tensor) -> None:
        """Add up a tensor that was seen, or its gradient."""
        value = value.detach() if tap.function is None else tap.function(value.detach())
        if tap.repeat > 1:
            value = value.unflatten(tap.dim, (-1, tap.repeat))  # type: ignore[no-untyped-call]
        dims = [dim for dim in range(value.ndim) if dim != tap.dim]
        shift = self.shifts.get(name)
        # Where nothing is below zero, magnitudes are a plain sum, the quickest of all reductions.
        plain = tap.nonnegative and shift is None and self.observes == "activations"
        dtype = torch.promote_types(value.dtype, torch.float32)
        seen = []
        for statistic in self.statistics:
            if statistic == "mean" or (statistic == "magnitude" and plain):
                seen.append(value.sum(dims, dtype=dtype) if dims else value.to(dtype))
            elif statistic == "magnitude":
                apart = value if shift is None else value.to(dtype) - _broadcast(shift, tap.dim, value.ndim)
                seen.append(torch.linalg.vector_norm(apart, 1, dims, dtype=dtype))
            else:
                seen.append((value.amax(dims).to(dtype) > (0 if shift is None else shift)).to(dtype))
        total, count = torch.stack(seen), value.numel() // self._sizes[name]
        if (name, tap) in self.sums:
            before, counted = self.sums[name, tap]
            total, count = before.add_(total), counted + count
        self.sums[name, tap] = (total, count)

    def read(self) -> dict[str, Observation]:
        """The means, over all processes, which all must call; sets of which nothing was seen are left out."""
        seen = self._over_processes() if self._processes else self.sums
        means: dict[str, list[Tensor]] = {}
        for (name, _), (total, count) in seen.items():
            means.setdefault(name, []).append(total / count)
        observed = {}
        for name, found in means.items():
            mean = dict(zip(self.statistics, torch.stack(found).mean(0), strict=True))
            fired = mean.pop("fired") > 0 if "fired" in mean else None
            observed[name] = Observation(mean["magnitude"], mean.get("mean"), fired)
        return observed

    def _over_processes(self) -> dict[tuple[str, Tap], tuple[Tensor, Any]]:
        """The sums and counts of all processes, in one message for each group."""
        import torch.distributed as dist

        some = next(iter(self.sums.values()))[0]
        parts = []
        for key in self._keys:
            empty = (some.new_zeros(len(self.statistics), self._sizes[key[0]]), 0)
            total, count = self.sums.get(key, empty)
            parts.append(torch.cat([total.to(some.dtype).reshape(-1), some.new_full((1,), count)]))
        flat = torch.cat(parts)
        for group in self._processes:
            dist.all_reduce(flat, group=group)
        summed = torch.split(flat, [len(part) for part in parts])
        shape = (len(self.statistics), -1)
        return {key: (part[:-1].view(shape), part[-1]) for key, part in zip(self._keys, summed, strict=True)}


def _broadcast(shift: Tensor | float, dim: int, ndim: int) -> Tensor | float:
    if not isinstance(shift, Tensor):
        return shift
    return shift.reshape([-1 if place == dim else 1 for place in range(ndim)])


class _Site:
    """A module that is watched, the calls that it has had in this forward, and what is to be seen there."""

    def __init__(self, module: nn.Module, taps: list[tuple[str, Tap]]) -> None:
        self.module = module
        self.taps = taps
        self.calls = 0


@untraced
def _given(number: int, index: int, module: nn.Module, args: Any, kwargs: Any) -> None:
    """See the arguments of a module."""
    _see(number, index, module, {**dict(enumerate(args)), **kwargs})


@untraced
def _result(number: int, index: int, module: nn.Module, _args: Any, result: Any) -> None:
    """See the result of a module."""
    _see(
        number, index, module, dict(enumerate(result)) if isinstance(result, tuple | list) else {None: result}
    )


def _see(number: int, index: int, module: nn.Module, values: Mapping[Any, Any]) -> None:
    taps = _TAPS.get(number)
    if taps is None or not taps.on or is_paused():
        return
    site = taps.sites[index]
    if site.module is not module:
        return
    call, site.calls = site.calls, site.calls + 1
    for name, tap in site.taps:
        if tap.call != call:
            continue
        value = values[tap.position]
        if taps.observes == "activations":
            taps.add(name, tap, value)
        elif value.requires_grad:
            value.register_hook(partial(_gradient, number, name, tap))


@untraced
def _gradient(number: int, name: str, tap: Tap, gradient: Tensor) -> None:
    taps = _TAPS.get(number)
    if taps is not None:
        taps.add(name, tap, gradient)
