"""Watching the activations of units while a network trains, or the gradients by them."""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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
    """What was seen of a set of units in the forwards since the last step, as far as it was asked for.

    The means are over batch, positions, forwards, places and processes.
    """

    values: Mapping[Statistic, Tensor]

    @property
    def magnitude(self) -> Tensor:
        """The mean of `|h − shift|` (without a shift `|h|`), or of `|∂L/∂h|`, shape (units,)."""
        return self.values["magnitude"]

    @property
    def mean(self) -> Tensor | None:
        """The mean of `h`, shape (units,); None: not asked for."""
        return self.values.get("mean")

    @property
    def fired(self) -> Tensor | None:
        """Whether any `h` was above the shift, or zero: boolean, shape (units,); None: not asked for."""
        return self.values["fired"] > 0 if "fired" in self.values else None


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
        self.statistics: tuple[Statistic, ...] = tuple(statistics)
        modules = dict(named_modules(model))
        places: dict[tuple[str, bool], list[tuple[str, Tap]]] = {}
        for name, units in groups.items():
            for tap in units.taps if observes == "activations" else units.gradient_taps:
                places.setdefault((tap.module, tap.given), []).append((name, tap))
        # In the same order on all processes, whatever each of them sees first.
        self._seen = [(name, tap) for found in places.values() for name, tap in found]
        keys = itertools.count()
        self.sites = [
            _Site(module, modules[module], [(next(keys), name, tap) for name, tap in found])
            for (module, _), found in places.items()
        ]
        self.odd: dict[str, str] = {}
        """Modules that were called another number of times than when the units were found, and what to say of them."""
        self._forward = _Forward()
        self.sums: dict[int, tuple[list[Tensor], int]] = {}
        self._processes = process_groups(model)
        self._sizes = {name: units.size for name, units in groups.items()}
        self._number = number = next(_NUMBERS)
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
        self._forward = _Forward()
        for site in self.sites:
            site.calls = 0

    def end(self) -> None:
        """The forward has ended: what was seen of it counts, but where calls of a module cannot be told apart."""
        self.on = False
        forward, self._forward = self._forward, _Forward()
        for site in self.sites:
            expected = site.taps[0][2].calls
            # A module that did not run at all was not seen, which is no error.
            if site.calls not in (0, expected):
                self.odd[site.name] = f"{site.calls} times, not {expected}"
                forward.doubtful.update(name for _, name, _ in site.taps)
        for key, shape in forward.misfits:
            if self.group_of(key) not in forward.doubtful:
                self._refuse(key, shape)
        for key, totals, count in forward.seen:
            if self.group_of(key) not in forward.doubtful:
                self._gather(key, totals, count)

    def clear(self) -> None:
        """Forget what was added up."""
        self.sums.clear()

    def group_of(self, key: int) -> str:
        """The set of units that a tap is of."""
        return self._seen[key][0]

    def see(self, key: int, value: Tensor) -> None:
        """Take note of a tensor in a forward; `key` is the number of the tap."""
        name, tap = self._seen[key]
        if value.ndim + tap.dim < 0 or value.shape[tap.dim] != self._sizes[name] * tap.repeat:
            # An error only if it turns out that the module was called as often as it should be.
            self._forward.misfits.append((key, tuple(value.shape)))
        elif self.observes == "activations":
            self._forward.seen.append((key, *self._totals(key, value)))
        elif value.requires_grad:
            hook = partial(_gradient, self._number, key, self._forward.doubtful)
            value.register_hook(hook)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def add(self, key: int, value: Tensor) -> None:
        """Add up a gradient by a tensor that was seen."""
        self._gather(key, *self._totals(key, value))

    @torch.no_grad()
    def _totals(self, key: int, value: Tensor) -> tuple[list[Tensor], int]:
        """The sums of all statistics over a tensor, and of how many values for each unit."""
        name, tap = self._seen[key]
        value = value if tap.function is None else tap.function(value.detach())
        dim, size = value.ndim + tap.dim, self._sizes[name]
        if tap.repeat > 1:
            value = value.unflatten(dim, (-1, tap.repeat))  # type: ignore[no-untyped-call]
        totals = [self._total(statistic, name, tap, dim, value) for statistic in self.statistics]
        return totals, value.numel() // size

    def _refuse(self, key: int, shape: tuple[int, ...]) -> None:
        name, tap = self._seen[key]
        raise RuntimeError(
            f"{tap.module} was expected to show {self._sizes[name]} units of {name} in dimension {tap.dim}, "
            f"{tap.repeat} entries each, got {shape}: give each layer an activation module of its own; if layers "
            "have changed, detach() the method and attach() it again"
        )

    def _gather(self, key: int, totals: list[Tensor], count: int) -> None:
        if key in self.sums:
            before, counted = self.sums[key]
            totals, count = (
                [sum_.add_(more) for sum_, more in zip(before, totals, strict=True)],
                counted + count,
            )
        self.sums[key] = (totals, count)

    def _total(self, statistic: Statistic, name: str, tap: Tap, dim: int, value: Tensor) -> Tensor:
        """The sum of a statistic over all dimensions but the units': in one pass, if there is no shift."""
        dims = [other for other in range(value.ndim) if other != dim]
        dtype = torch.promote_types(value.dtype, torch.float32)
        shift = self.shifts.get(name)
        if statistic == "fired":
            return (value.amax(dims).to(dtype) > (0 if shift is None else shift)).to(dtype)
        # Where nothing is below zero, magnitudes are a plain sum, the quickest of all reductions.
        plain = tap.nonnegative and shift is None and self.observes == "activations"
        if statistic == "mean" or plain:
            return value.sum(dims, dtype=dtype) if dims else value.to(dtype, copy=True)
        apart = value if shift is None else value.to(dtype) - _broadcast(shift, dim, value.ndim)
        magnitude: Tensor = torch.linalg.vector_norm(apart, 1, dims, dtype=dtype)
        return magnitude

    @torch.no_grad()
    def read(self) -> dict[str, Observation]:
        """The means, over all processes, which all must call; sets of which nothing was seen are left out."""
        sums = self._over_processes() if self._processes else self.sums
        means: dict[str, list[list[Tensor]]] = {}
        for key, (totals, count) in sums.items():
            means.setdefault(self._seen[key][0], []).append([total / count for total in totals])
        observed = {}
        for name, found in means.items():
            mean = (
                found[0]
                if len(found) == 1
                else [torch.stack(parts).mean(0) for parts in zip(*found, strict=True)]
            )
            observed[name] = Observation(dict(zip(self.statistics, mean, strict=True)))
        return observed

    def _over_processes(self) -> dict[int, tuple[list[Tensor], Any]]:
        """The sums and counts of all processes, in one message for each group."""
        import torch.distributed as dist

        some = next(iter(self.sums.values()))[0][0]
        parts = []
        for key, (name, _) in enumerate(self._seen):
            empty = [some.new_zeros(self._sizes[name])] * len(self.statistics)
            totals, count = self.sums.get(key, (empty, 0))
            parts += [*(total.to(some.dtype) for total in totals), some.new_full((1,), count)]
        flat = torch.cat(parts)
        for group in self._processes:
            dist.all_reduce(flat, group=group)
        summed = torch.split(flat, [len(part) for part in parts])
        width = len(self.statistics) + 1
        rows = [summed[start : start + width] for start in range(0, len(summed), width)]
        return {key: (list(row[:-1]), row[-1]) for key, row in enumerate(rows)}


