"""What the network that plays is worth: whole games, one in each of many environments, none dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.environments import SEEDS, Environments, make_environments

Make = Callable[[Sequence[str]], Environments]


def evaluate(
    agent: Agent, environment: str, *, episodes: int = 100, seed: int = 0, make: Make = make_environments
) -> list[float]:
    """Play whole games and give their returns, in the order of their seeds.

    One game is played in each of `episodes` environments, to its end or its limit of steps; lost lives end nothing and
    rewards are those of the game. Seeds are those of this purpose, so no training episode has one of them but by
    chance (1 in 2³¹ each). An environment whose game is over plays on for nothing until the last is, as all are sent
    their actions at once; what it does then is not counted.

    Args:
        agent: its deployed network plays, with the recipe's `evaluation_epsilon`.
        environment: name of the game.
        episodes: games, at least 1.
        seed: of the games and of the random actions.
        make: gives environments by name.

    Raises:
        ValueError: `episodes` is below 1, or there is no such environment.
    """
    if episodes < 1:
        raise ValueError(f"episodes: got {episodes}, expected 1 or more")
    environments = make([environment] * episodes)
    network, recipe = agent.deployed, agent.recipe
    was_training = network.training
    network.eval()
    try:
        return _play(agent, environments, episodes, recipe.evaluation_epsilon, seed)
    finally:
        network.train(was_training)
        environments.close()


def _play(agent: Agent, environments: Environments, episodes: int, epsilon: float, seed: int) -> list[float]:
    draws = torch.Generator().manual_seed(derive_seed(seed, "evaluation", "play"))

    def seeds(which: Sequence[int], game: int) -> list[int]:
        return [derive_seed(seed, "evaluation", place, game) % SEEDS for place in which]

    space, stack = environments.spaces[0], agent.recipe.stack
    stacks = torch.zeros(episodes, stack, *space.shape, dtype=space.dtype)
    stacks[:, -1] = environments.start(range(episodes), seeds(range(episodes), 0)).observation
    returns, playing = torch.zeros(episodes, dtype=torch.float64), torch.ones(episodes, dtype=torch.bool)
    lives = None
    again = 0
    while bool(playing.any()):
        environments.send(agent.act(stacks, epsilon, draws))
        arrival = environments.receive()
        returns += torch.where(playing, arrival.reward.double(), 0.0)
        lost = torch.zeros_like(playing) if lives is None else arrival.lives < lives
        lives = arrival.lives
        over = arrival.ended | arrival.truncated
        playing &= ~over
        stacks = stacks.roll(-1, 1)
        stacks[lost] = 0  # as in training, where a life begins with an empty stack
        stacks[:, -1] = arrival.observation
        if bool(playing.any()) and bool(over.any()):
            which = over.nonzero().squeeze(1).tolist()
            again += 1
            begun = environments.start(which, seeds(which, again))
            stacks[which] = 0
            stacks[which, -1] = begun.observation
            lives = lives.index_copy(0, torch.tensor(which), begun.lives)
    return [float(each) for each in returns]
