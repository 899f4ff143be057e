"""The base of the methods that reset units: it finds them, watches them, and resets those that a method chooses."""

from __future__ import annotations

import itertools
import warnings
import weakref
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hare_tortoise.methods.method import Change, Method

from .deployed import refuse_while_lent
from .fresh import Fresh, check_drawable, check_fresh
from .names import is_loaded_instance, layers, named_modules, named_weights, unwrap
from .sharding import reshard
from .taps import Observation, Observes, Statistic, Taps
from .unit_reset import Draws, forget_entries, plan_reset, write_entries
from .units import Units, trace_units
from .untraced import untraced

# Hooks are copied and saved along with the model, so that they know their method by a number only.
_METHODS: weakref.WeakValueDictionary[int, UnitMethod] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()
_SHOWN = 8
_UNSEEN = 10


class UnitMethod(Method):
    """A method that watches the hidden units of a network and resets some of them.

    The units are found at the first forward in training mode, by running the network once more on its inputs
    (`trace_units`). From then on forwards in training mode with gradients are watched, on this very model. A
    subclass says in `observes` and `statistics` what it needs to see, and overrides `act`.

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

    statistics: ClassVar[Collection[Statistic]] = ("magnitude",)
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
        self._handles: list[Any] = []
        self._modules: tuple[int, ...] = ()
        self._unseen = 0
        self._watch()
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
        self._watch()
        if self._taps is None or (self.observing() and not self._taps.sums):
            self._count_unseen()
            return
        self._unseen = 0
        self._observed = None
        try:
            self.act(skipped)
        finally:
            self._observed = None
            self._taps.clear()

    def _count_unseen(self) -> None:
        """Raise a RuntimeError if too many steps in a row had no forward that was watched."""
        self._unseen += 1
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
        drawn = self._draws.take(self.groups, masks)
        weights = named_weights(self.model)
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
        masks = {name: mask.cpu() for name, mask in chosen.items()}
        return {name: mask for name, mask in masks.items() if bool(mask.any())}

    def attach(self, optimizer: Optimizer | Sequence[Optimizer]) -> Any:
        """Hook a rebuilt or reloaded optimizer; what is remembered of the units goes on."""
        attached = super().attach(optimizer)
        self._watch()
        return attached

    def _take(self, optimizers: Sequence[Optimizer]) -> None:
        super()._take(optimizers)
        if optimizers:
            self._watch()
        else:
            self._unwatch()

    def _watch(self) -> None:
        """Hook the model, if it is not."""
        if self._handles:
            return
        number = next(_NUMBERS)
        _METHODS[number] = self
        # Before FSDP2 gathers weights and before anything else changes the inputs.
        before = partial(_before, number)
        after = partial(_after, number)
        self._handles = [
            self.model.register_forward_pre_hook(before, prepend=True, with_kwargs=True),
            self.model.register_forward_hook(after, always_call=True),
        ]
        if self.groups and self._modules == _identities(self.model):
            self._taps = Taps(self.model, self.groups, self.observes, self.statistics)

    def _unwatch(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._taps is not None:
            self._taps.remove()
            self._taps = None

    def _forward_begins(self, args: Any, kwargs: Any) -> None:
        if self._taps is None:
            self._find(args, kwargs)
        if self._taps is not None:
            observing = self.observing()
            self._taps.begin(observing, self.shifts() if observing else {})

    def _forward_ends(self) -> None:
        if self._taps is not None:
            self._taps.on = False

    def _find(self, args: Any, kwargs: Any) -> None:
        """Find the units and start to watch them."""
        if any(
            is_loaded_instance(layer, "torch._dynamo.eval_frame", "OptimizedModule")
            for layer in layers(self.model)
        ):
            # What was compiled before goes on without the hooks that are added now.
            torch.compiler.reset()  # type: ignore[no-untyped-call]
        graph = trace_units(self.model, *args, **kwargs)
        told = [f"{layer} ({reason})" for layer, reason in graph.left_out.items()]
        listed = ", ".join(told[:_SHOWN]) + (f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")
        if not graph.groups:
            raise ValueError(
                f"{type(self).__name__} finds no units in {type(unwrap(self.model)).__name__}, expected hidden "
                f"channels that pass a nonlinearity and are read by linear or convolutional layers; {listed or 'none'}"
            )
        groups = {units.name: units for units in graph.groups}
        weights = named_weights(self.model)
        drawn = [name for units in graph.groups for name in units.drawn]
        check_drawable(self.model, self.fresh, drawn)
        self._check_memory(groups)
        for name, units in groups.items():
            device = weights[units.incoming[0]].device
            start = self.start(units, device)
            self.memory[name] = {key: self.memory.get(name, start)[key].to(device) for key in start}
        if told and self._modules == ():
            warnings.warn(
                f"{type(self).__name__} leaves alone the units of {listed}", UserWarning, stacklevel=2
            )
        self.groups = MappingProxyType(groups)
        self._modules = _identities(self.model)
        self._taps = Taps(self.model, self.groups, self.observes, self.statistics)

    def _check_memory(self, groups: Mapping[str, Units]) -> None:
        """Raise a ValueError if what was loaded is of other units."""
        known = {name: len(next(iter(kept.values()))) for name, kept in self.memory.items() if kept}
        sizes = {name: units.size for name, units in groups.items()}
        other = sorted(name for name in known if sizes.get(name) != known[name])
        if other:
            raise ValueError(
                f"the saved state is of another model: it has units {', '.join(other)}, and the model "
                f"{', '.join(groups)}; load it into a method that was built on the same model"
            )

    def state_dict(self) -> dict[str, Any]:
        """What is remembered of the units, by name of the set, and the draws that are not used up."""
        memory = {name: dict(kept) for name, kept in self.memory.items()}
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
            self._check_memory(self.groups)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of such a method."""
        super().check_state(state)
        if "memory" not in state or "draws" not in state:
            raise ValueError(
                f"state has the keys {sorted(map(str, state))}, expected 'memory' and 'draws' among them: load what "
                f"the state_dict() of {type(self).__name__} gave"
            )


def _identities(model: nn.Module) -> tuple[int, ...]:
    return tuple(id(module) for _, module in named_modules(model))


@untraced
def _before(number: int, module: nn.Module, args: Any, kwargs: Any) -> None:
    method = _METHODS.get(number)
    if method is not None and method.model is module and unwrap(module).training and torch.is_grad_enabled():
        method._forward_begins(args, kwargs)


@untraced
def _after(number: int, module: nn.Module, _args: Any, _result: Any) -> None:
    method = _METHODS.get(number)
    if method is not None and method.model is module:
        method._forward_ends()
