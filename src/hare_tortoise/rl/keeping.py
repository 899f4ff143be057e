"""What is done with the weights beside the gradient step: the target network follows, the method acts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import take_apart
from hare_tortoise.lab.spec import Call, parse_sum
from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.methods import (
    EMA,
    CChain,
    Chain,
    HareTortoise,
    Method,
    OptimizerReset,
    PlasticityInjection,
    SelfDistillation,
    SpectralDecoupling,
)
from hare_tortoise.methods.support.injected import wrap_alike
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
        self.in_all = recipe.updates(recipe.steps)  # on one game

    def penalty(self, inputs: Tensor, outputs: Tensor) -> Tensor | None:
        """What the method adds to the loss, a scalar; None: nothing.

        Args:
            inputs: (rows, *shape), floating: what the online network was given.
            outputs: what it answered.
        """
        if self.method is None or not self.method.adds_penalty:
            return None
        return self.method.penalty(inputs, outputs)

    def after_update(self) -> bool:
        """Do what is due after a gradient step; says whether a method gave new weights: then schedules begin anew."""
        self.updates += 1
        self.follow()
        return self.acts_after(self.updates) and self.act()

    def follow(self) -> None:
        """Copy the online network to the target where the recipe says so and it is time; averages follow by hooks."""
        if self.recipe.target == "copy" and self.updates % self.recipe.copy_every == 0:
            copy_weights(self.online, self.target)

    def acts_after(self, updates: int) -> bool:
        """Whether the method acts after so many updates, if no other game begins before."""
        every, here = self.recipe.act_every, updates - self.begun
        return self.acting and here % every == 0 and self.in_all - here >= every

    def new_game(self) -> None:
        """Let a method that acts at new data act: another game begins."""
        self.begun = self.updates
        if self.acting:
            self.act()

    def act(self) -> bool:
        """Let the method act on the online network now, and on the target as the recipe says.

        Returns:
            Whether the online network has new weights.
        """
        changed = False
        before = [parameter.detach().clone() for parameter in self.online.parameters()]
        assert self.method is not None
        self.method.new_data()
        for old, parameter in zip(before, self.online.parameters(), strict=True):
            if not torch.equal(old, parameter):
                self.optimizer.state.pop(parameter, None)
                changed = True
        with _thawed(self.target):
            for method in self.own:
                method.new_data()
        if self.recipe.target == "copy" and self.recipe.after_act == "same":
            copy_weights(self.online, self.target)
        return changed

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


@contextmanager
def _thawed(network: nn.Module) -> Iterator[None]:
    """Show the weights of the target network as trained ones: methods leave alone what is frozen."""
    frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


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
            [(call, settings)],
            model,
            fresh=fresh,
            head=lambda: "head",
            seeds=[derive_seed(seed, place, call.name)],
        )

    members = [build(call, online, "online") for call in others]
    wrap_alike(target, online)
    average: Method | None = None
    if recipe.target == "average":
        average = _average(averaging, recipe, online, target, seed)
        members.insert(calls.index(averaging[0]) if averaging else len(members), average)
    method = _joined(members, average, recipe)
    if method is not None:
        method.attach(optimizer)
    acting = [call for call in others if _acts(call)]
    own: list[Method] = []
    if recipe.after_act == "own":
        with _thawed(target):
            own = [build(call, target, "target") for call in acting if not _is(call, OptimizerReset)]
    return Keeping(recipe, online, target, optimizer, method=method, acting=bool(acting), own=own)


def _calls(text: str) -> list[Call]:
    if text == NOTHING:
        return []
    for call in parse_sum(text):
        if difflib.get_close_matches(call.name, (NOTHING, "none", "plain", "baseline"), n=1, cutoff=0.7):
            raise ValueError(f"method {text!r}: got {call.name!r}; the plain agent is {NOTHING!r}, by itself")
    parts = take_apart(text)
    if parts.transforms or parts.optimizer:
        raise ValueError(
            f"method {text!r}: expected methods only; an agent's network and optimizer are its recipe's"
        )
    return [call for call in parts.methods if call.name != "warm-start"]


def _is(call: Call, *kinds: type[Method]) -> bool:
    return issubclass(registry.find_method(call), kinds)


def _averages(call: Call) -> bool:
    return _is(call, HareTortoise)


def _acts(call: Call) -> bool:
    """Whether a method does something at new data."""
    return registry.find_method(call).new_data is not Method.new_data


def _check(recipe: AgentRecipe, text: str, averaging: Sequence[Call], others: Sequence[Call]) -> None:
    if averaging and recipe.target == "copy":
        raise ValueError(
            f"method {text!r}: {recipe.name} copies its target network, so there is no tortoise; take a recipe whose "
            "target is an average (drq), or set target=average"
        )
    if len(averaging) > 1:
        raise ValueError(f"method {text!r} has {len(averaging)} averages, expected one: the target network")
    for call in averaging:
        if "tortoise" not in inspect.signature(registry.find_method(call)).parameters:
            raise ValueError(
                f"method {call.name} averages into a network of its own, expected the target network: write "
                "hare-tortoise(decay=…, reset_every=…)"
            )
    for call in others:
        _check_other(recipe, call)


def _check_other(recipe: AgentRecipe, call: Call) -> None:
    settings = dict(call.settings)
    if _is(call, SelfDistillation, SpectralDecoupling):
        raise ValueError(f"method {call.name} is about the logits of classes, which an agent has not")
    if _is(call, CChain) and (settings.get("ratio", 0) is not None or settings.get("distance") != "mse"):
        raise ValueError(
            f"method {call}: an agent has no classes and no targets that it could be told; write "
            f"{call.name}(distance=mse, ratio=None, strength=…)"
        )
    if _is(call, PlasticityInjection) and recipe.prediction:
        raise ValueError(
            f"method {call.name} puts another head in the place of the one that the self-prediction of {recipe.name} "
            "reads; set prediction=0"
        )
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
    kind = cast(type[HareTortoise], registry.find_method(call))
    settings = {"decay": recipe.decay, **registry.settings_of("method", call, kind, given=registry.GIVEN)}
    with registry.explained("method", call):
        return kind(online, tortoise=target, seed=derive_seed(seed, "average"), **settings)


def _joined(members: Sequence[Method], average: Method | None, recipe: AgentRecipe) -> Method | None:
    if len(members) < 2:
        return members[0] if members else None
    if average is None:
        return Chain(*members)
    return Chain(*members, deployed=average, averages="follow" if recipe.after_act == "same" else "keep")
