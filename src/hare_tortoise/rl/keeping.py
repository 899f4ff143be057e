"""What is done with the weights beside the gradient step: the target network follows, the method acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import take_apart
from hare_tortoise.lab.spec import Call
from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.methods import EMA, Chain, HareTortoise, Method
from hare_tortoise.rl.recipe import AgentRecipe

NOTHING = "nothing"
"""The plain agent: its target network follows as the recipe says, and no method acts."""


class Keeping:
    """The target network and the method of one agent.

    Args:
        recipe: says how the target follows, and when methods act that act at new data.
        online: the network that is trained.
        target: the target network.
        optimizer: of the online network.
        method: hooked to the optimizer; None: nothing acts, and the target is copied.
        acting: members of the method that act at new data.
        own: the same members, built on the target network; they act there with draws of their own.
    """

    def __init__(
        self,
        recipe: AgentRecipe,
        online: nn.Module,
        target: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        method: Method | None,
        acting: bool,
        own: Sequence[Method] = (),
    ) -> None:
        self.recipe, self.online, self.target, self.optimizer = recipe, online, target, optimizer
        self.method, self.acting, self.own = method, acting, tuple(own)
        self.updates = 0
        self.begun = 0  # updates when the game began
        self.in_all = int((recipe.steps - recipe.warm_up) * recipe.replay_ratio)  # on one game

    def after_update(self) -> bool:
        """Do what is due after a gradient step; says whether the method acted, so that schedules begin anew."""
        self.updates += 1
        if self.recipe.target == "copy" and self.updates % self.recipe.copy_every == 0:
            copy_weights(self.online, self.target)
        every, here = self.recipe.act_every, self.updates - self.begun
        if not self.acting or here % every or self.in_all - here < every:
            return False
        self.act()
        return True

    def new_game(self) -> None:
        """Let a method that acts at new data act: another game begins."""
        self.begun = self.updates
        if self.acting:
            self.act()

    def act(self) -> None:
        """Let the method act on the online network now, and on the target as the recipe says."""
        before = [parameter.detach().clone() for parameter in self.online.parameters()]
        assert self.method is not None
        self.method.new_data()
        for old, parameter in zip(before, self.online.parameters(), strict=True):
            if not torch.equal(old, parameter):
                self.optimizer.state.pop(parameter, None)
        for method in self.own:
            method.new_data()
        if self.recipe.target == "copy" and self.recipe.after_act == "same":
            copy_weights(self.online, self.target)

    def state_dict(self) -> dict[str, Any]:
        """Give counts and the states of the methods."""
        return {
            "updates": self.updates,
            "begun": self.begun,
            "method": None if self.method is None else self.method.state_dict(),
            "own": [method.state_dict() for method in self.own],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.updates, self.begun = state["updates"], state["begun"]
        if self.method is not None:
            self.method.load_state_dict(state["method"])
        for method, saved in zip(self.own, state["own"], strict=True):
            method.load_state_dict(saved)


@torch.no_grad()
def copy_weights(online: nn.Module, target: nn.Module) -> None:
    """Make the target network a copy of the online one."""
    theirs = dict(online.state_dict())
    for name, tensor in target.state_dict().items():
        tensor.copy_(theirs[name])


def keep(
    recipe: AgentRecipe,
    text: str,
    online: nn.Module,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    fresh: Callable[[], nn.Module],
    seed: int,
) -> Keeping:
    """Build a method around an agent's two networks: the averaging member's tortoise is the target network.

    Args:
        recipe: of the agent.
        text: a composition of methods, ``nothing``, or ``ema(decay=…)``: the plain agent with another decay.
        online: the network that is trained.
        target: the target network.
        optimizer: of the online network.
        fresh: builds a newly initialised network of the same shape.
        seed: of the method's draws.

    Raises:
        ValueError: There is no such method, it does not fit an agent, or it averages where the target is copied.
    """
    calls = _calls(text)
    averaging = [call for call in calls if _averages(call)]
    others = [call for call in calls if not _averages(call)]
    _check(recipe, text, averaging, others)

    def build(call: Call, model: nn.Module, place: str) -> Method:
        settings = {} if call.positional else registry.settings_of("method", call, registry.find_method(call))
        return registry.build_method(
            [(call, settings)], model, fresh=fresh, head=lambda: "head", seeds=[derive_seed(seed, place, call.name)]
        )

    members = [build(call, online, "online") for call in others]
    average: Method | None = None
    if recipe.target == "average":
        average = _average(averaging, recipe, online, target, seed)
        members = [average, *members]
    acting = any(type(member).new_data is not Method.new_data for member in members if member is not average)
    method = _joined(members, average, recipe)
    if method is not None:
        method.attach(optimizer)
    own = [build(call, target, "target") for call in others] if recipe.after_act == "own" and acting else []
    return Keeping(recipe, online, target, optimizer, method=method, acting=acting, own=own)


def _calls(text: str) -> list[Call]:
    if text == NOTHING:
        return []
    parts = take_apart(text)
    if parts.transforms or parts.optimizer:
        raise ValueError(f"method {text!r}: expected methods only; an agent's network and optimizer are its recipe's")
    return [call for call in parts.methods if call.name != "warm-start"]


def _averages(call: Call) -> bool:
    return issubclass(registry.find_method(call), HareTortoise)


def _check(recipe: AgentRecipe, text: str, averaging: Sequence[Call], others: Sequence[Call]) -> None:
    if averaging and recipe.target == "copy":
        raise ValueError(
            f"method {text!r}: {recipe.name} copies its target network, so there is no tortoise; take a recipe whose "
            "target is an average (drq), or set target=average"
        )
    if len(averaging) > 1:
        raise ValueError(f"method {text!r} has {len(averaging)} averages, expected one: the target network")
    for call in others:
        if needed := registry.find_method(call).needs & {"batches", "loss"}:
            raise ValueError(
                f"method {call.name} needs {' and '.join(sorted(needed))} of labelled examples, which an agent has not"
            )


def _average(
    averaging: Sequence[Call], recipe: AgentRecipe, online: nn.Module, target: nn.Module, seed: int
) -> Method:
    if not averaging:
        return EMA(online, decay=recipe.decay, tortoise=target)
    (call,) = averaging
    kind = registry.find_method(call)
    settings = {"decay": recipe.decay, **registry.settings_of("method", call, kind, given=registry.GIVEN)}
    with registry.explained("method", call):
        return kind(online, tortoise=target, seed=derive_seed(seed, "average"), **settings)


def _joined(members: Sequence[Method], average: Method | None, recipe: AgentRecipe) -> Method | None:
    if len(members) < 2:
        return members[0] if members else None
    follow = "follow" if recipe.after_act == "same" else "keep"
    return Chain(*members, deployed=average, averages=follow) if average is not None else Chain(*members)
