"""The gradient step of many agents at once, over stacked weights: one forward, one backward, one step of Adam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW

from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.augmentation import intensity, random_shift
from hare_tortoise.rl.heads import greedy, values
from hare_tortoise.rl.interface import Space
from hare_tortoise.rl.losses import Loss, distribution_loss, scalar_loss
from hare_tortoise.rl.network import prepare
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.replay import Batch, Following
from hare_tortoise.rl.stacked_keeping import Moments, StackedKeeping, Targets, check_methods
from hare_tortoise.rl.stacked_network import StackedNetwork
from hare_tortoise.rl.update import Draws, Generators


class Stacked:
    """The engine of G agents that takes all at once; `Loop` gives the same, one after the other.

        loss = Σ_g mean over the rows of weights · l(Q_g(s, a), return + discount · Q_target,g(s', argmax Q_g(s', ·)))

    so that each agent has the gradient that it has alone; the norm of it is clipped for each agent. The weights of the
    agents and Adam's moments become views of stacked tensors: evaluation, measures, checkpoints and rare acts go on
    with an agent as they do with one alone, and its state can be taken up by either engine. Averages and resets of the
    hare are those of the library, on the stacked weights. All agents must make the same updates.

    Args:
        agents: G of one recipe and method, on one device, where they stay.

    Raises:
        ValueError: they differ in recipe or method; an agent is in a population already; or something has no stacked
            form, which the message names: a layer (noisy, of IMPALA, of the user), a prediction, a method that acts
            after every step or adds to the loss.

    Example:
        >>> from hare_tortoise.rl.agent import build_agent
        >>> from hare_tortoise.rl.recipes import find_agent
        >>> space = Space((4, 10, 10), torch.bool, actions=3, lives=False)
        >>> engine = Stacked([build_agent(find_agent("minatar"), space, "nothing", seed) for seed in range(2)])
        >>> play = [torch.Generator().manual_seed(seed) for seed in range(2)]
        >>> engine.act(torch.zeros(2, 1, 4, 10, 10, dtype=torch.bool), 0.0, play, play).shape
        torch.Size([2])
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.agents = tuple(agents)
        _check(self.agents)
        first, keepings = self.agents[0], [agent.keeping for agent in self.agents]
        check_methods(keepings)
        self.recipe, self.device, self.support = first.recipe, first.device, first.support
        self.online = StackedNetwork([agent.online for agent in self.agents])
        self.target = StackedNetwork([agent.target for agent in self.agents])
        self.optimizer = stacked_optimizer(self.recipe, self.online)
        self.moments = Moments(self.optimizer, self.online, [agent.optimizer for agent in self.agents])
        self.targets = Targets(keepings, self.online, self.target, self.optimizer)
        for place, agent in enumerate(self.agents):
            _ask_once(agent)
            ask, touched = partial(self.targets.ask, place), partial(self._touch, place)
            agent.keeping = StackedKeeping(agent.keeping, ask=ask, touched=touched)
        self._touched = False
        self._legal: list[Tensor] = []
        self._mask: Tensor | None = None
        self._spaces: list[Space] = []
        self._numbers = self._counts = torch.empty(0)

    @property
    def updates(self) -> int:
        """Gradient steps of each agent so far, as they were counted by `keeping.after_update()`."""
        return self.agents[0].keeping.updates

    @torch.no_grad()
    def act(self, stacks: Tensor, epsilon: float, play: Generators, noise: Generators) -> Tensor:
        """Choose an action for the stack of each agent, as `Loop.act` does."""
        coins = torch.cat([torch.rand(1, generator=each) for each in play])
        which = torch.cat([torch.rand(1, generator=each) for each in play])
        drawn = self._drawn(which)
        if epsilon >= 1:
            return drawn
        self.catch_up()
        network = self.target if self.recipe.acts == "target" else self.online
        floats = prepare(stacks.to(self.device), self.agents[0].shape)[:, None]
        with self.agents[0].autocast():
            outputs = network(floats, self.mask())
        chosen = greedy(values(outputs, self.support), self.mask()).squeeze(1).cpu()
        return torch.where(coins < epsilon, drawn, chosen)

    def update(
        self, batch: Batch, draws: Draws, *, weights: Tensor | None = None, following: Following | None = None
    ) -> Loss:
        """Take one gradient step with each agent, as `Loop.update` does; nothing is read from the device.

        Args:
            batch: rows of each agent.
            draws: one generator for the augmentation of each agent, or one for all.
            weights: (G, B) of prioritised sampling; None: ones.
            following: None, as nothing is predicted.
        """
        assert following is None
        self.catch_up()
        self.targets.settle()
        mask, recipe = self.mask(), self.recipe
        before = self._augmented(batch.observations, draws.augment)
        after = self._augmented(batch.next_observations, draws.augment)
        self.optimizer.zero_grad(set_to_none=True)
        with self.agents[0].autocast():
            cast = self.online.cast()
            predicted = self.online.run(cast, before, mask)
            with torch.no_grad():
                valued = self.target(after, mask)
                chooser = self.online.run(cast, after, mask) if recipe.double else valued
        chosen = greedy(values(chooser, self.support), mask)
        found = self._loss(predicted, batch, valued, chosen, weights)
        found.mean.sum().backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.online.parameters()]
        finite = spare_each(gradients, found.mean.detach())
        if recipe.clip is not None:
            clip_each(gradients, recipe.clip)
        self.optimizer.step()
        self.moments.renew()
        self.targets.follow(self.updates + 1)
        means = found.mean.detach().masked_fill(
            ~finite, torch.nan
        )  # the training reads of it that the agent failed
        return Loss(found.rows.detach(), means, found.priorities)

    def catch_up(self) -> None:
        """Follow what was done to the agents since the last step: a method acted, a state was loaded."""
        if self._touched:
            self.online.rejoin()
            self.target.rejoin()
            self.targets.hear()
            self._touched = False
        self.moments.check()

    def mask(self) -> Tensor | None:
        """(G, 1, actions) bool, the legal actions of each agent; None: all are. The tensor stays while they do."""
        legal = [agent.legal for agent in self.agents]
        if len(legal) != len(self._legal) or any(
            new is not old for new, old in zip(legal, self._legal, strict=True)
        ):
            self._legal = legal
            new = torch.stack(legal)[:, None]
            if bool(new.all()):
                self._mask = None
            elif self._mask is None or not torch.equal(new, self._mask):
                self._mask = new
        return self._mask

    def state_dict(self) -> dict[str, Any]:
        """Give what is not in the states of the agents: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""

    def _touch(self, place: int) -> None:
        self.targets.touched(place)
        self._touched = True

    def _drawn(self, which: Tensor) -> Tensor:
        """A legal action of each agent, by a number from 0 to 1."""
        spaces = [agent.space for agent in self.agents]
        if spaces != self._spaces:
            self._spaces = spaces
            self._counts = torch.tensor([len(space.numbers) for space in spaces])
            numbers = [torch.tensor(space.numbers) for space in spaces]
            self._numbers = torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True)
        return self._numbers.gather(1, (which * self._counts).long()[:, None]).squeeze(1)

    def _augmented(self, observations: Tensor, generators: Generators) -> Tensor:
        """Do as `update.augmented`: rows of (G, B, S, …) to floats (G, B, *shape), drawn by the generators in turn."""
        recipe, groups = self.recipe, (len(generators), -1)
        rows = torch.unflatten(observations.flatten(0, 1), 0, groups)
        if recipe.shift:
            rows = random_shift(rows, recipe.shift, generators)
        floats = torch.unflatten(prepare(rows.flatten(0, 1), self.agents[0].shape), 0, groups)
        if recipe.intensity:
            floats = intensity(floats, recipe.intensity, generators)
        return torch.unflatten(floats.flatten(0, 1), 0, observations.shape[:2])

    def _loss(
        self, predicted: Tensor, batch: Batch, valued: Tensor, chosen: Tensor, weights: Tensor | None
    ) -> Loss:
        target = batch.returns, batch.discounts, valued, chosen
        if self.support is None:
            return scalar_loss(predicted, batch.actions, *target, weights=weights)
        return distribution_loss(predicted, batch.actions, *target, self.support, weights=weights)


@torch.no_grad()
def spare_each(gradients: Sequence[Tensor | None], losses: Tensor) -> Tensor:
    """Put the gradients of an agent to zero where they, or its loss, are not finite; in place, nothing is read.

    So its weights stay finite: a reset of the hare, which refuses others, goes on for the agents beside it.

    Args:
        gradients: of stacked weights, (G, …) each.
        losses: (G,).

    Returns:
        (G,) bool, False where an agent was spared.

    Example:
        >>> gradient = torch.tensor([[3.0, 4.0], [torch.nan, 0.4]])
        >>> spare_each([gradient], torch.zeros(2))
        tensor([ True, False])
        >>> gradient[1]
        tensor([0., 0.])
    """
    found = [gradient for gradient in gradients if gradient is not None]
    sums = [gradient.flatten(1).sum(1) for gradient in found]
    finite = torch.stack([losses, *sums]).isfinite().all(0)
    if _all_on_cpu(finite):
        return finite
    for gradient in found:
        gradient.masked_fill_(~finite.view(-1, *[1] * (gradient.dim() - 1)), 0.0)
    return finite


@torch.no_grad()
def clip_each(gradients: Sequence[Tensor | None], most: float) -> None:
    """Scale the gradients of each agent so that their norm over all its weights is at most `most`, in place.

        gradients[g] ← gradients[g] · min(1, most / (‖gradients[g]‖₂ + 1e-6))

    Args:
        gradients: of stacked weights, (G, …) each.
        most: above 0.

    Example:
        >>> gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
        >>> clip_each([gradient], 1.0)
        >>> gradient
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    found = [gradient for gradient in gradients if gradient is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in found])
    scale = (most / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    if _all_on_cpu(scale == 1):
        return
    for gradient in found:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


def _all_on_cpu(flags: Tensor) -> bool:
    """Whether there is nothing to do for any agent: on a CPU it costs nothing to look, on another device a wait."""
    return flags.device.type == "cpu" and bool(flags.all())


def stacked_optimizer(recipe: AgentRecipe, network: StackedNetwork) -> Adam:
    """Build what `build_optimizer` builds for one agent: Adam, with decoupled weight decay on matrices and kernels."""
    settings: dict[str, Any] = {"lr": recipe.lr, "eps": recipe.adam_epsilon, "fused": True}
    if not recipe.weight_decay:
        return Adam(network.parameters(), **settings)
    groups: dict[float, list[Tensor]] = {recipe.weight_decay: [], 0.0: []}
    for whole, parts in network.parts():
        groups[recipe.weight_decay if parts[0].dim() > 1 else 0.0].append(whole)
    return AdamW([{"params": group, "weight_decay": decay} for decay, group in groups.items()], **settings)


@torch.no_grad()
def _ask_once(agent: Agent) -> None:
    # Methods that must know in which order a network calls its layers wait for a forward, and here is no other.
    agent.online(torch.zeros(1, *agent.shape, device=agent.device), agent.mask)


def _check(agents: Sequence[Agent]) -> None:
    if not agents:
        raise ValueError("agents is empty, expected at least one")
    first = agents[0]
    for place, agent in enumerate(agents):
        if isinstance(agent.keeping, StackedKeeping):
            raise ValueError(f"agent {place} is in a population already; build a new one")
        if (agent.recipe, agent.device, agent.shape) != (first.recipe, first.device, first.shape):
            raise ValueError(
                f"agent {place} differs from the first in its recipe, its device or the shape that it sees; a "
                "population is of one recipe, on one device, in games that look alike"
            )
