"""Training: what is stored, in which order and how often it is learnt from, and what the rows tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from hare_tortoise.lab.training import DivergedError
from hare_tortoise.rl.agent import build_agent
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.rows import Tally
from hare_tortoise.rl.seeds import training_seed
from hare_tortoise.rl.training import Training
from tests.rl.scripted import Episode, Noting, Scripted, Step

FIRST = Episode(3, (Step(5.0, 3), Step(-7.0, 2), Step(0.5, 2), Step(1.0, 0, ended=True)))
SECOND = Episode(3, (Step(2.0, 3), Step(0.0, 3, truncated=True)))
THIRD = Episode(1, (Step(0.25, 2), Step(0.0, 1), Step(-0.5, 1)))
ENDLESS = Episode(1, (Step(1.0, 1),))


def recipe_of(**changes: Any) -> AgentRecipe:
    values: dict[str, Any] = {"hidden": 8, "batch": 4, "n_step": 2, "stack": 3, "warm_up": 20, "steps": 30}
    return find_agent("vector").replace(**{**values, "clip_rewards": True, "lives_end": True, **changes})


def scripted(
    recipe: AgentRecipe, *scripts: Sequence[Episode], losses: Sequence[float] = (), **settings: Any
) -> tuple[Training, Noting, Scripted]:
    """A training whose engine only notes, in games that follow a script."""
    log: list[Any] = []
    games = Scripted(scripts, log)
    engine = Noting(log, losses)
    agents = [build_agent(recipe, games.spaces[0], "nothing", seed) for seed in range(len(scripts))]
    training = Training(agents, lambda _: games, range(len(agents)), engine=engine, **settings)
    return training, engine, games


def advance(training: Training, steps: int) -> None:
    for _ in range(steps):
        training.advance()


# --- what is stored ------------------------------------------------------------------------------------------


def transitions(training: Training, count: int, agent: int = 0) -> list[tuple[Any, ...]]:
    """Stack, return, discount and the stack behind, of 2 steps with a discount of 1/2."""
    slots = torch.arange(count).expand(len(training.agents), -1)
    batch = training.replay.gather(slots, n_step=2, discount=0.5)
    parts = (
        batch.observations.squeeze(-1),
        batch.returns,
        batch.discounts,
        batch.next_observations.squeeze(-1),
    )
    return list(zip(*(part[agent].tolist() for part in parts), strict=True))


NONE = [0.0, 0.0, 0.0]


def test_rewards_are_clipped_and_a_lost_life_ends_the_value_and_empties_the_stack() -> None:
    training, engine, games = scripted(recipe_of(), (FIRST, ENDLESS))
    advance(training, 4)
    assert transitions(training, 4) == [
        ([0, 0, 1], 1.0 - 0.5, 0.0, NONE),
        ([0, 1, 2], -1.0, 0.0, NONE),
        ([0, 0, 3], 0.5 + 0.5, 0.0, NONE),
        ([0, 3, 4], 1.0, 0.0, NONE),
    ]
    assert engine.stacks == [[[0, 0, 1]], [[0, 1, 2]], [[0, 0, 3]], [[0, 3, 4]]]
    assert games.begun == [2]  # the lost life has not begun a game
    training.advance()
    assert engine.stacks[-1] == [[0, 0, 101]]


def test_a_value_goes_on_behind_a_cut() -> None:
    training, engine, games = scripted(recipe_of(), (SECOND, ENDLESS))
    advance(training, 2)
    assert transitions(training, 2) == [
        ([0, 0, 1], 1.0, 0.25, [1, 2, 3]),
        ([0, 1, 2], 0.0, 0.5, [1, 2, 3]),
    ]
    assert training.replay.written == [3]
    advance(training, 2)
    assert engine.stacks[-2:] == [[[0, 0, 101]], [[0, 101, 102]]]
    assert games.begun == [2]


def test_a_life_that_is_lost_where_the_episode_is_cut_ends_the_value() -> None:
    cut = Episode(3, (Step(1.0, 3), Step(0.5, 2, truncated=True)))
    training, engine, games = scripted(recipe_of(), (cut, ENDLESS))
    advance(training, 2)
    assert transitions(training, 2) == [([0, 0, 1], 1.0 + 0.25, 0.0, NONE), ([0, 1, 2], 0.5, 0.0, NONE)]
    assert training.replay.written == [2]  # nothing is bootstrapped from
    training.advance()
    assert engine.stacks[-1] == [[0, 0, 101]]
    assert games.begun == [2]


def test_a_life_is_lost_when_fewer_are_told_than_before() -> None:
    """A gained one is no end, and is lost again."""
    training, _, games = scripted(recipe_of(), (THIRD,))
    advance(training, 5)
    assert transitions(training, 2) == [([0, 0, 1], 0.25, 0.0, NONE), ([0, 1, 2], 0.0, 0.0, NONE)]
    assert transitions(training, 3)[2] == ([0, 0, 3], -0.5 - 0.25, 0.25, [3, 4, 5])
    assert games.begun == [1]


def test_lives_and_sizes_of_rewards_are_left_alone_where_the_recipe_says_so() -> None:
    training, engine, _ = scripted(recipe_of(lives_end=False, clip_rewards=False), (FIRST, ENDLESS))
    advance(training, 4)
    assert transitions(training, 4) == [
        ([0, 0, 1], 5.0 - 3.5, 0.25, [1, 2, 3]),
        ([0, 1, 2], -7.0 + 0.25, 0.25, [2, 3, 4]),
        ([1, 2, 3], 0.5 + 0.5, 0.0, NONE),
        ([2, 3, 4], 1.0, 0.0, NONE),
    ]
    assert engine.stacks[2] == [[1, 2, 3]]


def test_agents_beside_each_other_have_lives_and_episodes_of_their_own() -> None:
    scripts = ((FIRST, ENDLESS), (SECOND, ENDLESS), (THIRD,))
    training, engine, games = scripted(recipe_of(), *scripts)
    advance(training, 6)
    for agent, script in enumerate(scripts):
        alone, single, other = scripted(recipe_of(), script)
        advance(alone, 6)
        assert [stacks[agent] for stacks in engine.stacks] == [stacks[0] for stacks in single.stacks]
        assert transitions(training, 2, agent) == transitions(alone, 2)
        assert games.begun[agent] == other.begun[0]
    assert training.replay.written == [6, 7, 6]


# --- order, and how often ------------------------------------------------------------------------------------


def test_a_step_is_to_act_to_send_to_update_and_to_receive() -> None:
    training, engine, games = scripted(recipe_of(warm_up=3, replay_ratio=2.0), (ENDLESS,))
    seen: list[int] = []
    update = engine.update

    def watched(*arguments: Any, **settings: Any) -> Any:
        seen.append(training.replay.written[0])
        return update(*arguments, **settings)

    engine.update = watched  # type: ignore[method-assign]
    advance(training, 5)
    step = [("act",), ("send", (1,)), ("receive",)]
    learnt = [*step[:2], ("update",), ("update",), step[2]]
    assert games.log == [("start", (0,)), *step * 3, *learnt * 2]
    assert seen == [3, 3, 4, 4]  # what this step stores is not there yet
    assert all(int(batch.indices.max()) < 4 for batch in engine.batches)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.25, [0] * 15 + [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        (1.0, [0] * 12 + [1] * 12),
        (4.0, [0] * 12 + [4] * 12),
        (1.5, [0] * 12 + [1, 2] * 6),
        (0.1, [0] * 21 + [1, 0, 0]),
        (0.0, [0] * 24),
    ],
)
def test_gradient_steps_begin_after_the_warm_up_and_are_as_many_as_the_ratio_says(
    ratio: float, expected: list[int]
) -> None:
    training, _, games = scripted(recipe_of(warm_up=12, steps=24, replay_ratio=ratio), (ENDLESS,))
    found = []
    for _ in range(24):
        before = games.log.count(("update",))
        training.advance()
        found.append(games.log.count(("update",)) - before)
    assert found == expected
    assert training.agents[0].keeping.updates == sum(expected) == training.rows[0][-1]["updates"]


def test_epsilon_begins_anew_in_each_phase() -> None:
    recipe = recipe_of(warm_up=3, steps=6, epsilon="linear(first=0.9, last=0.1, steps=2)")
    engine = Noting([])
    agent = build_agent(recipe, Scripted([(ENDLESS,)]).spaces[0], "nothing", 0)
    training = Training([agent], lambda _: Scripted([(ENDLESS,)]), [0], phases=2, engine=engine)
    advance(training, 12)
    assert engine.epsilons == pytest.approx([1.0, 1.0, 1.0, 0.9, 0.5, 0.1] * 2)


def test_priorities_are_those_of_the_loss_and_their_weights_reach_it() -> None:
    recipe = recipe_of(
        warm_up=6,
        steps=12,
        n_step=1,
        replay="prioritised",
        priority_exponent=0.7,
        importance=0.4,
        replay_ratio=1.0,
    )
    training, engine, _ = scripted(recipe, (ENDLESS,))
    advance(training, 12)
    assert training.priorities is not None
    values = training.priorities.values[0]
    sampled = {int(index) for batch in engine.batches for index in batch.indices[0]}
    assert len(sampled) > 2
    for index in sampled:  # the engine gives slot i the priority i + 1
        assert float(values[index]) == pytest.approx((index + 1) ** 0.7)
    assert float(values[11]) == pytest.approx(max(12 if 11 in sampled else 0, max(sampled) + 1) ** 0.7)
    weights = [each for each in engine.weights if each is not None]
    assert len(weights) == len(engine.batches) == 6
    assert all(float(each.max()) == 1.0 for each in weights)
    assert float(weights[-1].min()) < 1.0
    before = dict.fromkeys(range(12), 1.0)
    chances = [before[int(index)] for index in engine.batches[0].indices[0]]
    assert weights[0][0].tolist() == pytest.approx([(chance / 1.0) ** -0.4 for chance in chances])


def test_a_life_that_is_lost_in_the_first_step_ends_the_value() -> None:
    quick = Episode(3, (Step(1.0, 2), Step(1.0, 2)))
    training, _, _ = scripted(recipe_of(), (quick,))
    advance(training, 3)
    assert [discount for _, _, discount, _ in transitions(training, 1)] == [0.0]


def test_noisy_agents_explore_by_their_noise() -> None:
    recipe = recipe_of(warm_up=3, steps=40, noisy=True, epsilon="0.0", acts="online", replay_ratio=0.01)
    space = Scripted([(ENDLESS,)]).spaces[0]
    agent = build_agent(recipe, space, "nothing", 0)
    with torch.no_grad():
        for name, parameter in agent.online.named_parameters():
            parameter.fill_(5.0 if name.endswith("weight_sigma") else 0.1)
    log: list[Any] = []
    training = Training([agent], lambda _: Scripted([(ENDLESS,)], log), [0])
    advance(training, 30)
    actions = [entry[1] for entry in log if entry[0] == "send"][3:]
    assert len({*actions}) == 2


def test_epsilon_is_one_in_the_warm_up_and_falls_from_there() -> None:
    recipe = recipe_of(warm_up=5, steps=12, epsilon="linear(first=0.9, last=0.1, steps=4)")
    training, engine, _ = scripted(recipe, (ENDLESS,), rows_every=3)
    advance(training, 12)
    assert engine.epsilons == pytest.approx([1.0] * 5 + [0.9, 0.7, 0.5, 0.3, 0.1, 0.1, 0.1])
    assert [row["epsilon"] for row in training.rows[0]] == pytest.approx([1.0, 0.9, 0.3, 0.1])


def test_schedules_of_the_return_count_updates_since_a_reset_and_importance_the_steps() -> None:
    changes = {
        "n_step": "linear(first=4, last=1, steps=6)",
        "discount": "linear(first=0.5, last=1.0, steps=5)",
    }
    recipe = recipe_of(warm_up=8, steps=29, act_every=10, replay_ratio=1.0, **changes)
    games = Scripted(((ENDLESS,),))
    engine = Noting([])
    agent = build_agent(recipe, games.spaces[0], "head-reset", 0)
    training = Training([agent], lambda _: games, [0], engine=engine)
    advance(training, 29)
    counts = [*range(10), *range(11)]  # begun anew after 10 updates; at 20 less than an interval is left
    lengths = [round(4 - 3 * min(count / 6, 1)) for count in counts]
    discounts = [0.5 + 0.5 * min(count / 5, 1) for count in counts]
    for batch, length, discount in zip(engine.batches, lengths, discounts, strict=True):
        assert batch.discounts[0].tolist() == pytest.approx([discount**length] * 4)
        assert batch.returns[0].tolist() == pytest.approx([sum(discount**k for k in range(length))] * 4)


def test_the_importance_counts_the_steps_since_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    importance = "linear(first=0.0, last=1.0, steps=4)"
    recipe = recipe_of(warm_up=5, steps=12, replay="prioritised", importance=importance, replay_ratio=0.5)
    training, _, _ = scripted(recipe, (ENDLESS,))
    assert training.priorities is not None
    found, sample = [], training.priorities.sample

    def watched(*arguments: Any, beta: float, **settings: Any) -> Any:
        found.append(beta)
        return sample(*arguments, beta=beta, **settings)

    monkeypatch.setattr(training.priorities, "sample", watched)
    advance(training, 11)
    assert found == [0.25, 0.75, 1.0]


# --- rows ------------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_rows() -> None:
    losses = [0.5, 1.5, 4.0, 8.0]
    recipe = recipe_of(warm_up=6, steps=10)
    training, _, _ = scripted(recipe, (FIRST, SECOND, ENDLESS), losses=losses, rows_every=4)
    advance(training, 10)
    assert training.done
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in training.rows[0]]
    shared = {"phase": 0, "epsilon": 1.0}
    assert rows == [
        {
            **shared,
            "step": 4,
            "last": False,
            "updates": 0,
            "episodes": 1,
            "return": -0.5,
            "length": 4.0,
            "loss": None,
        },
        {
            **shared,
            "step": 8,
            "last": False,
            "updates": 2,
            "episodes": 1,
            "return": 2.0,
            "length": 2.0,
            "loss": 1.0,
        }
        | {"epsilon": training.epsilon(1)},
        {
            **shared,
            "step": 10,
            "last": True,
            "updates": 4,
            "episodes": 0,
            "return": None,
            "length": None,
            "loss": 6.0,
        }
        | {"epsilon": training.epsilon(3)},
    ]
    assert all(row["seconds"] > 0 for row in training.rows[0])


def test_the_mean_of_the_losses_does_not_depend_on_when_they_are_read() -> None:
    """As a run that writes a checkpoint reads them earlier."""
    draw = torch.Generator().manual_seed(0)
    losses = 10.0 ** (8 * torch.rand(300, generator=draw) - 6)
    found = []
    for read in ((), (3, 50, 51, 260), tuple(range(300))):
        tally = Tally(1, torch.device("cpu"))
        for number, loss in enumerate(losses):
            if tally.add(loss[None]) or number in read:
                tally.read([number], [0], number)
        tally.read([300], [0], 300)
        found.append(tally.row(0)["loss"])
    assert found[0] == found[1] == found[2]
    assert found[0] == pytest.approx(math.fsum(losses.tolist()) / 300, rel=1e-12)


@pytest.mark.parametrize("replay", ["uniform", "prioritised"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_update(replay: str, bad: float) -> None:
    recipe = recipe_of(warm_up=10, steps=1_000, replay=replay)
    training, _, _ = scripted(recipe, (ENDLESS,), losses=[1.0] * 130 + [bad], rows_every=500)
    told = rf"the loss was {bad} at update 131, about step \d+, of seed 0; try a lower lr"
    with pytest.raises(DivergedError, match=told):
        advance(training, 1_000)
    assert training.step <= 10 + 200


def test_a_row_is_not_written_over_a_loss_that_is_not_finite() -> None:
    training, _, _ = scripted(
        recipe_of(warm_up=10, steps=30), (ENDLESS,), losses=[1.0, math.nan], rows_every=20
    )
    with pytest.raises(DivergedError, match="update 2"):
        advance(training, 30)
    assert training.rows == [[]]


def test_episodes_of_training_have_even_seeds_of_their_own() -> None:
    short = Episode(1, (Step(0.0, 1, ended=True),))
    training, _, games = scripted(recipe_of(), (short,), (short,))
    advance(training, 20)
    seeds = [*games.seeds[0], *games.seeds[1]]
    assert len(set(seeds)) == len(seeds) == 42
    assert {seed % 2 for seed in seeds} == {0}
    assert games.seeds[1][:2] == [training_seed(1, "phase", 0, "episode", number) for number in (0, 1)]


def test_episodes_of_each_phase_have_seeds_of_their_own() -> None:
    short = Episode(1, (Step(0.0, 1, ended=True),))
    phases = [Scripted([(short,)]) for _ in range(2)]
    agent = build_agent(recipe_of(), phases[0].spaces[0], "nothing", 0)
    training = Training([agent], phases.__getitem__, [0], phases=2, engine=Noting([]))
    advance(training, 60)
    assert training.done
    seeds = [games.seeds[0] for games in phases]
    for phase, found in enumerate(seeds):
        assert found == [training_seed(0, "phase", phase, "episode", number) for number in range(31)]
    assert not set(seeds[0]) & set(seeds[1])
