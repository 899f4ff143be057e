"""An agent at play in an environment of the user's own, one observation after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hare_tortoise.rl import stacks
from hare_tortoise.rl.environments import library_of
from hare_tortoise.rl.gymnasium_games import look_of
from hare_tortoise.rl.minatar import pad_channels

if TYPE_CHECKING:
    from hare_tortoise.rl.agent import Agent


class Player:
    """Plays one episode after the other with an agent's deployed network; it keeps the stack of observations.

    Observations and actions are those of the environment itself: of gymnasium, as `reset` and `step` give and take
    them; of Atari, grey frames (84, 84) of bytes and the numbers of the game's minimal actions, as gymnasium's
    `AtariPreprocessing` shows them; of MinAtar, what its `state()` gives, (10, 10, channels) of bits.

    Call `reset()` where an episode begins. Where lives are lost, tell how many are left: networks that were trained
    with a lost life as an end have never seen frames of two lives at once. It takes no action at random, unlike
    `evaluate`, which does so with the recipe's `evaluation_epsilon`.

    Args:
        agent: plays; `agent.player()` gives its player.
        game: name of the environment; None: it is not known, and observations are taken as the agent sees them.

    Example:
        >>> import gymnasium
        >>> from hare_tortoise.rl import train
        >>> player = train(env="CartPole-v1", steps=300, warm_up=100).player()
        >>> game = gymnasium.make("CartPole-v1")
        >>> observation, told = game.reset(seed=7)
        >>> player.reset()
        >>> player.act(observation) in (0, 1)
        True
    """

    def __init__(self, agent: Agent, game: str | None = None) -> None:
        self.agent = agent
        library = None if game is None else library_of(game)
        self._look = look_of(game) if game is not None and library == "gymnasium" else None
        self._planes = library == "MinAtar"
        self._draws = torch.Generator()  # which nothing depends on, as nothing is drawn
        self._stack = torch.zeros(1, agent.recipe.stack, *agent.space.shape, dtype=agent.space.dtype)
        self._lives: int | None = None

    def reset(self) -> None:
        """Begin an episode: nothing was seen yet."""
        self._stack.zero_()
        self._lives = None

    def act(self, observation: object, *, lives: int | None = None) -> int:
        """Choose an action.

        Args:
            observation: what the environment shows now, as an array or a tensor on the CPU.
            lives: that are left, in games that tell: `info["lives"]`.

        Raises:
            ValueError: The observation has another shape or dtype than those that the agent was trained on.
        """
        seen = self._seen(observation)
        lost = lives is not None and self._lives is not None and lives < self._lives
        self._lives = lives
        stacks.follow(self._stack, seen[None], [0] if lost and self.agent.recipe.lives_end else [])
        action = int(self.agent.choose(self._stack, 0.0, self._draws))
        return action if self._look is None else action + self._look.first_action

    def _seen(self, observation: object) -> Tensor:
        if self._look is not None:
            return self._look.tensor(observation)
        space = self.agent.space
        array = observation if isinstance(observation, Tensor) else torch.from_numpy(np.array(observation))
        seen = array.detach().cpu()
        if self._planes and seen.dim() == 3:
            seen = seen.movedim(-1, 0)
            if len(seen) < space.shape[0] and self.agent.padded:
                seen = pad_channels(seen, space.shape[0])
        if seen.shape != space.shape or seen.dtype != space.dtype:
            raise ValueError(
                f"the observation is {tuple(seen.shape)} of {seen.dtype}, expected {space.shape} of {space.dtype}: "
                "what the agent was trained on"
            )
        return seen
