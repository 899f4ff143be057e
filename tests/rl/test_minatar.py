"""MinAtar's games against MinAtar itself."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from hare_tortoise.rl import minatar
from hare_tortoise.rl.environments import Arrival, Environments, Space, legal_actions, make_environments
from hare_tortoise.rl.minatar import MINATAR_GAMES, MinAtar, find_minatar_game, pad_channels

MINIMAL = {
    "asterix": (0, 1, 2, 3, 4),
    "breakout": (0, 1, 3),
    "freeway": (0, 2, 4),
    "seaquest": (0, 1, 2, 3, 4, 5),
    "space_invaders": (0, 1, 3, 5),
}
CHANNELS = {"asterix": 4, "breakout": 4, "freeway": 7, "seaquest": 10, "space_invaders": 6}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The package itself, which says at import that it cannot draw."""
    return importlib.import_module("minatar")


def step(games: Environments, *actions: int) -> Arrival:
    games.send(torch.tensor(actions))
    return games.receive()


def random_actions(seed: int, count: int, actions: int) -> Iterator[int]:
    return iter(np.random.default_rng(seed).integers(actions, size=count).tolist())


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_it_is_minatars_own_game(game: str, theirs: Any) -> None:
    games = MinAtar(game)
    assert games.spaces[0] == Space((CHANNELS[game], 10, 10), torch.bool, len(MINIMAL[game]), lives=False)
    assert games.names == (f"minatar:{game}",)
    ended = rewarded = 0
    # several episodes of one of ours; theirs is made anew, as it takes the last action over into the next episode
    for seed in (0, 1, 2, 3, 4, 2**31 - 1):
        theirs_now = theirs.Environment(game)
        theirs_now.seed(seed)
        theirs_now.reset()
        assert theirs_now.minimal_action_set() == list(MINIMAL[game])
        first = games.start([0], [seed]).observation
        assert np.array_equal(first[0].numpy(), theirs_now.state().transpose(2, 0, 1))
        for action in random_actions(seed, 150, len(MINIMAL[game])):
            reward, over = theirs_now.act(MINIMAL[game][action])
            arrival = step(games, action)
            assert arrival.observation.dtype is torch.bool
            assert np.array_equal(arrival.observation[0].numpy(), theirs_now.state().transpose(2, 0, 1))
            told = (
                arrival.reward.item(),
                arrival.ended.item(),
                arrival.truncated.item(),
                arrival.lives.item(),
            )
            assert told == (reward, over, False, 0)
            rewarded += reward
            if over:
                ended += 1
                break
    assert rewarded > 0 or game in ("freeway", "seaquest")
    assert ended > 0 or game in ("freeway", "seaquest")


def test_an_episode_repeats_whatever_came_before_and_whoever_plays_beside() -> None:
    alone = MinAtar("freeway")
    actions = [2, 2, 1, 0, 2, 1, 1, 1, 1, 1, 1]
    first = [alone.start([0], [9]), *(step(alone, action) for action in actions)]
    games = MinAtar("freeway", 2)
    beside = games.start([0, 1], [3, 8]).rows([1])
    assert not torch.equal(beside.observation, first[0].observation)
    for _ in range(3):
        step(games, 2, 1)
    begun = [games.start([0], [9]), *(step(games, action, 0).rows([0]) for action in actions)]
    assert all(
        torch.equal(one.observation, other.observation) for one, other in zip(first, begun, strict=True)
    )


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_nothing_of_a_long_game_is_left_in_the_next(game: str) -> None:
    played, fresh = MinAtar(game), MinAtar(game)
    played.start([0], [0])
    for seed, action in enumerate(random_actions(1, 600, len(MINIMAL[game]))):
        if step(played, action).ended:
            played.start([0], [seed])
    pairs = [(games.start([0], [9]), games) for games in (played, fresh)]
    for action in random_actions(2, 200, len(MINIMAL[game])):
        (one, _), (other, _) = pairs
        assert torch.equal(one.observation, other.observation)
        assert (one.reward, one.ended) == (other.reward, other.ended)
        if one.ended:
            break
        pairs = [(step(games, action), games) for _, games in pairs]


def test_a_sticky_first_action_is_no_op() -> None:
    # in the first episode the last action is right; the next one begins with a repeated action
    sticky = next(seed for seed in range(100) if begins_sticky(seed))
    games = MinAtar("asterix", padded=True)
    games.start([0], [sticky + 1])
    step(games, 3)
    games.start([0], [sticky])
    assert step(games, 3).observation[0, 0].nonzero().tolist() == [[5, 5]]


def begins_sticky(seed: int) -> bool:
    draws = np.random.RandomState(seed)
    return draws.rand() < 0.1 and np.random.RandomState(seed + 1).rand() >= 0.1


