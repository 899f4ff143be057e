"""The calls of environments, in order and out of it; several as one; gymnasium's and the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hare_tortoise.rl import atari
from hare_tortoise.rl.environments import (
    SEEDS,
    Arrival,
    Environments,
    Mixed,
    Space,
    legal_actions,
    make_environments,
)
from tests.rl.own_games import tellers

OWN = "tests.rl.own_games"


def tensor(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


# ---- spaces


@pytest.mark.parametrize(
    ("actions", "legal"), [(0, None), (0, ()), (2, (0,)), (2, (1, 0)), (2, (1, 1)), (2, (-1, 0))]
)
def test_a_space_has_as_many_legal_actions_as_it_says(actions: int, legal: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match=f"actions is {actions} and legal"):
        Space((4,), torch.float32, actions, lives=False, legal=legal)


def test_legal_actions_are_told_for_each_environment() -> None:
    plain = Space((4,), torch.float32, 3, lives=False)
    padded = Space((4,), torch.float32, 3, lives=False, legal=(0, 1, 4))
    assert legal_actions([plain, padded]).int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 1]]
    assert legal_actions([plain], outputs=4).int().tolist() == [[1, 1, 1, 0]]
    with pytest.raises(ValueError, match="outputs is 4, expected at least 5"):
        legal_actions([plain, padded], outputs=4)


# ---- the order of the calls


def test_only_a_started_episode_can_be_sent_to_and_only_what_was_sent_is_received() -> None:
    games = tellers(2, 3)
    with pytest.raises(
        RuntimeError, match=r"environments 0 \(teller 0\), 1 \(teller 1\) are over or were never started"
    ):
        games.send(tensor(0, 0))
    first = games.start([1], [2])
    assert (first.observation.tolist(), first.reward.tolist()) == ([[2, 0, 0, 1]], [0])
    with pytest.raises(RuntimeError, match=r"environments 0 \(teller 0\) are over"):
        games.send(tensor(0, 0))
    games.start([0], [1])
    with pytest.raises(RuntimeError, match=r"no actions were sent that could be answered"):
        games.receive()
    games.send(tensor(1, 2))
    for early in (lambda: games.send(tensor(0, 0)), lambda: games.start([0], [1])):
        with pytest.raises(RuntimeError, match="the answer to the last actions is still to come"):
            early()
    arrival = games.receive()
    assert arrival.observation.tolist() == [[1, 1, 1, 0], [2, 1, 2, 1]]
    assert arrival.reward.tolist() == [0.5, 1.0]
    with pytest.raises(RuntimeError, match="no actions were sent"):
        games.receive()


@pytest.mark.parametrize("seed", [0, 1])  # an end after 3 steps; a cut after 4
def test_an_episode_that_is_over_is_started_before_the_next_action(seed: int) -> None:
    games = tellers(2, 2)
    games.start([0, 1], [2, seed])
    for step in range(3 + seed):
        games.send(tensor(0, 1))
        arrival = games.receive()
        assert bool(arrival.ended[1]) == (step == 2 and seed == 0)
        assert bool(arrival.truncated[1]) == (step == 3 and seed == 1)
    with pytest.raises(RuntimeError, match=r"environments 1 \(teller 1\) are over"):
        games.send(tensor(0, 0))
    games.start([1], [3])
    games.send(tensor(0, 1))
    assert games.receive().observation[1].tolist() == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("which", "seeds", "complaint"),
    [
        ([], [], r"which is \[\], expected one or more different environments from 0 to 1"),
        ([0, 0], [1, 2], r"which is \[0, 0\]"),
        ([2], [1], r"which is \[2\]"),
        ([-1], [1], r"which is \[-1\]"),
        ([0, 1], [1], r"seeds are \[1\] for 2 environments"),
        ([0], [-1], r"seeds are \[-1\]"),
        ([0], [SEEDS], f"from 0 to {SEEDS - 1}"),
    ],
)
def test_a_start_that_cannot_be(which: list[int], seeds: list[int], complaint: str) -> None:
    games = tellers(2, 2)
    with pytest.raises(ValueError, match=complaint):
        games.start(which, seeds)


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        (torch.tensor([0.0, 0.0]), r"actions are torch.float32 of shape \(2,\)"),
        (torch.tensor([0]), r"expected torch.int64 of shape \(2,\)"),
        (torch.tensor([[0, 0]]), r"of shape \(1, 2\)"),
        (torch.tensor([2, 2]), r"actions\[0\] is 2, expected one of \[0, 1\]: the legal actions of teller 0"),
        (torch.tensor([0, -1]), r"actions\[1\] is -1"),
    ],
)
def test_actions_that_are_none(actions: Tensor, complaint: str) -> None:
    games = tellers(2, 3)
    games.start([0, 1], [2, 2])
    with pytest.raises(ValueError, match=complaint):
        games.send(actions)
    games.send(tensor(1, 2))  # nothing was sent by the wrong ones
    assert games.receive().observation[:, 1:3].tolist() == [[1, 1], [1, 2]]


def test_closed_is_closed() -> None:
    games = tellers(2)
    games.start([0], [2])
    games.close()
    games.close()
    assert [game.closed for game in games._games] == [True]  # type: ignore[attr-defined]
    for call in (lambda: games.start([0], [1]), lambda: games.send(tensor(0)), games.receive):
        with pytest.raises(RuntimeError, match="the environments are closed"):
            call()


# ---- several as one


PLACES = st.integers(2, 6).flatmap(
    lambda count: st.tuples(
        st.permutations(range(count)), st.integers(1, count - 1), st.integers(0, 2**31 - 1)
    )
)


@settings(max_examples=40)
@given(PLACES)
def test_each_plays_among_others_what_it_plays_alone(drawn: tuple[list[int], int, int]) -> None:
    order, cut, seed = drawn
    rng = np.random.default_rng(seed)
    which = [order[:cut], order[cut:]]
    parts = [tellers(*[3] * cut), tellers(*[3] * (len(order) - cut), first=cut)]
    mixed = Mixed(parts, which)
    # the game that stands at each place has the number of its rank in `order`
    alone = {place: tellers(3, first=number) for number, place in enumerate(order)}
    assert mixed.names == tuple(alone[place].names[0] for place in range(len(order)))
    waiting = list(range(len(order)))
    for _ in range(8):
        if waiting:
            rng.shuffle(waiting)
            seeds = rng.integers(SEEDS, size=len(waiting)).tolist()
            started = mixed.start(waiting, seeds)
            own = [alone[place].start([0], [number]) for place, number in zip(waiting, seeds, strict=True)]
            assert torch.equal(started.observation, torch.cat([one.observation for one in own]))
        actions = torch.from_numpy(rng.integers(3, size=len(order)))
        mixed.send(actions)
        arrival = mixed.receive()
        for place, games in alone.items():
            games.send(actions[place : place + 1])
            own_arrival = games.receive()
            for name in ("observation", "reward", "ended", "truncated", "lives"):
                assert torch.equal(getattr(arrival, name)[place], getattr(own_arrival, name)[0])
        waiting = (arrival.ended | arrival.truncated).nonzero().flatten().tolist()


def test_actions_go_to_all_before_an_answer_is_waited_for() -> None:
    calls: list[str] = []

    class Noted:
        names, spaces = ("noted",), (Space((4,), torch.float32, 3, lives=False),)

        def __init__(self, number: int) -> None:
            self.number, self.inner = number, tellers(3, first=number)

        def start(self, which: Any, seeds: Any) -> Arrival:
            return self.inner.start(which, seeds)

        def send(self, actions: Tensor) -> None:
            calls.append(f"send {self.number}")
            self.inner.send(actions)

        def receive(self) -> Arrival:
            calls.append(f"receive {self.number}")
            return self.inner.receive()

        def close(self) -> None:
            calls.append(f"close {self.number}")

    parts: list[Environments] = [Noted(0), Noted(1)]
    mixed = Mixed(parts, [[1], [0]])
    mixed.start([0, 1], [2, 2])
    mixed.send(tensor(0, 1))
    assert calls == ["send 0", "send 1"]
    assert mixed.receive().observation[:, 2:].tolist() == [[0, 1], [1, 0]]
    mixed.close()
    assert calls[2:] == ["receive 0", "receive 1", "close 0", "close 1"]


def test_places_that_do_not_fit_are_refused() -> None:
    parts = [tellers(2), tellers(2, 2)]
    for which in ([[0], [1]], [[0], [1, 1]], [[0], [1, 3]], [[0, 1], [2]]):
        with pytest.raises(ValueError, match=r"expected the places 0 to N − 1 once each"):
            Mixed(parts, which)


# ---- by name


def test_names_that_are_none() -> None:
    wrong: list[Any] = [[], "CartPole-v1"]
    for names in wrong:
        with pytest.raises(ValueError, match="expected a list of one or more names"):
            make_environments(names)


def test_observations_that_differ_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"CartPole-v1 \(4,\) of torch.float32, .*walk \(2,\) of torch.float32"
    ):
        make_environments(["CartPole-v1", f"{OWN}:walk"])


def test_padding_needs_a_full_set_of_actions() -> None:
    with pytest.raises(ValueError, match="padded is True for CartPole-v1"):
        make_environments(["CartPole-v1"], padded=True)


@pytest.mark.parametrize(
    ("names", "given_threads", "shares"),
    [
        (["Pong"] * 3, 2, {"Pong": 2}),
        (["Pong"], 8, {"Pong": 1}),
        (["Pong", "Hero"] * 4 + ["Hero"] * 4, 6, {"Pong": 2, "Hero": 4}),
        (["Pong", "Hero", "Alien"], 2, {"Pong": 1, "Hero": 1, "Alien": 1}),
    ],
)
def test_threads_are_shared_among_the_games(
    names: list[str], given_threads: int, shares: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}

    def made(game: str, count: int, *, padded: bool, num_threads: int) -> Environments:
        found[game] = num_threads
        return tellers(*[2] * count)

    monkeypatch.setattr(atari, "Atari", made)
    make_environments([f"atari:{name}" for name in names], num_threads=given_threads)
    assert found == shares
    with pytest.raises(ValueError, match="num_threads is 0, expected a whole number of at least 1"):
        make_environments(["atari:Pong"], num_threads=0)
