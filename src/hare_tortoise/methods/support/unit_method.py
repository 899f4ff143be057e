"""The base of the methods that reset units: it finds them, watches them, and resets those that a method chooses."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hare_tortoise.methods.method import Change, Method

from .deployed import refuse_while_lent
from .forward_watch import ForwardWatch
from .fresh import Fresh, check_drawable, check_fresh
from .names import is_loaded_instance, layers, named_modules, named_weights, unwrap
from .sharding import reshard
from .taps import Observation, Observes, Statistic, Taps
from .unit_reset import Draws, forget_entries, plan_reset, write_entries
from .units import Units, trace_units

_COMPILED = ("torch._dynamo.eval_frame", "OptimizedModule")
_SHOWN = 8
_UNSEEN = 10


class UnitMethod(Method):
    """A method that watches the hidden units of a network and resets some of them.

    The units are found at the first forward in training mode, by running the network once more on its inputs
    (`trace_units`), and again when modules have been replaced; weights that are frozen later are left alone. From then
    on forwards in training mode with gradients are watched, on this very model; a compiled network breaks its graph
    there, so that `fullgraph=True` is not possible. A step in whose forwards nothing was seen, although the method was
    observing, does not count; ten in a row are an error. A subclass says in `observes` and `statistics` what it needs
    to see, and overrides `act`.

    Args:
        model: any network of linear and convolutional layers.
        optimizer: its optimizer(s); what they have gathered about weights that are reset is cleared.
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
        seed: of the draws.

    Raises:
        TypeError: `fresh` is not a function.
        ValueError: at the first forward in training, if there are no units, or, without `fresh`, for parameters
            that no `reset_parameters` initialises, by name.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh"})

    observes: ClassVar[Observes] = "activations"
    """What is watched: the activations of units, or the gradients by them."""

    statistics: tuple[Statistic, ...] = ("magnitude",)
    """What `observation` must tell."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        check_fresh(fresh)
        super().__init__(model, seed=seed)
        self.fresh = fresh
        self.groups: Mapping[str, Units] = MappingProxyType({})
        self.memory: dict[str, dict[str, Tensor]] = {}
        self._draws = Draws(model, fresh, self.generator)
        self._taps: Taps | None = None
        self._observed: dict[str, Observation] | None = None
        self._forwards: ForwardWatch | None = None
        self._modules: tuple[object, ...] = ()
        self._children: list[tuple[Mapping[str, nn.Module | None], Mapping[str, nn.Module | None]]] = []
        self._told = ""
        self._unseen = self._begun = 0
        self._odd: set[str] = set()
        self._look_out()
        if optimizer is not None:
            self.attach(optimizer)

    @abstractmethod
    def act(self, skipped: Tensor | bool | None) -> None:
        """Act after an optimizer step in whose forwards units were seen.

        Args:
            skipped: as `after_step` got it.
        """

    def observing(self) -> bool:
        """Whether the forward that comes must be watched."""
        return True

    def shifts(self) -> Mapping[str, Tensor | float]:
        """What magnitudes are measured from and firing starts at, by set of units: shape (units,), or a number."""
        return {}

    def start(self, units: Units, device: torch.device) -> dict[str, Tensor]:
        """What is remembered of a set of units, by name, each of shape (units,), as it is at the start."""
        return {}

    def observation(self, name: str) -> Observation | None:
        """What was seen of a set of units since the last step; None: nothing was.

        Under DDP and FSDP2 all processes must call it: the first call after a step asks them all.
        """
        if self._observed is None:
            self._observed = {} if self._taps is None else self._taps.read()
        return self._observed.get(name)

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Let the method act on what was seen, and forget that."""
        refuse_while_lent(self.model, "a step")
        self._look_out()
        self._warn_of_odd_calls()
        if self._taps is None or (self.observing() and not self._taps.sums):
            self._count_unseen()
            return
        self._unseen = self._begun = 0
        self._observed = None
        try:
            self.act(skipped)
        finally:
            self._observed = None
            self._taps.clear()

    def _count_unseen(self) -> None:
        """Raise a RuntimeError if too many steps in a row had no forward that was watched."""
        self._unseen += 1
        if self._unseen == _UNSEEN and self._taps is not None and self._begun:
            modules = sorted({site.name for site in self._taps.sites})
            raise RuntimeError(
                f"{type(self).__name__} saw {self._begun} forwards in {_UNSEEN} steps, but in none of them the layers "
                f"that it watches, as often as when units were found: {', '.join(modules[:_SHOWN])}; if other layers "
                "are trained now, detach() the method and attach() it again"
            )
        if self._unseen == _UNSEEN:
            raise RuntimeError(
                f"{type(self).__name__} saw no forward of {type(self.model).__name__} before {_UNSEEN} steps in a row: "
                "call the very module that it was given, in training mode and with gradients; if it was compiled "
                "before the method was built, call torch.compiler.reset()"
            )

    def reset_units(self, chosen: Mapping[str, Tensor]) -> None:
        """Reset units: new incoming weights, no outgoing ones, nothing gathered about them in the optimizer.

        Incoming rows, biases and what norms hold for a unit are as the layers' initialisers draw them; outgoing
        columns are zero, so that the network computes what it would compute without the units. The averages of a
        chain get the same change with the same draw.

        Args:
            chosen: boolean masks of shape (units,), by name of the set; sets in which nothing is chosen may be
                left out. Under DDP and FSDP2 the same on all processes.
        """
        refuse_while_lent(self.model, "a reset of units")
        masks = self._masks(chosen)
        if not masks:
            return
        reshard(self.model)
        weights = named_weights(self.model)
        masks = {name: mask for name, mask in masks.items() if _may_change(weights, self.groups[name])}
        if not masks:
            return
        drawn = self._draws.take(self.groups, masks)
        plan = plan_reset(self.groups, masks, drawn)
        write_entries(weights, plan)
        forget_entries(weights, plan, self.optimizers)
        buffers = {name for name in plan if not isinstance(weights[name], nn.Parameter)}
        self.changed(Change(partial(write_entries, plan=plan, lacking=buffers)))

    def _masks(self, chosen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The masks on the CPU, without those that choose nothing."""
        for name, mask in chosen.items():
            if name not in self.groups or mask.shape != (self.groups[name].size,) or mask.dtype != torch.bool:
                raise ValueError(
                    f"chosen has {name!r}: {mask.dtype} {tuple(mask.shape)}, expected boolean masks of shape (units,) "
                    f"for {', '.join(self.groups) or 'no units yet'}"
                )
        if not chosen:
            return {}
        # The device is asked once for all.
        device = next(iter(chosen.values())).device
        together = torch.cat([mask.to(device) for mask in chosen.values()]).cpu()
        masks = torch.split(together, [len(mask) for mask in chosen.values()])
        return {name: mask for name, mask in zip(chosen, masks, strict=True) if bool(mask.any())}

    def _look_out(self) -> None:
        """Hook the model, if it is not."""
        if self._forwards is None:
            self._forwards = ForwardWatch(self.model, self)
            if self.groups and self._modules == _identities(self.model):
                self._taps = Taps(self.model, self.groups, self.observes, self.statistics)

    def _let_go(self) -> None:
        for hooks in (self._forwards, self._taps):
            if hooks is not None:
                hooks.remove()
        self._forwards = self._taps = None

    def forward_begins(self, args: Any, kwargs: Any) -> None:
        """Find the units if this is the first forward, or with new modules; watch it, if that is wanted."""
        if self._taps is not None and any(now != before for now, before in self._children):
            self._taps.remove()
            self._taps = None
        if self._taps is None:
            self._find(args, kwargs)
        if self._taps is not None:
            observing = self.observing()
            self._begun += observing
            self._taps.begin(observing, self.shifts() if observing else {})

    def forward_ends(self) -> None:
        """Stop watching: modules may be called outside of a forward, or once more in the backward pass."""
        if self._taps is not None:
            self._taps.end()

    def _find(self, args: Any, kwargs: Any) -> None:
        """Find the units and start to watch them."""
        wrappers = [is_loaded_instance(layer, *_COMPILED) for layer in layers(self.model)]
        if any(wrappers):
            # What was compiled before goes on without the hooks that are added now.
            torch.compiler.reset()
        graph = trace_units(self.model, *args, **kwargs)
        told = [f"{layer} ({reason})" for layer, reason in graph.left_out.items()]
        listed = ", ".join(told[:_SHOWN]) + (f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")
        if not graph.groups:
            raise ValueError(
                f"{type(self).__name__} finds no units in {type(unwrap(self.model)).__name__}, expected hidden "
                f"channels that pass a nonlinearity and are read by linear or convolutional layers; {listed or 'none'}"
            )
        groups = {units.name: units for units in graph.groups}
        check_drawable(self.model, self.fresh, [name for units in graph.groups for name in units.drawn])
        first = not self._modules
        if first and self.memory:
            _check_memory(self.memory, groups)
        self._draws.keep(groups)
        self._remember(groups)
        if listed and listed != self._told:
            warnings.warn(
                f"{type(self).__name__} leaves alone the units of {listed}", UserWarning, stacklevel=2
            )
        self._told, self._modules = listed, _identities(self.model)
        children = [module._modules for _, module in named_modules(self.model) if module._modules]
        self._children = [(modules, dict(modules)) for modules in children]
        self._taps = Taps(self.model, self.groups, self.observes, self.statistics)

    def _warn_of_odd_calls(self) -> None:
        odd = {} if self._taps is None else {k: v for k, v in self._taps.odd.items() if k not in self._odd}
        if odd:
            self._odd.update(odd)
            told = ", ".join(f"{name} ({how})" for name, how in odd.items())
            warnings.warn(
                f"{type(self).__name__} does not know which units it sees in modules that a forward calls another "
                f"number of times than the first one in eval mode: {told}; such forwards are not counted there. Give "
                "each layer an activation module of its own",
                UserWarning,
                stacklevel=3,
            )

    def _remember(self, groups: Mapping[str, Units]) -> None:
        """Take up sets of units; what is not remembered of them yet is as at the start."""
        self.groups = MappingProxyType(dict(groups))
        weights = named_weights(self.model)
        memory = {}
        for name, units in groups.items():
            device = weights[units.incoming[0]].device
            memory[name] = self.start(units, device)
            for key, value in self.memory.get(name, {}).items():
                if key in memory[name] and value.shape == memory[name][key].shape:
                    memory[name][key] = value.to(device)
        self.memory = memory

    def state_dict(self) -> dict[str, Any]:
        """What is remembered of the units, by name of the set, and the draws that are not used up."""
        memory = {
            name: {key: value.clone() for key, value in kept.items()} for name, kept in self.memory.items()
        }
        return super().state_dict() | {"memory": memory, "draws": self._draws.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; also before the units are found."""
        super().load_state_dict(state)
        device = next(iter(named_weights(self.model).values())).device
        self.memory = {
            name: {key: value.detach().to(device).clone() for key, value in kept.items()}
            for name, kept in state["memory"].items()
        }
        self._draws.load_state_dict(state["draws"])
        if self.groups:
            self._remember(self.groups)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of such a method."""
        super().check_state(state)
        if "memory" not in state or "draws" not in state:
            raise ValueError(
                f"state has the keys {sorted(map(str, state))}, expected 'memory' and 'draws' among them: load what "
                f"the state_dict() of {type(self).__name__} gave"
            )
        if self.groups and state["memory"]:
            _check_memory(state["memory"], self.groups)


def _identities(model: nn.Module) -> tuple[object, ...]:
    """What changes when modules are replaced, layers grow, or weights are frozen."""
    weights = named_weights(model).items()
    shapes = ((name, tuple(tensor.shape), tensor.requires_grad) for name, tensor in weights)
    return (*(id(module) for _, module in named_modules(model)), *shapes)


def _may_change(weights: Mapping[str, Tensor], units: Units) -> bool:
    """Whether none of the weights of a set of units is frozen by now.

    Raises:
        RuntimeError: one of them has another shape than when units were found.
    """
    rows = [(name, 0, 1) for name in (*units.incoming, *units.biases)]
    rows += [(entry.name, entry.dim, entry.repeat) for entry in units.per_unit]
    found = [*rows, *((read.weight, 1, read.repeat) for read in units.outgoing)]
    for name, dim, repeat in found:
        if name not in weights or weights[name].shape[dim] != units.size * repeat:
            raise RuntimeError(
                f"{name} has changed since the units were found, expected {units.size * repeat} entries in dimension "
                f"{dim}: detach() the method and attach() it again after layers have grown or were replaced"
            )
    return all(weights[name].requires_grad for name, _, _ in found if isinstance(weights[name], nn.Parameter))


def _check_memory(memory: Mapping[str, Mapping[str, Tensor]], groups: Mapping[str, Units]) -> None:
    """Raise a ValueError if what was saved is of other units."""
    other = sorted(memory.keys() ^ groups.keys())
    other += [
        name
        for name in memory.keys() & groups.keys()
        if any(len(kept) != groups[name].size for kept in memory[name].values())
    ]
    if other:
        raise ValueError(
            f"the saved state is of another model: the units of {', '.join(other[:_SHOWN])} differ; load it into a "
            "method that was built on the same model"
        )
