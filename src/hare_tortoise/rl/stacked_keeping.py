"""What belongs to each agent of a population beside its weights: moments, the average and its counts, rare acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from hare_tortoise.methods import EMA, Chain, HareTortoise, LastLayersReset, Method, SwitchEMA
from hare_tortoise.methods.schedules import Schedule
from hare_tortoise.rl.keeping import Keeping, copy_weights
from hare_tortoise.rl.stacked_network import StackedNetwork

_MOMENTS = ("exp_avg", "exp_avg_sq")
_COUNTS = ("steps", "next_reset", "settings")
_STACKED = (HareTortoise, EMA, SwitchEMA)


class StackedKeeping(Keeping):
    """The keeping of an agent of a population: its method acts on the agent alone, its target follows with all others.

    Args:
        kept: of the agent by itself.
        ask: gives the agent's average the counts of the average of all.
        touched: is called when the agent has other weights, moments or counts.
    """

    def __init__(self, kept: Keeping, *, ask: Callable[[], None], touched: Callable[[], None]) -> None:
        networks = kept.online, kept.target, kept.optimizer
        super().__init__(kept.recipe, *networks, method=kept.method, acting=kept.acting, own=kept.own)
        self.updates, self.begun = kept.updates, kept.begun
        self._ask, self._touched = ask, touched

    def follow(self) -> None:
        """Do nothing: the engine has copied the weights."""

    def act(self) -> bool:
        """Act as an agent alone does; says whether the online network has new weights."""
        self._ask()
        changed = super().act()
        self._touched()
        return changed

    def state_dict(self) -> dict[str, Any]:
        """Give what an agent alone would, and can take up."""
        self._ask()
        return super().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of an agent, of a population or alone."""
        super().load_state_dict(state)
        self._touched()


class Targets:
    """The target networks of a population, which follow all at once: an average of the stacked weights, or a copy.

    The average of each agent stays where it is: changes of the weights by other methods reach the target by it. It
    hears the counts when its agent acts or is saved, and tells them when its agent has acted or was loaded.

    Args:
        keepings: of the agents by themselves.
        online: the networks that are trained.
        target: their target networks.
        optimizer: of the stacked weights.

    Raises:
        ValueError: a method has no stacked form (the message names it), or the agents have different ones.
    """

    def __init__(
        self,
        keepings: Sequence[Keeping],
        online: StackedNetwork,
        target: StackedNetwork,
        optimizer: Optimizer,
    ) -> None:
        self.recipe, self.online, self.target = keepings[0].recipe, online, target
        own = [_average_of(keeping) for keeping in keepings]
        self._own = [average for average in own if average is not None]
        self.average = self._average(optimizer) if self._own else None
        self.counted = 0
        self._next_reset: int | None = None
        self._knowing = set(range(len(self._own)))  # whose own average has the true counts
        self.hear()

    def follow(self, updates: int) -> None:
        """Do what is due after a gradient step; the average has followed by the hook of the optimizer.

        Args:
            updates: gradient steps, this one included.
        """
        if self.average is None:
            if updates % self.recipe.copy_every == 0:
                copy_weights(self.online, self.target)
            return
        self.counted += 1
        if self._next_reset is not None and self.counted >= self._next_reset:
            self._next_reset = _counts(self.average)["next_reset"]

    def quiet(self, updates: int, count: int) -> bool:
        """Whether the next `count` steps differ in nothing but their numbers, so that one stands for all.

        Args:
            updates: gradient steps so far.
            count: that follow.
        """
        if self.average is None:
            every = self.recipe.copy_every
            return every == 1 or updates // every == (updates + count) // every
        changing = isinstance(self.average.decay, Schedule) or self.average.check_every is not None
        return not changing and (self._next_reset is None or self.counted + count < self._next_reset)

    def settle(self) -> None:
        """Give the average the steps that it has made without counting them."""
        if self.average is not None and self.average.steps != self.counted:
            _give(self.average, {"steps": self.counted})

    def ask(self, place: int) -> None:
        """Give an agent's own average the counts of all, but where it knows better."""
        if self.average is not None and place not in self._knowing:
            self.settle()
            _give(self._own[place], _counts(self.average))

    def touched(self, place: int) -> None:
        """Note that an agent's own average has the true counts now."""
        self._knowing.add(place)

    def hear(self) -> None:
        """Take up the counts of the agents' own averages.

        Raises:
            ValueError: they differ.
        """
        if self.average is None:
            return
        for place in range(len(self._own)):
            self.ask(place)
        told = [_counts(average) for average in self._own]
        for place, each in enumerate(told):
            if each != told[0]:
                raise ValueError(
                    f"the average of agent {place} is at {each}, that of agent 0 at {told[0]}; expected one method at "
                    "one count for all: build the agents alike, and load states of the same step"
                )
        _give(self.average, told[0])
        self.counted, self._next_reset = told[0]["steps"], told[0]["next_reset"]
        self._knowing.clear()

    def _average(self, optimizer: Optimizer) -> HareTortoise:
        first = self._own[0]
        settings = first.state_dict()["settings"]
        return HareTortoise(
            self.online,
            optimizer,
            decay=first.decay,
            reset_every=first.reset_every,
            buffers=settings["buffers"],
            optimizer_state=first.optimizer_state,
            tortoise=self.target,
            check_every=first.check_every,
        )


