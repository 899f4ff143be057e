"""Agents, alone and as a population, with the same weights, the same rows and the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.interface import Space
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.replay import Batch, Replay
from hare_tortoise.rl.training import Engine
from hare_tortoise.rl.update import Draws, Loop, part_of

SIZE, ACTIONS = 36, 5
LEGAL = (3, 5, 4)
"""How many actions are legal for each of three agents."""


def image_recipe(**changes: Any) -> AgentRecipe:
    """The default agent, as small as its encoder allows."""
    small = {"hidden": 16, "batch": 6, "n_step": 3, "capacity": 300, "warm_up": 10, "steps": 1_000}
    fast = {"lr": 1e-3, "shift": 2, "precision": "float32"}
    return find_agent("drq").replace(**{**small, **fast, **changes})


def grid_recipe(**changes: Any) -> AgentRecipe:
    """The agent of MinAtar, smaller."""
    small = {"hidden": 8, "batch": 4, "capacity": 300, "warm_up": 10, "steps": 1_000}
    return find_agent("minatar").replace(**{**small, **changes})


def spaces(recipe: AgentRecipe) -> list[Space]:
    image = recipe.encoder.startswith("nature")
    shape, dtype = ((SIZE, SIZE), torch.uint8) if image else ((4, 10, 10), torch.bool)
    return [Space(shape, dtype, actions=count, lives=False) for count in LEGAL]


def agents(recipe: AgentRecipe, method: str = "nothing", *, device: str = "cpu") -> list[Agent]:
    """Three of them, whose games have different legal actions."""
    found = [
        build_agent(recipe, space, method, seed, actions=ACTIONS, device=device)
        for seed, space in enumerate(spaces(recipe))
    ]
    for agent in found:
        _steady(agent.online)
        agent.target.load_state_dict(agent.online.state_dict())
    return found


@torch.no_grad()
def _steady(network: nn.Module) -> None:
    """Put every unit far from the kink of its ReLU, on either side: rounding would make it learn there, or not."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.mul_(0.2)
        else:
            parameter.copy_(1 - 2 * (torch.arange(len(parameter)) % 2))


def filled(recipe: AgentRecipe, which: Sequence[int], steps: int = 60, seed: int = 0) -> Replay:
    """A replay of some of the agents, with what each of them has always lived through."""
    told = spaces(recipe)
    replay = Replay(len(which), recipe.capacity, told[0].shape, told[0].dtype, stack=recipe.stack)
    for row, place in enumerate(which):
        draws = torch.Generator().manual_seed(100 * seed + place)
        for step in range(steps):
            drawn = torch.randint(2 if told[0].dtype is torch.bool else 256, told[0].shape, generator=draws)
            action = int(torch.randint(told[place].actions, (), generator=draws))
            reward = float(torch.randn((), generator=draws).sign())
            first, terminal = step % 20 == 0, step % 20 == 19
            replay.append(row, drawn.to(told[0].dtype), action, reward, first=first, terminal=terminal)
    return replay


@dataclass
class Forced:
    """Engines that are given the same rows and draws: those of each agent alone, and that of all."""

    recipe: AgentRecipe
    alone: list[Agent]
    engine: Engine
    together: list[Agent]
    done: int = 0

    def __post_init__(self) -> None:
        self.loops = [Loop([agent]) for agent in self.alone]
        everyone = range(len(self.together))
        self.replay = filled(self.recipe, everyone)
        self.replays = [filled(self.recipe, [place]) for place in everyone]
        self.own = [torch.Generator().manual_seed(place) for place in everyone]
        self.common = [torch.Generator().manual_seed(place) for place in everyone]

    def update(self, count: int = 1, *, weights: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Take gradient steps; give the losses of each, of the agents alone and of all."""
        return [self._once(weights) for _ in range(count)]

    def _once(self, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = self.rows()
        losses = []
        for place, (loop, replay) in enumerate(zip(self.loops, self.replays, strict=True)):
            own = replay.gather(rows.indices[place : place + 1], n_step=self.n_step, discount=0.9)
            given = None if weights is None else weights[place : place + 1]
            losses.append(loop.update(own, Draws([self.own[place]], [self.own[place]]), weights=given).mean)
        found = self.engine.update(rows, Draws(self.common, self.common), weights=weights).mean
        for agent in (*self.alone, *self.together):
            agent.keeping.after_update()
        return torch.cat(losses), found

    @property
    def n_step(self) -> int:
        assert isinstance(self.recipe.n_step, int)
        return self.recipe.n_step

    def rows(self) -> Batch:
        """The rows of the next step."""
        self.done += 1
        sample = [
            torch.Generator().manual_seed(1_000 * self.done + place) for place in range(len(self.alone))
        ]
        return self.replay.sample(self.recipe.batch, sample, n_step=self.n_step, discount=0.9)

    def difference(self) -> float:
        """The largest difference of a weight, online or target, relative to the norm of all weights of its tensor."""
        return max(
            relative(mine, theirs)
            for one, other in zip(self.alone, self.together, strict=True)
            for mine, theirs in ((one.online, other.online), (one.target, other.target))
        )


def relative(one: nn.Module, other: nn.Module) -> float:
    """The largest `‖w − v‖ / ‖w‖` over the tensors of two networks."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((v - w).detach().norm() / w.detach().norm()) for w, v in pairs)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(w, v) for w, v in zip(one.parameters(), other.parameters(), strict=True))


def one_row(batch: Batch, place: int) -> Batch:
    return part_of(batch, place)
