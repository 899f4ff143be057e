"""Films of agents at play: what is seen, frame by frame, of the games that were played."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from torch import Tensor

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl import Agent, evaluate, find_agent
from hare_tortoise.rl.agent import build_agent
from hare_tortoise.rl.evaluation import evaluate as play
from hare_tortoise.rl.interface import Arrival
from hare_tortoise.rl.stage import stage_of
from hare_tortoise.rl.video import PALETTE, check_film, picture, record

BREAKOUT, DRAWN = "minatar:breakout", "tests.rl.own_games:drawn"


def agent_of(game: str, recipe: str) -> Agent:
    stage = stage_of([game])
    chosen = find_agent(recipe).replace(hidden=8, evaluation_epsilon=0.3, precision="float32")
    return build_agent(chosen, stage.spaces[game], "nothing", 0, actions=stage.actions)


def frames_of(path: Path) -> list[Any]:
    """The frames of a GIF, each as often as it is shown."""
    found: list[Any] = []
    unit = shortest(path)
    for number in range(count_of(path)):
        told = imageio.immeta(path, plugin="pillow", index=number)
        shown = imageio.imread(path, plugin="pillow", index=number, mode="RGB")
        found += [shown] * round(told["duration"] / unit)
    return found


def shortest(path: Path) -> float:
    told = [imageio.immeta(path, plugin="pillow", index=number) for number in range(count_of(path))]
    return float(min(each["duration"] for each in told))


def count_of(path: Path) -> int:
    """Pictures in a GIF; those that do not change are one."""
    return imageio.improps(path, plugin="pillow", index=None).n_images or 0


def seen_of(agent: Agent, game: str, episodes: int, seed: int = 0) -> tuple[list[Tensor], list[float]]:
    """What the games show from their first observations on, and what they return."""
    seen: list[Tensor] = []
    returns: list[float] = []

    def watch(arrival: Arrival) -> None:
        seen.append(arrival.observation[0])

    for number in range(episodes):
        returns += play(agent, game, episodes=1, seed=derive_seed(seed, "film", number), watch=watch)
    return seen, returns


def painted(planes: Tensor, factor: int) -> Any:
    """Planes in the colours of the palette, in loops."""
    image = np.zeros((10 * factor, 10 * factor, 3), np.uint8)
    for plane, row, column in planes.nonzero().tolist():
        for y in range(factor):
            for x in range(factor):
                image[factor * row + y, factor * column + x] = PALETTE[plane]
    return image


def test_a_film_shows_the_games_that_are_returned(tmp_path: Path) -> None:
    agent, path = agent_of(BREAKOUT, "minatar"), tmp_path / "new" / "film.gif"
    returns = record(agent, BREAKOUT, path, episodes=2, seed=5)
    seen, expected = seen_of(agent, BREAKOUT, 2, seed=5)
    assert returns == expected
    shown = frames_of(path)
    assert len(shown) == len(seen) > 10
    assert shortest(path) == 100  # ten steps a second
    for frame, observation in zip(shown, seen, strict=True):
        assert np.array_equal(frame, picture(observation))
    assert agent.space == stage_of([BREAKOUT]).spaces[BREAKOUT]


def test_a_film_ends_where_it_is_long_enough(tmp_path: Path) -> None:
    agent = agent_of(BREAKOUT, "minatar")
    returns = record(agent, BREAKOUT, tmp_path / "film.gif", episodes=2, most_frames=7)
    seen, expected = seen_of(agent, BREAKOUT, 2)
    shown = frames_of(tmp_path / "film.gif")
    assert returns == expected
    assert len(shown) == 7
    assert np.array_equal(shown[6], picture(seen[6]))


def test_vectors_are_drawn_by_gymnasium(tmp_path: Path) -> None:
    agent = agent_of(DRAWN, "vector")
    returns = record(agent, DRAWN, tmp_path / "film.gif")
    seen, expected = seen_of(agent, DRAWN, 1)
    assert returns == expected
    shown = frames_of(tmp_path / "film.gif")
    assert shortest(tmp_path / "film.gif") == 50  # as its metadata say
    assert len(shown) == len(seen)
    for frame, observation in zip(shown, seen, strict=True):
        assert frame.shape == (200, 400, 3)  # every second row and column
        (columns,) = np.nonzero(frame[0, :, 1] == 255)
        assert columns.tolist() == [20 * (int(observation[0]) + 10)]


def test_an_agent_of_several_games_sees_them_padded(tmp_path: Path) -> None:
    stage = stage_of([BREAKOUT, "minatar:asterix"])
    recipe = find_agent("minatar").replace(hidden=8)
    agent = build_agent(recipe, stage.spaces["minatar:asterix"], "nothing", 0, actions=stage.actions)
    (returned,) = record(agent, BREAKOUT, tmp_path / "film.gif", most_frames=1)
    assert returned >= 0
    agent.games = ("minatar:asterix", BREAKOUT)
    assert evaluate(agent, 1, BREAKOUT, seed=derive_seed(0, "film", 0)) == [returned]


def test_pictures_of_planes() -> None:
    drawn = torch.Generator().manual_seed(0)
    planes = torch.rand(10, 10, 10, generator=drawn) > 0.8
    assert np.array_equal(picture(planes), painted(planes, 33))
    assert np.array_equal(picture(planes[0]), painted(planes[:1], 33))
    assert len({*PALETTE}) == 10 == len(PALETTE)


def test_pictures_of_bytes() -> None:
    drawn = torch.Generator().manual_seed(0)
    grey = torch.randint(256, (84, 84), dtype=torch.uint8, generator=drawn)
    image = picture(grey)
    assert image.shape == (336, 336)
    assert all(image[row, row + 3] == grey[row // 4, (row + 3) // 4] for row in range(333))
    colours = torch.randint(256, (3, 50, 400), dtype=torch.uint8, generator=drawn)
    assert np.array_equal(picture(colours), colours.permute(1, 2, 0).numpy())
    two = torch.randint(256, (2, 4, 5), dtype=torch.uint8, generator=drawn)
    assert np.array_equal(picture(two)[..., 1], picture(two[0]))


@pytest.mark.parametrize(
    ("game", "name", "given", "said"),
    [
        (BREAKOUT, "film.avi", {}, r"film.avi', expected a name that ends in .gif or .mp4"),
        (BREAKOUT, "film", {}, "expected a name that ends in"),
        (BREAKOUT, "film.gif", {"episodes": 0}, "episodes: got 0"),
        (BREAKOUT, "film.gif", {"most_frames": 0}, "most_frames: got 0"),
        ("minatar:brekout", "film.gif", {}, "did you mean 'breakout'"),
        ("tests.rl.own_games:limited", "film.gif", {}, "cannot be drawn: its render mode is None"),
        ("tests.rl.own_games:grey", "film.gif", {}, "cannot be drawn"),
        ("minatar:asterix", "film.gif", {}, "the network has too few outputs|outputs is|the game shows"),
    ],
)
def test_what_cannot_be_filmed(
    game: str, name: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        record(agent_of(BREAKOUT, "minatar"), game, tmp_path / name, **given)
    assert list(tmp_path.iterdir()) == []


def test_mp4_where_something_writes_it(tmp_path: Path) -> None:
    agent, path = agent_of(BREAKOUT, "minatar"), tmp_path / "film.mp4"
    if find_spec("imageio_ffmpeg") is None and find_spec("av") is None:
        with pytest.raises(ImportError, match=r"pip install 'imageio\[ffmpeg\]', or write a .gif"):
            record(agent, BREAKOUT, path)
        assert not path.exists()
        return
    record(agent, BREAKOUT, path, most_frames=5)
    assert path.read_bytes()[4:8] == b"ftyp"


def test_what_draws_an_environment_may_be_missing(tmp_path: Path) -> None:
    agent = agent_of("CartPole-v1", "vector")
    if find_spec("pygame") is None:
        with pytest.raises(ImportError, match=r"CartPole-v1 cannot be drawn: .*pip install"):
            record(agent, "CartPole-v1", tmp_path / "film.gif")
        with pytest.raises(ImportError, match=r"CartPole-v1 cannot be drawn: .*pip install"):
            check_film("CartPole-v1")
        return
    record(agent, "CartPole-v1", tmp_path / "film.gif", most_frames=3)
    assert frames_of(tmp_path / "film.gif")[0].shape[2] == 3