class Moments:
    """Adam's moments of stacked weights; each agent's own optimizer holds the parts of them that are the agent's.

    So an agent saves and loads them as it does alone, and what a method or a reset forgets there is forgotten here:
    the tensors stay where they are, and begin at zero.

    Args:
        optimizer: of the stacked weights.
        network: whose weights they are.
        own: the optimizers of the agents.
    """

    def __init__(self, optimizer: Adam, network: StackedNetwork, own: Sequence[Optimizer]) -> None:
        self.optimizer, self.own = optimizer, tuple(own)
        self._parts = dict(network.parts())
        self._states: dict[Tensor, dict[str, Tensor]] = {
            whole: {
                "step": torch.zeros((), dtype=torch.float32, device=whole.device),
                **{name: torch.zeros_like(whole, requires_grad=False) for name in _MOMENTS},
            }
            for whole in self._parts
        }
        self.renew()
        self._take_up()

    def check(self) -> None:
        """Follow what was done to the optimizers of the agents: state that was loaded, or forgotten."""
        for optimizer, known in zip(self.own, self._known, strict=True):
            if optimizer.state is not known or len(known) != len(self._states):
                self._take_up()
                return

    def renew(self) -> None:
        """Begin anew where the optimizer has forgotten what it had gathered."""
        for whole, state in self._states.items():
            if whole not in self.optimizer.state:
                for tensor in state.values():
                    tensor.zero_()
                self.optimizer.state[whole] = state

    def _take_up(self) -> None:
        for whole, parts in self._parts.items():
            found = [optimizer.state.get(part) for optimizer, part in zip(self.own, parts, strict=True)]
            held = [each for each in found if each]
            if held and len(held) < len(found):
                raise RuntimeError(
                    f"the optimizers of {len(found) - len(held)} of {len(found)} agents have forgotten what they had "
                    f"gathered of a weight of shape {tuple(parts[0].shape)}, the others have not; in a population all "
                    "must act at the same update: train these agents one after the other (Loop)"
                )
            state = self._states[whole]
            if held:
                _copy_parts(state, held)
            else:
                for tensor in state.values():
                    tensor.zero_()
            for place, (optimizer, part) in enumerate(zip(self.own, parts, strict=True)):
                optimizer.state[part] = {
                    "step": state["step"],
                    **{name: state[name][place] for name in _MOMENTS},
                }
        self._known = [optimizer.state for optimizer in self.own]


def check_methods(keepings: Sequence[Keeping]) -> None:
    """Raise a ValueError that names a method which has no stacked form, if there is one."""
    for method in (member for keeping in keepings for member in _members(keeping)):
        name = type(method).__name__
        why = None
        if isinstance(method, HareTortoise):
            if type(method) not in _STACKED:
                why = "averages in a way of its own"
        elif method.adds_penalty:
            why = "adds a term to the loss"
        elif _acts_at_steps(method):
            why = "acts after every step"
        if why is not None:
            raise ValueError(
                f"method {name} {why} and has no stacked form; expected Hare & Tortoise, EMA, and methods that act now "
                "and then (head reset, Shrink & Perturb): train these agents one after the other (Loop)"
            )


def _acts_at_steps(method: Method) -> bool:
    if isinstance(method, LastLayersReset):
        return "steps" in method.state_dict()  # counted only where it acts by them
    return type(method).after_step is not Method.after_step


def _members(keeping: Keeping) -> Iterator[Method]:
    if isinstance(keeping.method, Chain):
        yield from keeping.method.members
    elif keeping.method is not None:
        yield keeping.method


def _average_of(keeping: Keeping) -> HareTortoise | None:
    return next((member for member in _members(keeping) if isinstance(member, HareTortoise)), None)


def _counts(average: HareTortoise) -> dict[str, Any]:
    state = average.state_dict()
    return {name: state[name] for name in _COUNTS}


def _give(average: HareTortoise, counts: Mapping[str, Any]) -> None:
    average.load_state_dict({**average.state_dict(), **counts})


@torch.no_grad()
def _copy_parts(state: Mapping[str, Tensor], held: Sequence[Mapping[str, Tensor]]) -> None:
    """Copy the moments of all agents into the stacked ones, where they are not there already."""
    if any(each["step"] is not state["step"] for each in held):
        steps = sorted({float(each["step"]) for each in held})
        if len(steps) > 1:
            raise ValueError(
                f"the optimizers of the agents have made {steps} steps, expected the same number: load states of the "
                "same update"
            )
        state["step"].fill_(steps[0])
    for name in _MOMENTS:
        for part, each in zip(state[name], held, strict=True):
            if each[name].data_ptr() != part.data_ptr():
                part.copy_(each[name])
