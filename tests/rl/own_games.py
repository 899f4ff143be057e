"""Games of the tests' own: some for gymnasium, some that go wrong, and one that tells all that it was given."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from torch import Tensor

from hare_tortoise.rl.interface import Answer
from hare_tortoise.rl.interface import Space as OurSpace
from hare_tortoise.rl.lockstep import Looped


class Teller:
    """Observes (seed, steps, the actions so far as digits, a number of its own); over after 3 + seed % 4 steps."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False

    def start(self, seed: int) -> Tensor:
        self.seed, self.steps, self.digits = seed, 0, 0
        return self.observation()

    def act(self, action: int) -> Answer:
        if self.steps >= 3 + self.seed % 4:
            raise AssertionError("it was sent an action after its end")
        self.steps += 1
        self.digits = 10 * self.digits + action
        end = self.steps >= 3 + self.seed % 4
        # an end for even seeds, a cut for odd ones
        return self.observation(), action / 2, end and self.seed % 2 == 0, end and self.seed % 2 == 1

    def close(self) -> None:
        self.closed = True

    def observation(self) -> Tensor:
        return torch.tensor([self.seed, self.steps, self.digits, self.number], dtype=torch.float32)


def tellers(*actions: int, first: int = 0) -> Looped:
    """One teller for each number of actions, numbered from `first`."""
    spaces = [OurSpace((4,), torch.float32, count, lives=False) for count in actions]
    names = [f"teller {first + number}" for number in range(len(actions))]
    return Looped(names, spaces, [Teller(first + number) for number in range(len(actions))])


class Walk(gymnasium.Env[Any, Any]):
    """A walk on a line from a place that the seed draws: action 1 left, 2 stay, 3 right; over at 5 or beyond."""

    def __init__(self, *, box: Space[Any] | None = None, actions: Space[Any] | None = None) -> None:
        self.observation_space = box or Box(-10, 10, (2,), np.float64)
        self.action_space = actions or Discrete(3, start=1)
        self.place = self.before = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.before = float(self.np_random.integers(-3, 3))
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.before, self.place = self.place, self.place + int(action) - 2
        return self.seen(), self.place - self.before, self.place >= 5, self.place >= 5 or self.place <= -5, {}

    def seen(self) -> Any:
        return np.array([self.place, self.before])


class Picture(Walk):
    """The same, seen as an image: the place in the first row of the second channel."""

    def __init__(self, shape: tuple[int, ...] = (6, 5, 3), dtype: Any = np.uint8) -> None:
        super().__init__(box=Box(0, 1 if dtype is np.bool_ else 255, shape, dtype))

    def seen(self) -> Any:
        image = np.zeros(self.observation_space.shape or (), dtype=self.observation_space.dtype)
        image[0, 2] = self.place + 10
        return image


class Forgetful(Walk):
    """Draws where it begins from something that no seed sets."""

    beginnings = itertools.count()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=0)
        self.place = self.before = -3.0 + next(self.beginnings) % 5
        return self.seen(), {}


class Broken(Walk):
    """Goes wrong when its fourth action is 3, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, reward, ended, truncated, told = super().step(action)
        if action == 3:
            if self.how == "raises":
                raise ZeroDivisionError("the walker fell")
            seen = {"shape": np.zeros(3), "nan": np.array([np.nan, 0.0])}.get(self.how, seen)
            reward = np.nan if self.how == "reward" else reward
        return seen, reward, ended, truncated, told


def walk() -> Walk:
    return Walk()


def limited() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Walk(), 4)


def picture() -> Walk:
    return Picture()


def channels_first() -> Walk:
    return Picture((2, 6, 5))


def planes() -> Walk:
    return Picture((6, 5, 3), np.bool_)


def grey() -> Walk:
    return Picture((6, 5), np.float32)


def mislabelled() -> Walk:
    game = Picture()
    game.seen = lambda: np.zeros((6, 5, 3), np.float64)  # type: ignore[method-assign]
    return game


def continuous() -> Walk:
    return Walk(actions=Box(-1, 1, (2,)))


def numbered() -> Walk:
    return Walk(box=Discrete(4))


def video() -> Walk:
    return Walk(box=Box(0, 255, (4, 6, 5, 3), np.uint8))


def forgetful() -> Walk:
    return Forgetful()


def raises() -> Walk:
    return Broken("raises")


def other_shape() -> Walk:
    return Broken("shape")


def not_a_number() -> Walk:
    return Broken("nan")


def endless_reward() -> Walk:
    return Broken("reward")


def cannot_be_made() -> Walk:
    raise FileNotFoundError("walk.txt")


def nothing() -> int:
    return 3


A_NUMBER = 3


class Drawn(Walk):
    """The walk, which can be drawn: a white column at its place, on black."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  # gymnasium's own form
    render_mode = "rgb_array"

    def render(self) -> Any:
        image = np.zeros((400, 800, 3), np.uint8)
        image[:, 40 * (int(self.place) + 10)] = 255
        image[::2, 0] = 77
        return image


def drawn() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Drawn(), 12)
