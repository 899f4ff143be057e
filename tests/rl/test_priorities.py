"""Priorities: which steps are drawn how often, against sums made in a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from hare_tortoise.rl.priorities import Priorities, priority_bytes
from hare_tortoise.rl.replay import Replay
from tests.rl.naive_replay import Feeder

quick = settings(max_examples=60)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def lived(events: list[str], capacity: int, agents: int = 1) -> tuple[Replay, Feeder]:
    replay = Replay(agents, capacity, (2,), torch.float32, stack=2)
    feeder = Feeder(replay)
    for event in events:
        feeder.feed(dict.fromkeys(range(agents), event))
    return replay, feeder


def shares(
    feeder: Feeder, raw: dict[int, float], n_step: int, alpha: float, epsilon: float, agent: int = 0
) -> dict[int, float]:
    """Probability of each slot, from errors by place, one step at a time; one without an error has the priority 1."""
    naive = feeder.lists[agent]
    found = {}
    for place in naive.sampled(n_step):
        found[place % naive.capacity] = (raw[place] + epsilon) ** alpha if place in raw else 1.0
    total = sum(found.values())
    return {slot: value / total for slot, value in found.items()}


def counts_of(indices: Tensor, capacity: int) -> list[int]:
    return torch.bincount(indices, minlength=capacity).tolist()


def check_strata(priorities: Priorities, expected: dict[int, float], n_step: int, agent: int = 0) -> None:
    """Of B strata each step gets its share up to the two that it only touches; others get none."""
    rows, agents = 400, priorities.replay.agents
    drawn, weights = priorities.sample(rows, generators(*range(agents)), n_step=n_step, beta=0.7)
    for slot, count in enumerate(counts_of(drawn[agent], priorities.replay.capacity)):
        if slot not in expected:
            assert count == 0
        else:
            assert abs(count - rows * expected[slot]) < 2
    raw = torch.tensor([expected[slot] for slot in drawn[agent].tolist()], dtype=torch.float64) ** -0.7
    torch.testing.assert_close(weights[agent].double(), raw / raw.max(), rtol=1e-5, atol=0)


@quick
@given(
    events=st.lists(st.sampled_from(["on", "on", "on", "end", "cut"]), min_size=1, max_size=40),
    later=st.lists(st.sampled_from(["on", "end", "cut"]), max_size=4),
    capacity=st.integers(3, 14),
    block=st.integers(1, 20),
    n_step=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_steps_are_drawn_by_their_shares(
    events: list[str], later: list[str], capacity: int, block: int, n_step: int, alpha: float, seed: int
) -> None:
    replay, feeder = lived(events, capacity)
    priorities = Priorities(replay, alpha=alpha, epsilon=0.01, block=block)
    naive = feeder.lists[0]
    if not naive.sampled(n_step):
        with pytest.raises(ValueError, match="no step to sample"):
            priorities.sample(1, generators(0), n_step=n_step, beta=0.5)
        return
    chance = torch.Generator().manual_seed(seed)
    raw: dict[int, float] = {}
    for place in naive.sampled(n_step):
        # Below 0.99, so that 1 stays the highest priority, which new steps get.
        raw[place] = float(torch.rand((), generator=chance, dtype=torch.float64)) * 0.9
    slots = torch.tensor([[place % capacity for place in raw]])
    priorities.update(slots, torch.tensor([list(raw.values())], dtype=torch.float64))
    check_strata(priorities, shares(feeder, raw, n_step, alpha, 0.01), n_step)
    for event in later:
        feeder.feed({0: event})
    if naive.sampled(n_step):
        check_strata(priorities, shares(feeder, raw, n_step, alpha, 0.01), n_step)


@pytest.mark.parametrize("stratified", [True, False])
def test_shares_of_independent_rows(stratified: bool) -> None:
    replay, feeder = lived(["on"] * 30 + ["cut"] + ["on"] * 9, 33)
    priorities = Priorities(replay, alpha=0.5, stratified=stratified, block=4)
    places = feeder.lists[0].sampled(3)
    raw = {place: (place % 5) ** 2 + 0.25 for place in places}
    priorities.update(torch.tensor([[place % 33 for place in places]]), torch.tensor([list(raw.values())]))
    expected = shares(feeder, raw, 3, 0.5, 1e-10)
    drawn, _ = priorities.sample(20_000, generators(1), n_step=3, beta=0.5)
    counts = counts_of(drawn[0], 33)
    assert sum(counts) == sum(counts[slot] for slot in expected)
    slots = sorted(expected)
    pvalue = chisquare([counts[slot] for slot in slots], [20_000 * expected[slot] for slot in slots]).pvalue
    # Strata leave far less to chance than independent rows do.
    assert pvalue > 0.999 if stratified else 0.01 < pvalue < 0.999


def test_new_steps_get_the_highest_priority_so_far() -> None:
    replay, feeder = lived(["on"] * 3, 20, agents=2)
    priorities = Priorities(replay, alpha=1.0, epsilon=0.5)
    assert priorities.values[:, :4].tolist() == [[1.0, 1.0, 1.0, 0.0]] * 2
    # What was appended before an update has the highest priority from before it, as if it had been set at once.
    feeder.feed({0: "on", 1: "cut"})
    priorities.update(torch.tensor([[0, 1], [0, 1]]), torch.tensor([[7.5, 2.0], [0.0, 0.1]]))
    feeder.feed({0: "on", 1: "on"})
    assert priorities.values[0, :6].tolist() == [8.0, 2.5, 1.0, 1.0, 8.0, 0.0]
    assert priorities.values[1, :7].tolist() == pytest.approx([0.5, 0.6, 1.0, 1.0, 0.0, 1.0, 0.0])
    # Lower errors later do not lower it.
    priorities.update(torch.tensor([[0], [0]]), torch.zeros(2, 1))
    feeder.feed({0: "on", 1: "on"})
    assert [priorities.values[0, 5], priorities.values[1, 6]] == [8.0, 1.0]


def test_a_cut_takes_over_no_priority() -> None:
    replay, feeder = lived(["end"] * 4, 4)
    priorities = Priorities(replay)
    assert priorities.values.tolist() == [[1.0] * 4]
    feeder.feed({0: "cut"})
    assert priorities.values.tolist() == [[1.0, 0.0, 1.0, 1.0]]


def test_of_several_rows_of_a_step_the_last_counts() -> None:
    replay, _ = lived(["end"] * 6, 6)
    priorities = Priorities(replay, alpha=1.0, epsilon=1e-12, block=4)
    priorities.update(torch.tensor([[3, 1, 3, 3, 1]]), torch.tensor([[5.0, 6.0, 7.0, 8.0, 9.0]]))
    assert priorities.values[0].tolist() == pytest.approx([1.0, 9.0, 1.0, 8.0, 1.0, 1.0])
    check_strata(priorities, {0: 1 / 21, 1: 9 / 21, 2: 1 / 21, 3: 8 / 21, 4: 1 / 21, 5: 1 / 21}, 1)


def test_rows_of_a_step_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU it is not said which of several rows is written last.
    replay, _ = lived(["end"] * 6, 6, agents=2)
    priorities = Priorities(replay, alpha=1.0, epsilon=1e-12)
    assert priorities.values.sum() == 12
    put: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(priorities, "_put", lambda *arguments: put.append(arguments))
    priorities.update(torch.tensor([[3, 1, 3], [3, 5, 5]]), torch.tensor([[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]]))
    ((_, values),) = put
    assert values.tolist() == pytest.approx([7.0, 6.0, 7.0, 8.0, 10.0, 10.0])


def test_an_agent_draws_what_it_draws_alone() -> None:
    events = ["on", "on", "end", "on", "cut", "on", "on", "on", "end", "end"]
    rings, _ = lived(events, 9, agents=3)
    ring, _ = lived(events, 9)
    together, alone = Priorities(rings, block=4), Priorities(ring, block=4)
    for number in range(3):
        first = together.sample(5, generators(number, 50 + number, 90), n_step=2, beta=0.4)
        again = alone.sample(5, generators(50 + number), n_step=2, beta=0.4)
        assert torch.equal(first[0][1], again[0][0])
        assert torch.equal(first[1][1], again[1][0])
        errors = torch.arange(15.0).view(3, 5) + number
        together.update(first[0], errors)
        alone.update(again[0], errors[1:2])


def test_the_state_comes_back_and_goes_on() -> None:
    replay, feeder = lived(["on"] * 9 + ["end"], 12)
    priorities = Priorities(replay, block=3)
    indices, _ = priorities.sample(6, generators(1), n_step=2, beta=0.5)
    priorities.update(indices, torch.rand(1, 6, generator=torch.Generator().manual_seed(2)) * 3)
    state = priorities.state_dict()
    again = Priorities(replay, block=3)
    again.load_state_dict(state)
    for event in ["cut", "on", "on", "end"]:
        feeder.feed({0: event})
        drawn = [each.sample(40, generators(5), n_step=1, beta=0.5) for each in (priorities, again)]
        assert torch.equal(drawn[0][0], drawn[1][0])
        assert torch.equal(drawn[0][1], drawn[1][1])
        for each in (priorities, again):
            each.update(drawn[0][0], drawn[0][1] * 5)
    assert not torch.equal(state["values"], priorities.state_dict()["values"])


def test_shares_hold_over_a_long_time() -> None:
    # A sum that is changed by differences would have drifted.
    replay, _ = lived(["end"] * 50, 50)
    priorities = Priorities(replay, alpha=1.0, epsilon=1e-12, block=8)
    chance = torch.Generator().manual_seed(0)
    for number in range(300):
        indices = torch.randint(50, (1, 8), generator=chance)
        scale = 1e12 if number % 2 else 1e-12
        priorities.update(indices, torch.rand(1, 8, generator=chance) * scale)
    priorities.update(torch.arange(50)[None], torch.ones(1, 50))
    check_strata(priorities, dict.fromkeys(range(50), 1 / 50), 1)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_the_first_and_the_last_share_fall_on_steps(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    replay, feeder = lived(["end"] * 9 + ["on"] * 2, 11)
    priorities = Priorities(replay, alpha=1.0, stratified=False, block=block)
    priorities.update(torch.arange(9)[None], torch.tensor([[0.1] * 9]))

    def ends(*_: Any) -> Tensor:
        return torch.tensor([[0.0, 1.0]], dtype=torch.float64)

    monkeypatch.setattr("hare_tortoise.rl.priorities.uniform_numbers", ends)
    # Slots and whole blocks before the first step and behind the last one have nothing, wherever the seam is.
    for event in ["on", "on", "cut", "on", "on", "end"] * 4:
        feeder.feed({0: event})
        for n_step in (1, 2, 5):
            drawn, _ = priorities.sample(2, generators(1), n_step=n_step, beta=1.0)
            steps = [place % 11 for place in feeder.lists[0].sampled(n_step)]
            assert drawn.tolist() == [[min(steps), max(steps)]]


def test_bytes_are_those_that_are_held() -> None:
    replay, _ = lived(["end"], 1000, agents=3)
    priorities = Priorities(replay)
    held = priorities._values.nbytes + priorities._sums.nbytes + priorities._highest.nbytes
    assert priority_bytes(3, 1000) == held


def test_bad_input_is_refused() -> None:
    replay, _ = lived(["end"] * 3, 5)
    settings_: list[tuple[dict[str, Any], str]] = [
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"block": 0}, "block is 0"),
    ]
    for arguments, message in settings_:
        with pytest.raises(ValueError, match=message):
            Priorities(replay, **arguments)
    priorities = Priorities(replay)
    with pytest.raises(ValueError, match=r"beta is 1\.5"):
        priorities.sample(1, generators(0), n_step=1, beta=1.5)
    with pytest.raises(ValueError, match="2 generators"):
        priorities.sample(1, generators(0, 1), n_step=1, beta=1.0)
    with pytest.raises(ValueError, match="errors have the shape"):
        priorities.update(torch.tensor([[0, 1]]), torch.tensor([[1.0]]))
    before = priorities.values.clone()
    for error in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not all finite"):
            priorities.update(torch.tensor([[0]]), torch.tensor([[error]]))
    assert torch.equal(priorities.values, before)
    with pytest.raises(ValueError, match=r"alpha is 0.9, but the state was saved with 0.5"):
        Priorities(replay, alpha=0.9).load_state_dict(priorities.state_dict())
