"""The gradient step on plain modules, one agent after the other: for CPUs, for any network, and as the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.augmentation import intensity, random_shift
from hare_tortoise.rl.heads import greedy, values
from hare_tortoise.rl.losses import Loss, distribution_loss, scalar_loss
from hare_tortoise.rl.network import prepare
from hare_tortoise.rl.prediction import prediction_loss
from hare_tortoise.rl.replay import Batch, Following

Generators = Sequence[torch.Generator]
Part = TypeVar("Part", Batch, Following)


@dataclass(frozen=True)
class Draws:
    """What the gradient step of G agents draws from, one generator for each.

    Args:
        augment: shifts and intensities.
        noise: of noisy layers.
    """

    augment: Generators
    noise: Generators


class Loop:
    """The engine of G agents that takes one after the other.

    Args:
        agents: G of them.
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.agents = tuple(agents)

    def act(self, stacks: Tensor, epsilon: float, play: Generators, noise: Generators) -> Tensor:
        """Choose an action for the stack of each agent.

        Args:
            stacks: (G, S, …), as the environments gave them.
            epsilon: share of random actions.
            play: draws coins and random actions, one for each agent.
            noise: draws the noise of noisy layers.

        Returns:
            (G,) int64, on the CPU.
        """
        chosen = [
            agent.choose(stacks[place : place + 1], epsilon, play[place], noise=noise[place])
            for place, agent in enumerate(self.agents)
        ]
        return torch.cat(chosen)

    def update(
        self, batch: Batch, draws: Draws, *, weights: Tensor | None = None, following: Following | None = None
    ) -> Loss:
        """Take one gradient step with each agent; target networks follow, and methods act that act at each step.

        Args:
            batch: rows of each agent.
            draws: what is drawn from.
            weights: (G, B) of prioritised sampling; None: ones.
            following: what came after the rows, where it is predicted.

        Returns:
            Losses, rows and priorities, (G,) and (G, B) each, on the device: nothing is read.
        """
        found = [
            update(
                agent,
                part_of(batch, place),
                draws.augment[place],
                noise=draws.noise[place],
                weights=None if weights is None else weights[place],
                following=None if following is None else part_of(following, place),
            )
            for place, agent in enumerate(self.agents)
        ]
        return Loss(*(torch.stack([getattr(each, field.name) for each in found]) for field in fields(Loss)))

    def state_dict(self) -> dict[str, Any]:
        """Give what is not in the states of the agents: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""


def part_of(whole: Part, place: int) -> Part:
    """The rows of one agent, with a leading axis of 1."""
    return type(whole)(*(getattr(whole, field.name)[place : place + 1] for field in fields(whole)))


def update(
    agent: Agent,
    batch: Batch,
    augment: torch.Generator,
    *,
    noise: torch.Generator | None = None,
    weights: Tensor | None = None,
    following: Following | None = None,
) -> Loss:
    """Take one gradient step of an agent; its target network follows by the hook of the optimizer.

        loss = mean over the rows of weights · l(Q(s, a), return + discount · Q_target(s', argmax Q(s', ·)))

    with l the Huber loss, or the cross-entropy to the projected distribution where the agent has atoms; without
    `double` the target network chooses the action itself. Where there is a `prediction`, that many times its loss
    (`prediction_loss`, of the same rows with the same weights) is added, and what the method adds (`L2Init`).

    Args:
        agent: whose networks and optimizer are used.
        batch: rows of one agent: a leading axis G of 1.
        augment: draws the augmentation.
        noise: draws the noise of noisy layers; needed where there are some.
        weights: (rows,) of prioritised sampling; None: ones.
        following: what came after the rows, a leading axis of 1; needed where it is predicted.

    Returns:
        The loss, its rows and their new priorities, on the device: nothing is read.
    """
    recipe = agent.recipe
    before = augmented(agent, batch.observations[0], augment)
    after = augmented(agent, batch.next_observations[0], augment)
    agent.set_noise(agent.online, noise, train=True)
    agent.set_noise(agent.target, noise)
    agent.optimizer.zero_grad(set_to_none=True)
    with agent.autocast():
        predicted = agent.online(before, agent.mask)
        with torch.no_grad():
            valued = agent.target(after, agent.mask)
            chooser = agent.online(after, agent.mask) if recipe.double else valued
    chosen = greedy(values(chooser.detach(), agent.support), agent.mask)
    found = _loss(agent, predicted, batch, valued, chosen, weights)
    if recipe.prediction:
        assert following is not None
        found = _and_predicted(agent, found, before, following, augment, weights)
    if (penalty := agent.keeping.penalty(before, predicted)) is not None:
        found = replace(found, mean=found.mean + penalty)
    found.mean.backward()  # type: ignore[no-untyped-call]
    if recipe.clip is not None:
        clip_grad_norm_(agent.online.parameters(), recipe.clip, foreach=True)
    agent.optimizer.step()
    return Loss(found.rows.detach(), found.mean.detach(), found.priorities)


def augmented(agent: Agent, observations: Tensor, generator: torch.Generator) -> Tensor:
    """Move stacks of observations by some pixels, make them floats for the network, change their brightness."""
    recipe = agent.recipe
    if recipe.shift:
        observations = random_shift(observations[None], recipe.shift, [generator])[0]
    floats = prepare(observations, agent.shape)
    if recipe.intensity:
        floats = intensity(floats[None], recipe.intensity, [generator])[0]
    if agent.reduced and floats.dim() == 4:
        floats = floats.to(memory_format=torch.channels_last)
    return floats


def _loss(
    agent: Agent, predicted: Tensor, batch: Batch, valued: Tensor, chosen: Tensor, weights: Tensor | None
) -> Loss:
    taken, returns, discounts = batch.actions[0], batch.returns[0], batch.discounts[0]
    if agent.support is None:
        return scalar_loss(predicted, taken, returns, discounts, valued, chosen, weights=weights)
    return distribution_loss(
        predicted, taken, returns, discounts, valued, chosen, agent.support, weights=weights
    )


def _and_predicted(
    agent: Agent,
    found: Loss,
    before: Tensor,
    following: Following,
    augment: torch.Generator,
    weights: Tensor | None,
) -> Loss:
    """Add the loss of the prediction, which is of the same observations and of what came after."""
    stacks = following.observations[0]
    after = torch.unflatten(augmented(agent, stacks.flatten(0, 1), augment), 0, stacks.shape[:2])
    heads = [network.head for network in (agent.online, agent.target)]
    modes = [head.training for head in heads]
    for head in heads:
        head.eval()  # the published agents project without noise
    with agent.autocast():
        predicted = prediction_loss(
            agent.online,
            agent.target,
            before,
            after,
            following.actions[0],
            following.inside[0],
            weights,
        )
    for head, mode in zip(heads, modes, strict=True):
        head.train(mode)
    return replace(found, mean=found.mean + agent.recipe.prediction * predicted)