def _broadcast(shift: Tensor | float, dim: int, ndim: int) -> Tensor | float:
    if not isinstance(shift, Tensor):
        return shift
    return shift.reshape([-1 if place == dim else 1 for place in range(ndim)])


@dataclass
class _Forward:
    """What was seen in a forward, and the sets of units of which nobody can say that it was of them."""

    seen: list[tuple[int, list[Tensor], int]] = field(default_factory=list)
    misfits: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)


class _Site:
    """A module that is watched, the calls that it has had in this forward, and what is to be seen there."""

    def __init__(self, name: str, module: nn.Module, taps: list[tuple[int, str, Tap]]) -> None:
        self.name = name
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
    for key, _, tap in site.taps:
        if tap.call == call:
            taps.see(key, _value(values, tap, module))


def _value(values: Mapping[Any, Any], tap: Tap, module: nn.Module) -> Tensor:
    """What a tap is to see; an argument may be given by position one time and by keyword another."""
    found = values.get(tap.position)
    if found is None and tap.given:
        names = list(inspect.signature(module.forward).parameters)
        if isinstance(tap.position, str):
            found = values.get(names.index(tap.position)) if tap.position in names else None
        elif tap.position is not None and tap.position < len(names):
            found = values.get(names[tap.position])
    if not isinstance(found, Tensor):
        raise RuntimeError(
            f"{tap.module} has no tensor where units were seen before ({tap.position!r} of its "
            f"{'arguments' if tap.given else 'results'}): call it in the same way each time"
        )
    return found


@untraced
def _gradient(number: int, key: int, doubtful: set[str], gradient: Tensor) -> None:
    taps = _TAPS.get(number)
    if taps is not None and taps.group_of(key) not in doubtful:
        taps.add(key, gradient)
