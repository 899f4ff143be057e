"""Environments of gymnasium and of the user's own."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from hare_tortoise.rl.environments import Space, make_environments
from tests.rl import own_games

OWN = "tests.rl.own_games"


def tensor(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def test_cart_pole_is_gymnasiums() -> None:
    games = make_environments(["CartPole-v1", "CartPole-v1"])
    assert games.spaces == (Space((4,), torch.float32, 2, lives=False),) * 2
    assert games.names == ("CartPole-v1", "CartPole-v1")
    plain = [gymnasium.make("CartPole-v1") for _ in range(2)]
    waiting, started, episodes = [0, 1], games.start([1, 0], [8, 7]), 0
    expected = [plain[place].reset(seed=seed)[0] for place, seed in ((1, 8), (0, 7))]
    assert np.array_equal(started.observation.numpy(), np.stack(expected))
    for step in range(80):
        actions = [step % 2, 1]
        games.send(torch.tensor(actions))
        arrival = games.receive()
        waiting = []
        for place, game in enumerate(plain):
            observation, reward, ended, _, _ = game.step(actions[place])
            assert np.array_equal(arrival.observation[place].numpy(), observation)
            assert (float(arrival.reward[place]), bool(arrival.ended[place])) == (reward, ended)
            if ended:
                waiting.append(place)
                game.reset(seed=step)
                episodes += 1
        if waiting:
            games.start(waiting, [step] * len(waiting))
    assert episodes > 5
    assert arrival.lives.tolist() == [0, 0]
    games.close()


def test_the_limit_of_steps_is_a_cut_and_an_end_is_no_cut() -> None:
    games = make_environments([f"{OWN}:limited", f"{OWN}:walk"])
    games.start([0, 1], [0, 0])
    for step in range(12):
        games.send(tensor(1, 2))  # stays; to the right
        arrival = games.receive()
        assert bool(arrival.truncated[0]) == (step % 4 == 3)
        assert not arrival.ended[0]
        if arrival.truncated[0]:
            games.start([0], [0])
        if arrival.ended[1]:
            # the game itself says that it is both
            assert not arrival.truncated[1]
            assert arrival.observation[1, 0] == 5
            return
    raise AssertionError("the walk never came to its end")


def test_an_own_environment_is_read_in_our_shapes_and_its_actions_are_counted_from_0() -> None:
    games = make_environments([f"{OWN}:walk"])
    assert games.spaces[0] == Space((2,), torch.float32, 3, lives=False)
    first = float(games.start([0], [4]).observation[0, 0])
    for action, move in ((0, -1.0), (1, 0.0), (2, 1.0)):
        games.send(tensor(action))
        assert games.receive().reward.tolist() == [move]
    games.send(tensor(2))
    assert games.receive().observation.tolist() == [[first + 1, first]]


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "where"),
    [
        ("picture", (3, 6, 5), torch.uint8, (slice(None), 0, 2)),
        ("planes", (3, 6, 5), torch.bool, (slice(None), 0, 2)),
        ("channels_first", (2, 6, 5), torch.uint8, (0, 2)),
        ("grey", (6, 5), torch.float32, (0, 2)),
    ],
)
def test_images_have_their_channels_first(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, where: Any
) -> None:
    games = make_environments([f"{OWN}:{name}"])
    assert games.spaces[0] == Space(shape, dtype, 3, lives=False)
    walk = own_games.walk()
    place = walk.reset(seed=3)[0][0]
    image = games.start([0], [3]).observation[0]
    assert (image.shape, image.dtype) == (shape, dtype)
    expected = torch.zeros(shape)
    expected[where] = 1.0 if dtype is torch.bool else float(place + 10)
    assert torch.equal(image.float(), expected)


def test_what_is_told_is_the_receivers_own() -> None:
    # the game shows one buffer again and again, and lets nobody write in it
    game = own_games.Picture((2, 6, 5))
    buffer = np.zeros((2, 6, 5), np.uint8)
    shown = buffer.view()
    shown.flags.writeable = False
    game.seen = lambda: shown  # type: ignore[method-assign]
    own_games.shared = lambda: game  # type: ignore[attr-defined]
    games = make_environments([f"{OWN}:shared"])
    first = games.start([0], [0]).observation
    buffer += 7
    games.send(tensor(0))
    second = games.receive().observation
    buffer += 1
    assert (int(first.max()), int(second.min())) == (0, 7)


# ---- what goes wrong


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("raises", "ZeroDivisionError: the walker fell"),
        ("other_shape", r"its observation has the shape \(3,\), its observation space \(2,\)"),
        ("not_a_number", "its observation is not finite"),
        ("endless_reward", "its reward is nan"),
    ],
)
def test_an_environment_that_fails_is_named_and_nothing_goes_on(name: str, cause: str) -> None:
    games = make_environments([f"{OWN}:walk", f"{OWN}:{name}"])
    games.start([0, 1], [0, 0])
    games.send(tensor(2, 0))
    games.receive()
    games.send(tensor(0, 2))
    with pytest.raises(
        RuntimeError, match=f"the environment {OWN}:{name} failed when it was sent the action 2: .*{cause}"
    ):
        games.receive()
    for call in (lambda: games.start([0, 1], [0, 0]), lambda: games.send(tensor(0, 0)), games.receive):
        with pytest.raises(
            RuntimeError, match=f"the environments failed before .*{OWN}:{name}.* make new ones"
        ):
            call()
    games.close()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (f"{OWN}:continuous", r"takes actions of Box.*expected Discrete"),
        (f"{OWN}:numbered", r"shows Discrete\(4\), expected a Box of a vector"),
        (f"{OWN}:video", "expected a Box of a vector"),
        (f"{OWN}:nothing", "returned 3, expected a gymnasium.Env"),
        (f"{OWN}:A_NUMBER", "is 3, expected a function"),
        (f"{OWN}:wlak", "unknown name in tests.rl.own_games 'wlak'; did you mean 'walk'"),
        ("no_such_module:walk", "no module named 'no_such_module'"),
        ("CartPol-v1", r"unknown environment 'CartPol-v1' .*did you mean .*'CartPole-v1'"),
        ("CartPole-v77", "unknown environment 'CartPole-v77'"),
        ("no_such_module:CartPole-v1", "unknown environment 'no_such_module:CartPole-v1'"),
        ("not an id", "unknown environment 'not an id'"),
    ],
)
def test_a_name_that_cannot_be_played(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make_environments([name])


def test_an_observation_that_is_not_what_its_space_says_is_named() -> None:
    games = make_environments([f"{OWN}:mislabelled"])
    with pytest.raises(
        RuntimeError, match=r"was started with the seed 1: .*observation is float64, its .*torch.uint8"
    ):
        games.start([0], [1])


def test_an_environment_that_cannot_be_made_is_named() -> None:
    with pytest.raises(
        RuntimeError, match=r"own_games:cannot_be_made failed when it was made: FileNotFoundError: walk"
    ):
        make_environments([f"{OWN}:cannot_be_made"])


def test_without_gymnasium_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"pip install 'hare-tortoise\[rl\]'"):
        make_environments(["CartPole-v1"])


def test_atari_through_gymnasium_is_refused() -> None:
    pytest.importorskip("ale_py")
    with pytest.raises(ValueError, match=r"ALE/Pong-v5 is Atari through gymnasium.* write atari:Game"):
        make_environments(["ALE/Pong-v5"])
