"""The gradient step of one agent, on plain modules: for CPUs, for any network, and as the oracle of the stacked one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from hare_tortoise.rl.agent import Agent, prepare
from hare_tortoise.rl.augmentation import intensity, random_shift
from hare_tortoise.rl.heads import greedy, values
from hare_tortoise.rl.losses import Loss, distribution_loss, scalar_loss
from hare_tortoise.rl.replay import Batch


def update(
    agent: Agent,
    batch: Batch,
    augment: torch.Generator,
    *,
    noise: torch.Generator | None = None,
    weights: Tensor | None = None,
) -> Loss:
    """Take one gradient step of an agent; its target network follows by the hook of the optimizer.

        loss = mean over the rows of weights · l(Q(s, a), return + discount · Q_target(s', argmax Q(s', ·)))

    with l the Huber loss, or the cross-entropy to the projected distribution where the agent has atoms; without
    `double` the target network chooses the action itself.

    Args:
        agent: whose networks and optimizer are used.
        batch: rows of one agent: a leading axis G of 1.
        augment: draws the augmentation.
        noise: draws the noise of noisy layers; needed where there are some.
        weights: (rows,) of prioritised sampling; None: ones.

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
    found.mean.backward()
    if recipe.clip is not None:
        clip_grad_norm_(agent.online.parameters(), recipe.clip, foreach=True)
    agent.optimizer.step()
    return found


def augmented(agent: Agent, observations: Tensor, generator: torch.Generator) -> Tensor:
    """Move stacks of observations by some pixels, make them floats for the network, change their brightness."""
    recipe = agent.recipe
    if recipe.shift:
        observations = random_shift(observations[None], recipe.shift, [generator])[0]
    floats = prepare(observations, agent.shape)
    if recipe.intensity:
        floats = intensity(floats[None], recipe.intensity, [generator])[0]
    if recipe.precision == "bfloat16" and floats.dim() == 4:
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
