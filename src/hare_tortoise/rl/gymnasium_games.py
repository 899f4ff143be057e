"""Environments of gymnasium, and the user's own: numbered actions, observations that are images or vectors."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hare_tortoise.lab.registry import load_external
from hare_tortoise.rl.interface import Answer, Space
from hare_tortoise.rl.lockstep import Looped, naming

# An id of gymnasium may have a colon too (`module:Name-v0`), but its end is no name of Python.
_OWN = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
MAX_STEPS = 27_000
"""Of an episode that would have no end: as many as one of Atari has."""
_KEPT = {np.dtype(np.uint8): torch.uint8, np.dtype(np.bool_): torch.bool}


class Gymnasium(Looped):
    """Environments of gymnasium with numbered actions, stepped one after another.

    Images with channels are shown with the channels first: (height, width, channels) becomes (channels, height, width),
    unless the first axis is shorter than the last, when it is taken for the channels already. uint8 and bool stay what
    they are; every other number becomes float32. A first action that is not 0 is counted from 0.

    Args:
        name: an id such as `CartPole-v1`, or `package.module:function` of the user, which returns a `gymnasium.Env`.
        count: how many, 1 or more.
        drawn: whether `draw` is to be called; a function of the user is then to return one of render mode "rgb_array".

    Raises:
        ValueError: the name is not known (with the nearest ones) or makes no `gymnasium.Env`; its actions are not
            `Discrete`; its observations are no image or vector; it is to be drawn and cannot be.
        ImportError: gymnasium, or what the environment needs, is not installed.
        RuntimeError: the user's function raised.

    Example:
        >>> environments = Gymnasium("CartPole-v1")
        >>> environments.start([0], [3]).observation.dtype
        torch.float32
    """

    def __init__(self, name: str, count: int = 1, *, drawn: bool = False) -> None:
        games = [_made(name, drawn=drawn) for _ in range(count)]
        looks = [_look(name, game) for game in games]
        super().__init__(
            [name] * count,
            [look.space for look in looks],
            [_Game(game, look) for game, look in zip(games, looks, strict=True)],
        )
        self._drawn = games

    def draw(self, number: int = 0) -> Any:
        """A picture of an environment as it is now: (height, width, 3) uint8.

        Raises:
            ImportError: what draws it is not installed.
        """
        name = self.names[number]
        try:
            with naming(name, "was drawn"):
                return self._drawn[number].render()
        except RuntimeError as error:
            if isinstance(error.__cause__, _library().error.DependencyNotInstalled):
                raise ImportError(f"{name} cannot be drawn: {error.__cause__}") from error
            raise

    @property
    def draws_per_second(self) -> float:
        """How many steps make up a second, as the environment says; 30 where it does not."""
        return float(self._drawn[0].metadata.get("render_fps") or 30)


def look_of(name: str) -> Look:
    """How the observations and actions of an environment are read.

    Raises:
        ValueError: there is none of this name, or it cannot be read.

    Example:
        >>> look_of("CartPole-v1").tensor([0.0, 0.5, 1.0, 2.0])
        tensor([0.0000, 0.5000, 1.0000, 2.0000])
    """
    game = _made(name)
    try:
        return _look(name, game)
    finally:
        game.close()


def step_limit(name: str) -> int | None:
    """After how many steps gymnasium cuts an episode of one of its environments; None: it does not, or does not say.

    Raises:
        ValueError: there is none of this name.

    Example:
        >>> step_limit("CartPole-v1")
        500
    """
    game = _made(name)
    game.close()
    return None if game.spec is None else game.spec.max_episode_steps


@dataclass(frozen=True)
class Look:
    """How the observations and actions of an environment are read.

    Args:
        space: as the rest of this library sees it.
        given: shape of an observation as the environment gives it.
        channels_last: whether its last axis becomes the first.
        first_action: what the environment calls action 0.
    """

    space: Space
    given: tuple[int, ...]
    channels_last: bool
    first_action: int

    def tensor(self, observation: object) -> Tensor:
        """A copy of an observation, in the shape and dtype of the space."""
        array = np.asarray(observation)
        if array.shape != self.given:
            raise ValueError(
                f"its observation has the shape {array.shape}, its observation space {self.given}"
            )
        if self.space.dtype is torch.float32:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise ValueError("its observation is not finite in float32")
        elif _KEPT.get(array.dtype) is not self.space.dtype:
            raise ValueError(f"its observation is {array.dtype}, its observation space {self.space.dtype}")
        # A copy: what a game shows may be its own buffer, and not for writing.
        return torch.from_numpy(
            np.array(np.moveaxis(array, -1, 0) if self.channels_last else array, order="C")
        )


class _Game:
    """One environment of gymnasium, whose episodes are cut after `MAX_STEPS` where it never cuts them itself."""

    def __init__(self, game: Any, look: Look) -> None:
        self.game = game
        self.look = look
        self.steps = 0

    def start(self, seed: int) -> Tensor:
        self.steps = 0
        observation, _ = self.game.reset(seed=seed)
        return self.look.tensor(observation)

    def act(self, action: int) -> Answer:
        observation, reward, ended, truncated, _ = self.game.step(action + self.look.first_action)
        if not isfinite(reward):
            raise ValueError(f"its reward is {reward}")
        self.steps += 1
        cut = truncated or self.steps >= MAX_STEPS
        return self.look.tensor(observation), float(reward), bool(ended), bool(cut and not ended)

    def close(self) -> None:
        self.game.close()


def _made(name: str, *, drawn: bool = False) -> Any:
    """A new environment of a name, to be drawn or not."""
    gymnasium = _library()
    if _OWN.fullmatch(name):
        function = load_external(name)
        if not callable(function):
            raise ValueError(f"{name} is {function!r}, expected a function that returns a gymnasium.Env")
        with naming(name, "was made"):
            game = function()
        if not isinstance(game, gymnasium.Env):
            raise ValueError(f"{name} returned {game!r}, expected a gymnasium.Env")
        if drawn and game.render_mode != "rgb_array":
            game.close()
            raise ValueError(
                f"{name} cannot be drawn: its render mode is {game.render_mode!r}, expected 'rgb_array'; let the "
                "function return it in that mode"
            )
        return game
    try:
        # What the checker would warn about is checked here, as an error that names the environment.
        game = gymnasium.make(
            name, disable_env_checker=True, **({"render_mode": "rgb_array"} if drawn else {})
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{name}: {error}") from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        near = difflib.get_close_matches(name, list(gymnasium.registry), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(
            f"unknown environment {name!r} ({error}); {hint}Names are atari:Game, minatar:game, an id of gymnasium, or "
            "package.module:function"
        ) from error
    if str(game.spec.entry_point).startswith("ale_py"):
        game.close()
        raise ValueError(
            f"{name} is Atari through gymnasium, with another protocol: write atari:Game, such as atari:Breakout"
        )
    return game


def _look(name: str, game: Any) -> Look:
    """How an environment is read; a ValueError where it cannot be."""
    kinds = _library().spaces
    actions, observations = game.action_space, game.observation_space
    if not isinstance(actions, kinds.Discrete):
        raise ValueError(
            f"{name} takes actions of {actions}, expected Discrete: a value-based agent chooses among numbered actions"
        )
    if not isinstance(observations, kinds.Box) or not 1 <= len(observations.shape) <= 3:
        raise ValueError(
            f"{name} shows {observations}, expected a Box of a vector (size,) or an image (height, width) or "
            "(height, width, channels): wrap it, with gymnasium.wrappers.FlattenObservation perhaps"
        )
    shape = tuple(int(size) for size in observations.shape)
    channels_last = len(shape) == 3 and shape[2] <= shape[0]
    space = Space(
        shape=(shape[2], *shape[:2]) if channels_last else shape,
        dtype=_KEPT.get(observations.dtype, torch.float32),
        actions=int(actions.n),
        lives=False,
    )
    return Look(space, shape, channels_last, int(actions.start))


def _library() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError(
            "environments that are neither Atari nor MinAtar are those of gymnasium, which is not installed: pip "
            "install 'hare-tortoise[rl]'"
        ) from error
    return gymnasium
