"""Whole games of an agent as a film: .gif, or .mp4 where a library that writes it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.environments import Environments, Space, full_name, library_of
from hare_tortoise.rl.evaluation import evaluate
from hare_tortoise.rl.gymnasium_games import Gymnasium
from hare_tortoise.rl.interface import Arrival
from hare_tortoise.rl.stage import stage_of

Picture = npt.NDArray[np.uint8]

PALETTE = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (240, 228, 66),
    (204, 121, 167),
    (255, 255, 255),
    (0, 114, 178),
    (150, 150, 150),
    (120, 94, 240),
)
"""Colours of the planes of MinAtar, those of Okabe and Ito first; a later plane covers an earlier one."""

_PER_SECOND = {"ale-py": 15.0, "MinAtar": 10.0}
_WIDE = 336
_ENDINGS = (".gif", ".mp4")


def record(
    agent: Agent,
    game: str,
    path: str | Path,
    *,
    episodes: int = 1,
    seed: int = 0,
    most_frames: int = 1_500,
) -> list[float]:
    """Play whole games with the network that an agent deploys, one after the other, and film them.

    Atari is shown grey, as the agent sees it; the planes of MinAtar, and other images of bits, in the colours of
    `PALETTE`; images of bytes as they are; vectors as gymnasium draws the environment.

    Args:
        agent: it is left as it was.
        game: name of the environment.
        path: file, ending in ``.gif`` or ``.mp4``.
        episodes: whole games, 1 or more.
        seed: of the games.
        most_frames: after which the film ends; the games are played to their ends anyway.

    Returns:
        The returns of the games.

    Raises:
        ValueError: The file has another ending, a number is below 1, there is no such environment, or it can neither be
            shown nor drawn.
        ImportError: What writes the file, or draws the environment, is not installed; said before a game is played.
        OSError: The file cannot be written.
    """
    file = Path(path)
    _check(file, episodes, most_frames)
    name = full_name(game)
    film = _Film(agent, name, most_frames)
    returns = []
    for episode in range(episodes):
        number = derive_seed(seed, "film", episode)
        returns += evaluate(agent, name, episodes=1, seed=number, make=film.make, watch=film.watch)
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, film.frames, film.per_second)
    return returns


def check_film(game: str) -> None:
    """Refuse an environment that could not be filmed, before anything is trained on it.

    Raises:
        ValueError: There is no such environment, or it can neither be shown nor drawn.
        ImportError: What writes the file, or draws the environment, is not installed.

    Example:
        >>> check_film("minatar:breakout")
    """
    name = full_name(game)
    _check(Path("film.gif"), 1, 1)
    if _is_drawn(name, stage_of([name]).spaces[name]):
        environments = Gymnasium(name, drawn=True)
        environments.start([0], [0])
        environments.draw()
        environments.close()


class _Film:
    """The frames of games, as they are played.

    Args:
        agent: that plays.
        name: of the environment.
        most: frames that are kept.
    """

    def __init__(self, agent: Agent, name: str, most: int) -> None:
        self.frames: list[Picture] = []
        self.most = most
        self._stage = stage_of([name], alike=agent.padded)
        self._drawn = _is_drawn(name, self._stage.spaces[name])
        self._look: Callable[[Tensor], Picture] = picture
        self.per_second = _PER_SECOND.get(library_of(name), 30.0)

    def make(self, names: Sequence[str]) -> Environments:
        """Make the environment so that it can be shown."""
        if not self._drawn:
            return self._stage.make(names)
        environments = Gymnasium(names[0], drawn=True)
        self.per_second = environments.draws_per_second
        self._look = lambda _: _shrunk(environments.draw())
        return environments

    def watch(self, arrival: Arrival) -> None:
        """Keep what is seen now."""
        if len(self.frames) < self.most:
            self.frames.append(self._look(arrival.observation[0]))


def picture(observation: Tensor) -> Picture:
    """Give an observation as an image, enlarged by whole factors to about 336 pixels.

    Args:
        observation: (height, width) or (channels, height, width), uint8; or (planes, height, width), bool.

    Returns:
        (height, width) or (height, width, 3).

    Example:
        >>> picture(torch.zeros(84, 84, dtype=torch.uint8)).shape, picture(torch.ones(4, 10, 10).bool()).shape
        ((336, 336), (330, 330, 3))
    """
    if observation.dtype == torch.bool:
        seen = _coloured(observation)
    elif observation.dim() == 3:
        channels = observation[[0, 0, 0]] if observation.shape[0] != 3 else observation
        seen = channels.movedim(0, -1).numpy()
    else:
        seen = observation.numpy()
    factor = max(1, _WIDE // max(seen.shape[:2]))
    return np.ascontiguousarray(seen.repeat(factor, 0).repeat(factor, 1))


def _coloured(planes: Tensor) -> Picture:
    """Give planes of bits, (planes, height, width) or (height, width), as colours on black."""
    layers = planes if planes.dim() == 3 else planes[None]
    seen: Picture = np.zeros((*layers.shape[1:], 3), dtype=np.uint8)
    for number, layer in enumerate(layers.numpy()):
        seen[layer] = PALETTE[number % len(PALETTE)]
    return seen


def _shrunk(drawn: Any) -> Picture:
    """Leave out rows and columns of what gymnasium drew, until it is not much larger than the others."""
    seen: Picture = np.asarray(drawn, dtype=np.uint8)
    every = max(1, round(max(seen.shape[:2]) / _WIDE))
    return np.ascontiguousarray(seen[::every, ::every])


def _is_drawn(name: str, space: Space) -> bool:
    """Whether gymnasium is to draw an environment, as what it shows is no image."""
    is_image = len(space.shape) > 1 and space.dtype in (torch.uint8, torch.bool)
    return library_of(name) == "gymnasium" and not is_image


def _check(file: Path, episodes: int, most_frames: int) -> None:
    if file.suffix.lower() not in _ENDINGS:
        raise ValueError(f"path: got {str(file)!r}, expected a name that ends in {' or '.join(_ENDINGS)}")
    for what, value in (("episodes", episodes), ("most_frames", most_frames)):
        if value < 1:
            raise ValueError(f"{what}: got {value}, expected 1 or more")
    if find_spec("imageio") is None:
        raise ImportError(
            "films are written by imageio, which is not installed: pip install 'hare-tortoise[rl]'"
        )
    if file.suffix.lower() == ".mp4" and _writer() is None:
        raise ImportError(
            "films in .mp4 are written by imageio with FFmpeg, which is not installed: pip install 'imageio[ffmpeg]', "
            "or write a .gif"
        )


def _writer() -> str | None:
    """The plugin of imageio that writes .mp4, if there is one."""
    for plugin, module in (("FFMPEG", "imageio_ffmpeg"), ("pyav", "av")):
        if find_spec(module) is not None:
            return plugin
    return None


def _write(file: Path, frames: Sequence[Picture], per_second: float) -> None:
    import imageio.v3 as imageio

    if file.suffix.lower() == ".gif":
        # a hundredth of a second is the unit of the format, and viewers slow down what is quicker than two
        pause = max(20, round(100 / per_second) * 10)
        imageio.imwrite(file, np.stack(frames), plugin="pillow", extension=".gif", duration=pause, loop=0)
        return
    even = np.stack([frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames])
    colours = even if even.ndim == 4 else np.repeat(even[..., None], 3, axis=-1)
    if _writer() == "FFMPEG":
        imageio.imwrite(file, colours, plugin="FFMPEG", fps=per_second, macro_block_size=2)
    else:
        imageio.imwrite(file, colours, plugin="pyav", codec="libx264", fps=per_second)
