"""MinAtar's five games by MinAtar's own protocol."""

from __future__ import annotations

import importlib.util
from copy import copy
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hare_tortoise.rl.interface import Answer, Space
from hare_tortoise.rl.lockstep import Looped
from hare_tortoise.streams.names import unknown

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
CHANNELS = 10
ACTIONS = 6
STICKY = 0.1
MAX_STEPS = 5_000


class MinAtar(Looped):
    """One of MinAtar's games, by its own protocol: (channels, 10, 10) bool, rewards as they are, no lives.

    With probability 0.1 the last action is repeated instead of the one sent (the first of an episode: no-op); the
    difficulty rises as the game goes on; the actions are the minimal ones. An episode is cut after 5,000 steps. What
    is drawn, the sticky actions and the game's own events, comes from one generator seeded at its start.

    Args:
        game: one of `MINATAR_GAMES`, in any spelling.
        count: how many, 1 or more.
        padded: show 10 channels, those that the game lacks empty, and take actions by their number among MinAtar's six
            (no-op, left, up, right, down, fire), of which the minimal ones are legal.
        max_steps: after which an episode is cut, 1 or more.

    Raises:
        ValueError: there is no such game, or `max_steps` is below 1.
        ImportError: MinAtar is not installed.

    References:
        Young and Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning
        Experiments", 2019, arXiv 1903.03176.

    Example:
        >>> games = MinAtar("Breakout", 2)
        >>> games.spaces[0]
        Space(shape=(4, 10, 10), dtype=torch.bool, actions=3, lives=False, legal=None)
        >>> games.start([1], [5]).observation.sum(dim=(0, 2, 3))  # paddle, ball, trail, bricks
        tensor([ 1,  1,  1, 30])
        >>> MinAtar("breakout", padded=True).spaces[0].numbers
        (0, 1, 3)
    """

    def __init__(
        self, game: str, count: int = 1, *, padded: bool = False, max_steps: int = MAX_STEPS
    ) -> None:
        if isinstance(max_steps, bool) or max_steps < 1:
            raise ValueError(f"max_steps is {max_steps!r}, expected a whole number of at least 1")
        name = find_minatar_game(game)
        module = _module(name)
        one = module.Env(ramping=True)
        minimal = tuple(int(action) for action in one.minimal_action_set())
        channels = CHANNELS if padded else int(one.state_shape()[2])
        space = Space(
            (channels, 10, 10), torch.bool, len(minimal), lives=False, legal=minimal if padded else None
        )
        actions = tuple(range(ACTIONS)) if padded else minimal
        super().__init__(
            [f"minatar:{name}"] * count,
            [space] * count,
            [_Game(module, actions, channels, max_steps) for _ in range(count)],
        )


def find_minatar_game(name: str) -> str:
    """MinAtar's own name of a game in any spelling.

    Raises:
        ValueError: there is no such game; the nearest names are in the message.

    Example:
        >>> find_minatar_game("Space-Invaders"), find_minatar_game("SpaceInvaders")
        ('space_invaders', 'space_invaders')
    """
    known = {game.replace("_", ""): game for game in MINATAR_GAMES}
    key = "".join(letter for letter in name.lower() if letter.isalnum())
    if key not in known:
        raise unknown("game of MinAtar", name, MINATAR_GAMES)
    return known[key]


def pad_channels(observation: Tensor, channels: int = CHANNELS) -> Tensor:
    """Add empty channels behind those that a game has, so that one network sees several games.

    Args:
        observation: (…, C, 10, 10), any dtype.
        channels: how many there shall be, at least C.

    Returns:
        (…, channels, 10, 10): a copy, or the observation itself if it has as many.

    Raises:
        ValueError: the observation has more channels.

    Example:
        >>> pad_channels(torch.ones(2, 4, 10, 10, dtype=torch.bool)).sum(dim=(0, 2, 3)).tolist()
        [200, 200, 200, 200, 0, 0, 0, 0, 0, 0]
    """
    own = observation.shape[-3]
    if own > channels:
        raise ValueError(f"channels is {channels}, the observation has {own}: give at least as many")
    if own == channels:
        return observation
    padded = observation.new_zeros(*observation.shape[:-3], channels, *observation.shape[-2:])
    padded[..., :own, :, :] = observation
    return padded


class _Game:
    """One game; each episode is a copy of an unplayed one, so that nothing of the one before is left in it."""

    def __init__(self, module: ModuleType, actions: tuple[int, ...], channels: int, max_steps: int) -> None:
        self.unplayed = module.Env(ramping=True)  # making one takes twice as long as copying it
        self.actions = actions
        self.channels = channels
        self.max_steps = max_steps
        self.game: Any = None

    def start(self, seed: int) -> Tensor:
        self.game = copy(self.unplayed)
        self.game.random = self.random = np.random.RandomState(seed)
        self.game.reset()
        self.last_action = 0
        self.steps = 0
        return self._observation()

    def act(self, action: int) -> Answer:
        if self.random.rand() >= STICKY:
            self.last_action = self.actions[action]
        reward, ended = self.game.act(self.last_action)
        self.steps += 1
        return self._observation(), float(reward), bool(ended), self.steps >= self.max_steps and not ended

    def close(self) -> None:
        self.game = None

    def _observation(self) -> Tensor:
        planes = np.ascontiguousarray(self.game.state().transpose(2, 0, 1))
        return pad_channels(torch.from_numpy(planes), self.channels)


@cache
def _module(game: str) -> ModuleType:
    """The module of one game, read from its file.

    Importing `minatar` itself imports matplotlib and seaborn, or, where they are missing, warns through the root logger
    and gives it a handler; the games need NumPy alone.
    """
    package = importlib.util.find_spec("minatar")
    if package is None or not package.submodule_search_locations:
        raise ImportError(
            "MinAtar's games are those of the package MinAtar, which is not installed: pip install "
            "'hare-tortoise[rl]'"
        )
    file = Path(package.submodule_search_locations[0], "environments", f"{game}.py")
    spec = importlib.util.spec_from_file_location(f"minatar.environments.{game}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
