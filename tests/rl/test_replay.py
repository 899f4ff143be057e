"""The replay against lists: every step that can be sampled, none other, and what is gathered from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hare_tortoise.rl.replay import Replay, replay_bytes, uniform_numbers
from tests.rl.naive_replay import Feeder, Naive

quick = settings(max_examples=60)
kinds = st.sampled_from(["on", "on", "on", "end", "cut"])


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def fed(events: Sequence[str], capacity: int, stack: int = 1, **how: Any) -> tuple[Replay, Naive]:
    replay = Replay(1, capacity, how.pop("shape", (2,)), how.pop("dtype", torch.float32), stack=stack)
    feeder = Feeder(replay)
    for event in events:
        feeder.feed({0: event})
    return replay, feeder.lists[0]


def check_agent(replay: Replay, naive: Naive, agent: int, n_step: list[int], discount: list[float]) -> None:
    """All steps of one agent that can be sampled, each gathered and compared."""
    steps, g = naive.sampled(n_step[agent]), discount[agent]
    slots = torch.zeros(replay.agents, len(steps), dtype=torch.int64)
    slots[agent] = torch.tensor([place % replay.capacity for place in steps])
    for other in range(replay.agents):
        if other != agent:  # some step of theirs
            bounds = torch.from_numpy(replay.filled_bounds(n_step))
            slots[other] = replay.slots(torch.zeros(replay.agents, 1, dtype=torch.float64), bounds)[other]
    batch = replay.gather(slots, n_step=n_step, discount=discount)
    following = replay.gather_sequence(slots, length=3)
    for row, place in enumerate(steps):
        entry, expected = naive.entries[place], naive.transition(place, n_step[agent], g)
        assert expected is not None
        assert int(batch.actions[agent, row]) == entry.action
        assert float(batch.returns[agent, row]) == pytest.approx(expected[0], rel=1e-6, abs=1e-6)
        assert float(batch.discounts[agent, row]) == pytest.approx(expected[1], rel=1e-6)
        now = naive.stack_at(place)
        assert now is not None
        assert torch.equal(batch.observations[agent, row], now)
        assert torch.equal(batch.next_observations[agent, row], expected[2])
        for k, after in enumerate(naive.following(place, 3)):
            assert bool(following.inside[agent, row, k]) == (after is not None)
            observation, action = after or (torch.zeros_like(now), 0)
            assert torch.equal(following.observations[agent, row, k], observation)
            assert int(following.actions[agent, row, k]) == action


def check_all(feeder: Feeder, replay: Replay, n_step: list[int], discount: list[float]) -> None:
    expected = [naive.sampled(n) for naive, n in zip(feeder.lists, n_step, strict=True)]
    assert replay.available(n_step) == [len(steps) for steps in expected]
    if not all(expected):
        with pytest.raises(ValueError, match="no step to sample"):
            replay.sample(1, generators(*range(replay.agents)), n_step=n_step, discount=discount)
        return
    # As many evenly spaced numbers for each step as for any other fall on it.
    bounds = torch.from_numpy(replay.filled_bounds(n_step))
    for agent, steps in enumerate(expected):
        even = (torch.arange(3 * len(steps), dtype=torch.float64) + 0.5) / (3 * len(steps))
        slots = replay.slots(even.expand(replay.agents, -1), bounds)[agent]
        assert sorted(slots.tolist()) == sorted(3 * [place % replay.capacity for place in steps])
        check_agent(replay, feeder.lists[agent], agent, n_step, discount)


@quick
@given(data=st.data(), agents=st.integers(1, 3), stack=st.integers(1, 4))
def test_as_lists(data: st.DataObject, agents: int, stack: int) -> None:
    capacity = data.draw(st.integers(stack + 1, 12))
    n_step = data.draw(st.lists(st.integers(1, 4), min_size=agents, max_size=agents))
    discount = data.draw(st.lists(st.sampled_from([0.0, 0.5, 0.9, 1.0]), min_size=agents, max_size=agents))
    rounds = st.lists(st.dictionaries(st.integers(0, agents - 1), kinds, min_size=1), max_size=30)
    replay = Replay(agents, capacity, (2,), torch.float32, stack=stack)
    feeder = Feeder(replay)
    for number, events in enumerate(data.draw(rounds)):
        feeder.feed(events)
        if number % 5 == 4:
            check_all(feeder, replay, n_step, discount)
    check_all(feeder, replay, n_step, discount)


def elsewhere(replay: Replay) -> Replay:
    """The replay as it is on another device: the numbers of its slots are kept in two places."""
    replay._elsewhere, replay._host_rows = True, None
    replay._fields = {name: tensor.clone() for name, tensor in replay._fields.items()}
    return replay


def test_after_each_step_of_a_life() -> None:
    # The seam, ends and cuts at every place of it; stacks longer than lives, lives longer than the ring.
    for stack in (1, 3):
        replay = Replay(1, 8, (2,), torch.float32, stack=stack)
        if stack == 3:
            replay = elsewhere(replay)
        feeder = Feeder(replay)
        for event in (
            ["on"] * 11 + ["end"] + ["on", "cut"] * 5 + ["cut"] * 5 + ["end"] * 9 + ["on"] * 3 + ["cut"]
        ):
            feeder.feed({0: event})
            for n_step in (1, 2, 7):
                check_all(feeder, replay, [n_step], [0.5])


@pytest.mark.parametrize(
    ("dtype", "shape"), [(torch.uint8, (1, 2)), (torch.bool, (10, 1, 1)), (torch.float32, (2,))]
)
def test_dtypes_and_shapes_are_kept(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    replay, naive = fed(["on", "on", "on", "end", "on", "on"], 10, stack=2, dtype=dtype, shape=shape)
    batch = replay.gather(torch.tensor([[1, 3]]), n_step=1, discount=0.9)
    assert batch.observations.dtype == batch.next_observations.dtype == dtype
    assert batch.observations.shape == (1, 2, 2, *shape)
    stacked = naive.stack_at(1)
    assert stacked is not None
    assert torch.equal(batch.observations[0, 0], stacked)
    assert torch.equal(replay.frames[0, 3], naive.entries[3].observation)
    assert (batch.returns.dtype, batch.discounts.dtype) == (torch.float32, torch.float32)
    assert (batch.actions.dtype, batch.indices.dtype) == (torch.int64, torch.int64)


def test_every_step_is_as_likely() -> None:
    replay, naive = fed(["on"] * 9 + ["cut"] + ["on"] * 6, 14, stack=3)
    steps = [place % 14 for place in naive.sampled(2)]
    drawn = replay.draw(20_000, generators(3), n_step=2)[0]
    counts = torch.bincount(drawn, minlength=14)
    assert int(counts.sum()) == int(counts[steps].sum())
    assert chisquare(counts[steps].numpy()).pvalue > 0.01


def test_an_agent_draws_what_it_draws_alone() -> None:
    rings = Replay(3, 9, (2,), torch.float32, stack=2)
    alone = Replay(1, 9, (2,), torch.float32, stack=2)
    for t in range(14):
        row = torch.tensor([[t, agent] for agent in range(3)]).float()
        same = torch.full((3,), t % 6 == 0)
        ends = torch.full((3,), t % 6 == 5)
        rewards = row[:, 0] * 0.1 + row[:, 1]
        rings.append([0, 1, 2], row, torch.full((3,), t % 4), rewards, first=same, terminal=ends)
        alone.append(0, row[1], t % 4, rewards[1], first=t % 6 == 0, terminal=t % 6 == 5)
    first = rings.sample(5, generators(7, 8, 9), n_step=[5, 3, 1], discount=[0.9, 0.8, 0.7])
    again = alone.sample(5, generators(8), n_step=3, discount=0.8)
    for name in ("observations", "actions", "returns", "discounts", "next_observations", "indices"):
        assert torch.equal(getattr(first, name)[1], getattr(again, name)[0]), name


def test_as_many_numbers_are_drawn_whatever_the_ring_holds() -> None:
    (one,), (other,), (plain,) = generators(5), generators(5), generators(5)
    fed(["end"] * 3, 9)[0].draw(4, [one], n_step=1)
    fed(["cut"] * 30, 9)[0].draw(4, [other], n_step=1)
    uniform_numbers(4, [plain], 1)
    assert torch.equal(one.get_state(), plain.get_state())
    assert torch.equal(other.get_state(), plain.get_state())


def test_the_state_comes_back_and_goes_on() -> None:
    events = ["on"] * 4 + ["cut"] + ["on"] * 2 + ["end"] + ["on"] * 3
    for made in range(1, len(events)):
        whole, again = (Replay(1, 6, (2,), torch.float32, stack=2) for _ in range(2))
        again = elsewhere(again) if made % 2 else again
        feeder, other = Feeder(whole), Feeder(again)
        for event in events[:made]:
            feeder.feed({0: event})
        other.lists, other.open, other.count = feeder.lists, feeder.open, feeder.count
        again.load_state_dict(whole.state_dict())
        again.frames.copy_(whole.frames)
        for event in events[made:]:
            other.feed({0: event})
            check_all(other, again, [2], [0.5])
        if made == len(events) - 1:
            assert other.lists[0].entries[-1].first is False  # a chain went on over the state


def test_a_state_is_a_snapshot() -> None:
    replay, _ = fed(["on"] * 3, 3)
    state = replay.state_dict()
    before = state["rewards"].clone()
    replay.append(0, torch.ones(2), 0, 99.0, first=False, terminal=False)
    assert torch.equal(state["rewards"], before)
    assert state["written"] == [3]


def test_bytes_are_those_that_are_held() -> None:
    replay = Replay(2, 11, (3, 5), torch.uint8, stack=4)
    arrays = [*replay._host.values(), replay._step_of_slot]
    held = replay._rows.nbytes + sum(array.nbytes for array in arrays)
    assert replay_bytes(2, 11, (3, 5), torch.uint8) == held
    assert replay_bytes(1, 100_000, (84, 84), torch.uint8) < 0.71e9


def test_frames_are_stored_once() -> None:
    replay, _ = fed(["on"] * 5, 50, stack=4, shape=(1, 2), dtype=torch.uint8)
    assert replay.frames.shape == (1, 50, 1, 2)
    assert replay.frames.data_ptr() == replay._rows.data_ptr()


step: dict[str, Any] = {
    "agent": 0,
    "observation": torch.zeros(2),
    "action": 0,
    "reward": 0.0,
    "first": False,
    "terminal": False,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": 2}, "agent is \\[2\\]"),
        ({"agent": [0, 0]}, "agent is \\[0, 0\\]"),
        ({"observation": torch.zeros(3)}, "observation is torch.float32 of shape \\(1, 3\\)"),
        ({"observation": torch.zeros(2, dtype=torch.uint8)}, "observation is torch.uint8"),
        ({"action": 0.5}, "action is of float64"),
        (
            {"action": torch.zeros(2, dtype=torch.int64)},
            "action has 2 values, expected one for each of 1 agents",
        ),
        ({"first": True}, "the chain of agent 0 goes on"),
        ({"agent": 1}, "the chain of agent 1 has ended"),
        ({"terminal": True, "last": torch.zeros(2)}, "of which \\[0\\] are terminal"),
        ({"last": torch.zeros(3)}, "last of agent 0 is torch.float32 of shape \\(3,\\)"),
        (
            {"agent": [0], "observation": torch.zeros(1, 2), "last": {1: torch.zeros(2)}},
            "last is given for the agents \\[1\\]",
        ),
    ],
)
def test_a_bad_step_is_refused_and_changes_nothing(changes: dict[str, Any], message: str) -> None:
    replay = Replay(2, 9, (2,), torch.float32)
    replay.append(**{**step, "first": True})
    before = str(replay.state_dict())
    with pytest.raises(ValueError, match=message):
        replay.append(**{**step, **changes})
    assert str(replay.state_dict()) == before


def test_bad_settings_are_refused() -> None:
    for changes, message in (
        ({"agents": 0}, "agents is 0"),
        ({"capacity": 4}, "capacity is 4, expected a whole number at least 5"),
        ({"stack": 0}, "stack is 0"),
        ({"stack": 128}, "stack is 128"),
        ({"dtype": torch.float64}, "dtype is torch.float64"),
    ):
        arguments: dict[str, Any] = {
            "agents": 1,
            "capacity": 9,
            "shape": (2,),
            "dtype": torch.uint8,
            "stack": 4,
        }
        with pytest.raises(ValueError, match=message):
            Replay(**{**arguments, **changes})


def test_bad_questions_are_refused() -> None:
    replay, _ = fed(["on", "cut", "on", "on", "end"], 9)
    rows = torch.tensor([[0]])
    for indices, message in (
        (torch.tensor([[2]]), "which hold steps"),  # the observation after the cut
        (torch.tensor([[9]]), "slots from 0 to 8"),
        (torch.tensor([[-1]]), "slots from 0 to 8"),
        (torch.tensor([0]), "of shape \\(1,\\)"),
        (torch.tensor([[0]], dtype=torch.int32), "torch.int32"),
    ):
        with pytest.raises(ValueError, match=message):
            replay.gather(indices, n_step=1, discount=0.9)
        with pytest.raises(ValueError, match=message):
            replay.gather_sequence(indices, length=1)
    with pytest.raises(ValueError, match="n_step is 0"):
        replay.gather(rows, n_step=0, discount=0.9)
    with pytest.raises(ValueError, match="n_step has 2 values"):
        replay.gather(rows, n_step=[1, 2], discount=0.9)
    with pytest.raises(ValueError, match=r"discount is 1\.1"):
        replay.gather(rows, n_step=1, discount=1.1)
    with pytest.raises(ValueError, match="length is 9"):
        replay.gather_sequence(rows, length=9)
    with pytest.raises(ValueError, match="batch is 0"):
        replay.draw(0, generators(1), n_step=1)
    with pytest.raises(ValueError, match="2 generators"):
        replay.draw(1, generators(1, 2), n_step=1)
    with pytest.raises(ValueError, match="build it alike"):
        Replay(1, 8, (2,), torch.float32).load_state_dict(replay.state_dict())
