"""Open episodes are taken up where they were left, by environments that repeat; those that do not are named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_tortoise.lab.state import join, split
from hare_tortoise.rl.atari import Atari
from hare_tortoise.rl.environments import Arrival, Environments, make_environments
from hare_tortoise.rl.episodes import Episodes, resume
from tests.rl.own_games import tellers

OWN = "tests.rl.own_games"
FIELDS = ("observation", "reward", "ended", "truncated", "lives")


def same(one: Arrival, other: Arrival) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


def saved(episodes: Episodes) -> dict[str, Any]:
    """The state as it comes back from JSON and safetensors."""
    tensors, rest = split(episodes.state_dict())
    back: dict[str, Any] = join(tensors, json.loads(json.dumps(rest)))
    return back


def play(
    episodes: Environments, steps: int, rng: np.random.Generator, over: Sequence[int] = ()
) -> list[Arrival]:
    """Some steps, starting what is over; what is over after the last one stays so."""
    arrivals = []
    for _ in range(steps):
        if over:
            episodes.start(over, rng.integers(2**31, size=len(over)).tolist())
        actions = [space.numbers[rng.integers(space.actions)] for space in episodes.spaces]
        episodes.send(torch.tensor(actions))
        arrivals.append(episodes.receive())
        over = (arrivals[-1].ended | arrivals[-1].truncated).nonzero().flatten().tolist()
    return arrivals


def over_in(arrival: Arrival) -> list[int]:
    return [int(row) for row in (arrival.ended | arrival.truncated).nonzero().flatten()]


def check_resumed(make: Callable[[], Environments], first: int, steps: int, more: int) -> None:
    """Play, save, take up in other environments that have played before, and go on with both."""
    rng = np.random.default_rng(first)
    episodes = Episodes(make())
    count = len(episodes.names)
    play(episodes, steps, rng, over=range(count))
    used = make()
    play(used, 3, rng, over=range(count))
    again = resume(used, saved(episodes))
    assert same(again.arrival, episodes.arrival)
    assert (again.returns, again.steps) == (episodes.returns, episodes.steps)
    assert again.state_dict()["seeds"] == episodes.state_dict()["seeds"]
    over, seed = over_in(episodes.arrival), int(rng.integers(1000))
    one, other = (play(games, more, np.random.default_rng(seed), over=over) for games in (episodes, again))
    assert all(same(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    episodes.close()
    again.close()


@settings(max_examples=60)
@given(first=st.integers(0, 2**31 - 1), steps=st.integers(1, 25), count=st.integers(1, 4))
def test_games_that_tell_all_they_were_given_are_taken_up(first: int, steps: int, count: int) -> None:
    check_resumed(lambda: tellers(*[3] * count), first, steps, more=8)


@pytest.mark.parametrize(
    ("names", "steps", "padded"),
    [
        (["CartPole-v1"] * 3, 35, False),
        ([f"{OWN}:walk", f"{OWN}:limited"], 9, False),
        (["minatar:breakout"] * 2, 60, False),
        (["minatar:space_invaders", "minatar:asterix"], 60, True),
        (["atari:Breakout", "atari:Assault"], 30, False),
    ],
)
def test_every_kind_is_taken_up(names: list[str], steps: int, padded: bool) -> None:
    check_resumed(lambda: make_environments(names, padded=padded, num_threads=1), 3, steps, more=10)


def test_atari_with_episodes_of_different_lengths_is_taken_up() -> None:
    check_resumed(lambda: Atari("Pong", 2, max_steps=11), 0, 10, more=12)
    episodes = Episodes(Atari("Pong", 2, max_steps=11))
    episodes.start([0, 1], [1, 2])
    rng = np.random.default_rng(1)
    play(episodes, 4, rng)
    episodes.start([1], [7])
    play(episodes, 3, rng)
    again = resume(Atari("Pong", 2, max_steps=11), saved(episodes))
    assert (again.steps, same(again.arrival, episodes.arrival)) == ([7, 3], True)


def test_an_episode_that_was_over_when_it_was_saved_is_over_again() -> None:
    episodes = Episodes(tellers(3, 3))
    episodes.start([0, 1], [0, 3])  # 3 steps; 6 steps
    rng = np.random.default_rng(0)
    play(episodes, 3, rng)
    again = resume(tellers(3, 3), saved(episodes))
    assert again.arrival.ended.tolist() == [True, False]
    with pytest.raises(RuntimeError, match=r"environments 0 \(teller 0\) are over"):
        again.send(torch.tensor([0, 0]))


def test_returns_and_steps_are_those_of_the_open_episodes() -> None:
    episodes = Episodes(tellers(3, 3))
    episodes.start([0, 1], [3, 2])
    for actions in ([1, 2], [2, 2]):
        episodes.send(torch.tensor(actions))
        held = episodes.receive()
    assert (episodes.returns, episodes.steps) == ([1.5, 2.0], [2, 2])
    begun = episodes.start([1], [5])
    assert held.observation.tolist() == [[3, 2, 12, 0], [2, 2, 22, 1]]  # the receiver's own
    assert (episodes.returns, episodes.steps) == ([1.5, 0.0], [2, 0])
    assert episodes.arrival.observation.tolist() == [[3, 2, 12, 0], [5, 0, 0, 1]]
    assert torch.equal(begun.observation, episodes.arrival.observation[1:])
    state = episodes.state_dict()
    assert [actions.tolist() for actions in state["actions"]] == [[1, 2], []]
    assert {actions.dtype for actions in state["actions"]} == {torch.uint8}
    assert (state["seeds"], state["returns"], state["names"]) == (
        [3, 5],
        [1.5, 0.0],
        ["teller 0", "teller 1"],
    )


def test_many_actions_are_kept_whole() -> None:
    episodes = Episodes(tellers(300))
    episodes.start([0], [3])
    episodes.send(torch.tensor([299]))
    episodes.receive()
    again = resume(tellers(300), saved(episodes))
    assert again.arrival.observation.tolist() == [[3, 1, 299, 0]]


# ---- what does not repeat


def test_an_environment_that_does_not_repeat_is_named_and_no_other() -> None:
    names = [f"{OWN}:walk", f"{OWN}:forgetful", f"{OWN}:walk"]
    episodes = Episodes(make_environments(names))
    episodes.start([0, 1, 2], [1, 2, 3])
    for _ in range(2):
        episodes.send(torch.tensor([1, 1, 1]))
        episodes.receive()
    with pytest.raises(
        RuntimeError, match=r"do not repeat .*: 1 \(tests.rl.own_games:forgetful: what it told"
    ) as caught:
        resume(make_environments(names), saved(episodes))
    assert "walk" not in str(caught.value)


def test_an_episode_that_is_over_too_early_is_named() -> None:
    episodes = Episodes(tellers(3, 3))
    episodes.start([0, 1], [3, 3])
    play(episodes, 5, np.random.default_rng(0))
    state = saved(episodes)
    state["seeds"][1] = 0  # over after 3 steps
    with pytest.raises(
        RuntimeError, match=r"do not repeat .*: 1 \(teller 1: its episode is over 2 steps earlier\)"
    ):
        resume(tellers(3, 3), state)


def altered(state: dict[str, Any], what: str) -> dict[str, Any]:
    if what == "actions":
        state["actions"][1][0] = 1 - state["actions"][1][0]
    elif what == "seeds":
        state["seeds"][1] += 4
    elif what == "returns":
        state["returns"][1] += 0.5
    else:
        state["digests"][1] = state["digests"][0]
    return state


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("actions", r"its return is \d\.\d where it was"),
        ("seeds", "what it told last is not what it told then"),
        ("returns", "its return is 1.0 where it was 1.5"),
        ("digests", "what it told last is not what it told then"),
    ],
)
def test_what_differs_is_seen(what: str, how: str) -> None:
    episodes = Episodes(tellers(2, 2))
    episodes.start([0, 1], [3, 3])
    for _ in range(2):
        episodes.send(torch.tensor([0, 1]))
        episodes.receive()
    with pytest.raises(RuntimeError, match=rf": 1 \(teller 1: {how}"):
        resume(tellers(2, 2), altered(saved(episodes), what))


@pytest.mark.parametrize("field", FIELDS)
def test_each_thing_told_is_in_the_digest(field: str) -> None:
    episodes = Episodes(tellers(2))
    episodes.start([0], [3])
    before = episodes.state_dict()["digests"]
    told = getattr(episodes.arrival, field)
    told.copy_(told.logical_not() if told.dtype is torch.bool else told + 1)
    assert episodes.state_dict()["digests"] != before


def test_a_state_of_other_environments_is_refused() -> None:
    episodes = Episodes(tellers(3, 3))
    episodes.start([0, 1], [1, 2])
    with pytest.raises(
        ValueError, match=r"the environments are \['teller 0'\], but the state was saved with \['teller 0', "
    ):
        resume(tellers(3), saved(episodes))


def test_it_is_saved_only_when_every_answer_is_there() -> None:
    episodes = Episodes(tellers(3, 3))
    episodes.start([1], [1])
    for call in (episodes.state_dict, lambda: episodes.arrival):
        with pytest.raises(RuntimeError, match=r"the environments \[0\] were never started"):
            call()
    episodes.start([0], [1])
    episodes.send(torch.tensor([0, 0]))
    with pytest.raises(RuntimeError, match="call receive\\(\\) before saving"):
        episodes.state_dict()
    episodes.receive()
    assert len(episodes.state_dict()["digests"]) == 2
