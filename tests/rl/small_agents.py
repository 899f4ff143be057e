"""Every recipe on small networks and small images, and batches of random rows for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.environments import Space
from hare_tortoise.rl.losses import Loss
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.replay import Batch, Following
from hare_tortoise.rl.update import update
from tests.rl.naive_agent import Given

ROWS, AHEAD, ACTIONS = 4, 3, 5
LEGAL = (0, 2, 3)

# Small networks on small images, a copy within three updates, and a norm that some gradients exceed.
SMALL: dict[str, tuple[Space, dict[str, Any]]] = {
    "nature": (Space((44, 44), torch.uint8, actions=ACTIONS, lives=True), {"hidden": 6}),
    "impala": (
        Space((9, 9), torch.uint8, actions=ACTIONS, lives=True),
        {"hidden": 6, "encoder": "impala(width=1)"},
    ),
    "minatar": (Space((4, 10, 10), torch.bool, actions=ACTIONS, lives=False), {"hidden": 6}),
    "mlp": (Space((4,), torch.float32, actions=ACTIONS, lives=False), {"hidden": 6}),
}


def small(name: str) -> tuple[AgentRecipe, Space]:
    recipe = find_agent(name)
    space, changes = SMALL[recipe.encoder.partition("(")[0]]
    changes = {**changes, "precision": "float32"}
    if recipe.clip is not None:
        changes["clip"] = 0.3
    if recipe.copy_every > 1:
        changes["copy_every"] = 2
    return recipe.replace(**changes), space


def seen(space: Space, *axes: int, generator: torch.Generator) -> Tensor:
    if space.dtype == torch.uint8:
        return torch.randint(256, (*axes, *space.shape), dtype=torch.uint8, generator=generator)
    drawn = torch.rand(*axes, *space.shape, generator=generator)
    return drawn > 0.6 if space.dtype == torch.bool else drawn - 0.5


def batches(recipe: AgentRecipe, space: Space, seed: int) -> tuple[Batch, Tensor, Following, Given]:
    """A batch as an agent gets it, and as the oracle does."""
    draw = torch.Generator().manual_seed(seed)
    before, after = (seen(space, ROWS, recipe.stack, generator=draw) for _ in range(2))
    ahead = seen(space, ROWS, AHEAD, recipe.stack, generator=draw)
    numbers = torch.tensor(LEGAL)
    actions, ahead_actions = (
        numbers[torch.randint(len(LEGAL), shape, generator=draw)] for shape in ((ROWS,), (ROWS, AHEAD))
    )
    returns = 4 * torch.randn(ROWS, dtype=torch.float64, generator=draw)
    discounts = torch.tensor([0.9, 0.0, 0.8, 0.9], dtype=torch.float64)
    weights = torch.rand(ROWS, dtype=torch.float64, generator=draw) + 0.1
    inside = torch.tensor([[True] * 3, [False] * 3, [True, False, False], [True, True, False]])
    rows = torch.arange(ROWS)
    batch = Batch(*(each[None] for each in (before, actions, returns, discounts, after, rows)))
    following = Following(ahead[None], ahead_actions[None], inside[None])
    weights = weights if recipe.replay == "prioritised" else torch.ones(ROWS, dtype=torch.float64)
    return (
        batch,
        weights,
        following,
        Given(before, actions, returns, discounts, after, weights, ahead, ahead_actions, inside),
    )


def step(agent: Agent, seed: int, augment: torch.Generator, noise: torch.Generator) -> tuple[Loss, Given]:
    batch, weights, following, given = batches(agent.recipe, agent.space, seed)
    found = update(
        agent,
        batch,
        augment,
        noise=noise if agent.recipe.noisy else None,
        weights=weights if agent.recipe.replay == "prioritised" else None,
        following=following if agent.recipe.prediction else None,
    )
    agent.keeping.after_update()
    return found, given


def generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
