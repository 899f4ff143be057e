"""What the network that plays is worth: whole games, one in each of many environments, none dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hare_tortoise.rl import stacks
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.environments import Environments, make_environments
from hare_tortoise.rl.interface import Arrival
from hare_tortoise.rl.seeds import evaluation_seed

Make = Callable[[Sequence[str]], Environments]
Watch = Callable[[Arrival], None]


def evaluate(
    agent: Agent,
    game: str,
    *,
    episodes: int = 100,
    seed: int = 0,
    make: Make = make_environments,
    watch: Watch | None = None,
) -> list[float]:
    """Play whole games and give their returns, in the order of their seeds.

    One game is played in each of `episodes` environments, to its end or its limit of steps; lost lives end nothing and
    rewards are those of the game. The seeds are odd, and those of training are even. An environment whose game is over
    plays on for nothing until the last is, as all are sent their actions at once; what it does then is not counted.
    Without noise in noisy layers.

    Args:
        agent: its deployed network plays, with the recipe's `evaluation_epsilon`. It is left as it was.
        game: name of the environment.
        episodes: games, at least 1.
        seed: of the games and of the random actions.
        make: gives environments by name.
        watch: is told what the environments answer, from the first observations on.

    Raises:
        ValueError: `episodes` is below 1, there is no such environment, or it does not fit the agent.
    """
    if episodes < 1:
        raise ValueError(f"episodes: got {episodes}, expected 1 or more")
    environments, space = make([game] * episodes), agent.space
    try:
        agent.plays(environments.spaces[0])
        return _play(agent, environments, seed, watch or (lambda _: None))
    finally:
        agent.plays(space)
        environments.close()


def _play(agent: Agent, environments: Environments, seed: int, watch: Watch) -> list[float]:
    count, space, stack = len(environments.names), environments.spaces[0], agent.recipe.stack
    draws = torch.Generator().manual_seed(evaluation_seed(seed, "play"))

    def begin(which: Sequence[int], game: int) -> Arrival:
        arrival = environments.start(
            which, [evaluation_seed(seed, "episode", place, game) for place in which]
        )
        stacks.begin(seen, which, arrival.observation)
        return arrival

    seen = torch.zeros(count, stack, *space.shape, dtype=space.dtype)
    returns, playing = torch.zeros(count, dtype=torch.float64), torch.ones(count, dtype=torch.bool)
    arrival = begin(range(count), 0)
    watch(arrival)
    lives, again = arrival.lives, 0
    while bool(playing.any()):
        environments.send(agent.choose(seen, agent.recipe.evaluation_epsilon, draws))
        arrival = environments.receive()
        watch(arrival)
        returns += torch.where(playing, arrival.reward.double(), 0.0)
        lost = (arrival.lives < lives) & torch.tensor([agent.recipe.lives_end])
        lives = arrival.lives
        over = arrival.ended | arrival.truncated
        playing &= ~over
        stacks.follow(seen, arrival.observation, lost.nonzero().squeeze(1).tolist())
        which = over.nonzero().squeeze(1).tolist()
        if which and bool(playing.any()):
            again += 1
            lives = lives.index_copy(0, torch.tensor(which), begin(which, again).lives)
    return [float(each) for each in returns]
