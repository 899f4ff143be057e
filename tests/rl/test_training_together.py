"""Training in lockstep: nobody beside an agent changes a bit of it, nor does what is measured; games in phases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.environments import Environments, make_environments
from hare_tortoise.rl.evaluation import evaluate
from hare_tortoise.rl.measuring import Measured
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.training import Training

# --- alone, and beside others --------------------------------------------------------------------------------


Stepped = tuple[list[dict[str, dict[str, Tensor]]], list[list[dict[str, Any]]]]


def run(recipe: AgentRecipe, game: str, seeds: Sequence[int], method: str, **settings: Any) -> Stepped:
    """Train to the end; give the weights, averages included, and the rows of each agent."""

    def games(_: int) -> Environments:
        return make_environments([game] * len(seeds))

    space = games(0).spaces[0]
    agents = [build_agent(recipe, space, method, seed) for seed in seeds]
    training = Training(agents, games, seeds, rows_every=30, **settings)
    while not training.done:
        training.advance()
    weights = [{"online": agent.online.state_dict(), "target": agent.target.state_dict()} for agent in agents]
    apart = ("seconds", "evaluations", "measures")
    return weights, [
        [{k: v for k, v in row.items() if k not in apart} for row in rows] for rows in training.rows
    ]


def same(one: Stepped, other: Stepped, place: int = 0) -> bool:
    if one[1][place] != other[1][0]:
        return False
    nets = zip(one[0][place].values(), other[0][0].values(), strict=True)
    return all(torch.equal(mine[name], theirs[name]) for mine, theirs in nets for name in mine | theirs)


RUNS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "uniform": ("vector", "CartPole-v1", {}, "hare-tortoise(decay=0.9, reset_every=20)"),
    "all-parts": (
        "minatar",
        "minatar:breakout",
        {
            "noisy": True,
            "acts": "online",
            "replay": "prioritised",
            "act_every": 25,
            "atoms": 21,
            "n_step": "exponential(first=10, last=3, steps=50)",
            "discount": "horizon(first=0.9, last=0.99, steps=50)",
        },
        "head-reset+ema",
    ),
}


def recipe_of_run(name: str) -> tuple[AgentRecipe, str, str]:
    recipe, game, changes, method = RUNS[name]
    values: dict[str, Any] = {"hidden": 16, "batch": 8, "warm_up": 20, "steps": 90, "epsilon": 0.2}
    return find_agent(recipe).replace(**{**values, **changes}), game, method


@pytest.mark.parametrize("name", RUNS)
def test_an_agent_is_the_same_to_the_bit_alone_and_beside_others(name: str) -> None:
    recipe, game, method = recipe_of_run(name)
    seeds = (5, 1, 3)
    together = run(recipe, game, seeds, method)
    for place, seed in enumerate(seeds):
        assert same(together, run(recipe, game, [seed], method), place)
    assert not same(together, run(recipe, game, [4], method))


@pytest.mark.parametrize("name", RUNS)
def test_evaluations_and_measures_change_no_bit(name: str) -> None:
    recipe, game, method = recipe_of_run(name)
    told: list[tuple[int, bool]] = []

    def play(agent: Agent, place: int, step: int, last: bool) -> dict[str, list[float]]:
        told.append((step, last))
        return {game: evaluate(agent, game, episodes=2, seed=9)}

    measured = Measured(evaluate=play, evaluate_every=60, every=30, samples=16)
    assert same(run(recipe, game, [0], method, measured=measured), run(recipe, game, [0], method))
    assert told == [(60, False), (90, True)]


def test_what_is_measured_and_when() -> None:
    recipe, game, method = recipe_of_run("uniform")
    environments = make_environments([game])
    agent = build_agent(recipe.replace(replay_ratio=0.25, steps=150), environments.spaces[0], method, 0)
    measured = Measured(evaluate=lambda *_: {"it": [1.0]}, every=50, samples=16)
    training = Training([agent], lambda _: environments, [0], rows_every=25, measured=measured)
    while not training.done:
        training.advance()
    rows = training.rows[0]
    assert [row["step"] for row in rows if "measures" in row] == [50, 100, 150]
    assert [row["step"] for row in rows if "evaluations" in row] == [150]
    names = {"dormant_ratio", "effective_rank", "hare_tortoise_distance"}
    # gradient steps end with the steps 24, 28, …: 100 is one of them, 50 and 150 are not
    assert [set(row["measures"]) - names for row in rows if "measures" in row] == [
        set(),
        {"decision_churn"},
        set(),
    ]
    apart = rows[-1]["measures"]["hare_tortoise_distance"]
    pairs = zip(agent.online.parameters(), agent.target.parameters(), strict=True)
    assert apart == pytest.approx(math.sqrt(sum(float((a.detach() - b).square().sum()) for a, b in pairs)))


def test_measures_know_a_head_that_plasticity_was_injected_into() -> None:
    recipe, game, _ = recipe_of_run("uniform")
    measured = Measured(every=45, samples=16)
    environments = make_environments([game])
    agent = build_agent(recipe.replace(act_every=25), environments.spaces[0], "plasticity-injection", 0)
    training = Training([agent], lambda _: environments, [0], rows_every=45, measured=measured)
    while not training.done:
        training.advance()
    assert [set(row["measures"]) for row in training.rows[0]] == [
        {"dormant_ratio", "effective_rank", "hare_tortoise_distance", "decision_churn"}
    ] * 2


# --- phases ----------------------------------------------------------------------------------------


def test_a_phase_begins_with_nothing_but_the_networks() -> None:
    """Replay, warm-up and schedules begin anew; the next game's actions are legal; a method acts."""
    recipe = find_agent("minatar").replace(
        hidden=8, batch=4, warm_up=12, steps=30, replay_ratio=1.0, act_every=99
    )
    names = ("minatar:breakout", "minatar:asterix", "minatar:breakout")
    made: list[Environments] = []

    def games(phase: int) -> Environments:
        made.append(make_environments([names[phase]], padded=True))
        return made[-1]

    agent = build_agent(
        recipe, make_environments([names[0]], padded=True).spaces[0], "head-reset", 0, actions=6
    )
    training = Training([agent], games, [0], phases=3, rows_every=10)
    legal, counts, heads = [], [], []
    for _ in range(90):
        training.advance()
        if training.step == 15:
            legal.append(agent.legal.tolist())
            counts.append(training.replay.written[0])
        if training.step in (0, 29):
            heads.append(agent.online.head.state_dict()["advantage.0.weight"].clone())
    numbers = [list(environments.spaces[0].numbers) for environments in made]
    assert [[action for action, known in enumerate(each) if known] for each in legal] == numbers
    assert numbers[0] != numbers[1]
    assert counts == [15] * 3
    assert [row["step"] for row in training.rows[0]] == list(range(10, 100, 10))
    assert [row["phase"] for row in training.rows[0]] == [0] * 3 + [1] * 3 + [2] * 3
    assert [row["last"] for row in training.rows[0]] == [False, False, True] * 3
    assert [row["updates"] for row in training.rows[0]] == [0, 8, 18, 18, 26, 36, 36, 44, 54]
    assert training.renewed == [36]
    # the head is another one behind each phase, but the last, behind which nothing follows
    assert float((heads[1] - heads[0]).abs().mean()) > 0.05
    assert float((heads[3] - heads[2]).abs().mean()) > 0.05
    assert float((heads[5] - heads[4]).abs().mean()) < 0.01
    for environments in made:
        with pytest.raises(RuntimeError, match="closed"):
            environments.start([0], [0])