def test_an_episode_is_cut_after_its_steps() -> None:
    games = MinAtar("freeway", max_steps=7)
    games.start([0], [0])
    assert [step(games, 0).truncated.item() for _ in range(7)] == [False] * 6 + [True]
    with pytest.raises(RuntimeError, match=r"environments 0 \(minatar:freeway\) are over"):
        step(games, 0)
    games.start([0], [1])
    assert not step(games, 0).truncated
    with pytest.raises(ValueError, match="max_steps is 0, expected a whole number of at least 1"):
        MinAtar("freeway", max_steps=0)


def test_it_is_cut_at_5000_steps_unless_it_ends_before() -> None:
    assert minatar.MAX_STEPS == 5_000
    games = MinAtar("freeway", 2)
    games.start([0, 1], [0, 1])
    for number in range(1, 2_502):
        arrival = step(games, 0, 1)
        assert arrival.ended.tolist() == [number == 2_501] * 2  # its own limit
        assert not arrival.truncated.any()


def test_an_end_at_the_last_step_is_no_cut() -> None:
    games = MinAtar("breakout", max_steps=10_000)
    games.start([0], [0])
    length = 1
    while not step(games, 0).ended:
        length += 1
    games = MinAtar("breakout", max_steps=length)
    games.start([0], [0])
    arrivals = [step(games, 0) for _ in range(length)]
    assert (arrivals[-1].ended.item(), arrivals[-1].truncated.item()) == (True, False)


# ---- padding


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_padded_games_are_the_same_with_empty_channels_and_six_actions(game: str) -> None:
    plain, padded = (
        make_environments([f"minatar:{game}"]),
        make_environments([f"MinAtar:{game}"], padded=True),
    )
    space = padded.spaces[0]
    assert (space.shape, space.actions, space.numbers) == ((10, 10, 10), len(MINIMAL[game]), MINIMAL[game])
    pairs = [(plain.start([0], [4]), padded.start([0], [4]))]
    for action in random_actions(2, 20, len(MINIMAL[game])):
        pairs.append((step(plain, action), step(padded, MINIMAL[game][action])))
        if pairs[-1][0].ended:
            break
    for one, other in pairs:
        assert torch.equal(one.observation, other.observation[:, : CHANNELS[game]])
        assert not other.observation[:, CHANNELS[game] :].any()
        assert torch.equal(one.reward, other.reward)


def test_padded_games_stand_side_by_side() -> None:
    names = ["minatar:breakout", "minatar:seaquest", "minatar:space-invaders"]
    with pytest.raises(ValueError, match=r"minatar:breakout \(4, 10, 10\).*padded=True"):
        make_environments(names)
    games = make_environments(names, padded=True)
    expected = [[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 1]]
    assert legal_actions(games.spaces).int().tolist() == expected
    games.start([0, 1, 2], [1, 2, 3])
    with pytest.raises(
        ValueError, match=r"actions\[0\] is 2, expected one of \[0, 1, 3\]: .*minatar:breakout"
    ):
        step(games, 2, 2, 5)
    assert step(games, 3, 2, 5).observation.shape == (3, 10, 10, 10)


def test_padding_channels() -> None:
    planes = torch.rand(3, 2, 4, 10, 10)
    padded = pad_channels(planes, 6)
    assert padded.shape == (3, 2, 6, 10, 10)
    assert torch.equal(padded[:, :, :4], planes)
    assert not padded[:, :, 4:].any()
    assert pad_channels(planes, 4) is planes
    with pytest.raises(ValueError, match="channels is 3, the observation has 4"):
        pad_channels(planes, 3)


# ---- names, and what importing it does


@pytest.mark.parametrize("written", ["space_invaders", "SpaceInvaders", "Space-Invaders", "space invaders"])
def test_any_spelling_of_a_game(written: str) -> None:
    assert find_minatar_game(written) == "space_invaders"


def test_an_unknown_game_has_its_nearest_names() -> None:
    with pytest.raises(ValueError, match="unknown game of MinAtar 'brakeout'; did you mean 'breakout'"):
        make_environments(["minatar:brakeout"])


def test_it_is_quiet_and_needs_nothing_that_minatar_asks_for() -> None:
    code = """
import sys
for name in ("matplotlib", "seaborn", "pandas", "scipy"):
    sys.modules[name] = None
import logging
from hare_tortoise.rl.minatar import MinAtar, MINATAR_GAMES
for game in MINATAR_GAMES:
    MinAtar(game).start([0], [1])
assert logging.getLogger().handlers == []
assert "gymnasium" not in sys.modules and "ale_py" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_without_minatar_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    minatar._module.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'hare-tortoise\[rl\]'"):
        MinAtar("breakout")


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_a_long_game_warns_of_nothing(game: str) -> None:
    games = MinAtar(game)
    games.start([0], [0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed, action in enumerate(random_actions(0, 400, len(MINIMAL[game]))):
            if step(games, action).ended:
                games.start([0], [seed])
