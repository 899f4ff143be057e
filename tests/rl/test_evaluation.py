"""Judging an agent: one whole game in each environment, none dropped, with seeds and rewards of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.environments import Space, make_environments
from hare_tortoise.rl.evaluation import evaluate
from hare_tortoise.rl.interface import Arrival
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.seeds import evaluation_seed, training_seed
from tests.rl.scripted import SPACE, Episode, Scripted, Step


def agent_of(space: Space = SPACE, **changes: Any) -> Agent:
    recipe = find_agent("vector").replace(**{"hidden": 8, "stack": 3, "lives_end": True, **changes})
    return build_agent(recipe, space, "nothing", 0)


def lasting(steps: int, reward: float, *, truncated: bool = False) -> Episode:
    end = Step(reward, 2, ended=not truncated, truncated=truncated)
    return Episode(2, (*[Step(reward, 2)] * (steps - 1), end))


def judged(
    agent: Agent, scripts: Sequence[Sequence[Episode]], **settings: Any
) -> tuple[list[float], Scripted]:
    made: list[Scripted] = []

    def make(names: Sequence[str]) -> Scripted:
        assert list(names) == ["a game"] * len(scripts)
        made.append(Scripted(scripts, space=agent.space))
        return made[-1]

    found = evaluate(agent, "a game", episodes=len(scripts), make=make, **settings)
    return found, made[0]


def test_one_whole_game_of_each_counts_and_none_is_dropped() -> None:
    """Long ones are waited for; those that begin meanwhile do not count; rewards are as the game gives them."""
    more = lasting(2, 1000.0)
    scripts = [(lasting(1, 1.5), more), (lasting(9, -20.0), more), (lasting(4, 2.5, truncated=True), more)]
    found, games = judged(agent_of(), scripts)
    assert found == [1.5, -180.0, 10.0]
    assert games.at[1] == 9
    assert games.begun[1] == 1
    assert games.begun[0] > 1
    assert games.closed


def test_lost_lives_end_no_game() -> None:
    losing = Episode(3, (Step(1.0, 2), Step(1.0, 1), Step(1.0, 0), Step(1.0, 0), Step(1.0, 0, ended=True)))
    assert judged(agent_of(), [(losing,)])[0] == [5.0]


@pytest.mark.parametrize("lives_end", [True, False])
def test_stacks_are_as_in_training(lives_end: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty where a game begins, and where a life does, if that is what the network knows."""
    stacks: list[list[list[float]]] = []
    asked: list[tuple[float, Any]] = []

    def act(
        self: Agent, seen: Tensor, epsilon: float, draws: torch.Generator, *, noise: Any = None
    ) -> Tensor:
        stacks.append(seen.squeeze(-1).tolist())
        asked.append((epsilon, noise))
        return torch.zeros(len(seen), dtype=torch.int64)

    monkeypatch.setattr(Agent, "choose", act)
    losing = Episode(2, (Step(0.0, 2), Step(0.0, 1), Step(0.0, 1), Step(0.0, 0, ended=True)))
    judged(
        agent_of(lives_end=lives_end, evaluation_epsilon=0.3), [(losing,), (lasting(2, 0.0), lasting(9, 0.0))]
    )
    first = (
        [[0, 0, 1], [0, 1, 2], [0, 0, 3], [0, 3, 4]]
        if lives_end
        else [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    )
    assert [each[0] for each in stacks] == first
    assert [each[1] for each in stacks] == [[0, 0, 1], [0, 1, 2], [0, 0, 101], [0, 101, 102]]
    assert asked == [(0.3, None)] * 4


def test_seeds_are_odd_and_those_of_training_even() -> None:
    scripts = [(lasting(1 + number, 0.0),) for number in range(4)]
    seeds = judged(agent_of(), scripts, seed=5)[1].seeds
    first = [each[0] for each in seeds]
    assert first == [evaluation_seed(5, "episode", place, 0) for place in range(4)]
    every = [seed for each in seeds for seed in each]
    assert {seed % 2 for seed in every} == {1}
    assert len(set(every)) == len(every)
    assert judged(agent_of(), scripts, seed=6)[1].seeds != seeds
    assert all(0 <= training_seed(number, "episode", 0) < 2**31 for number in range(50))
    assert {training_seed(number, "episode", 0) % 2 for number in range(50)} == {0}
    assert {evaluation_seed(number, "episode", 0) % 2 for number in range(50)} == {1}


def test_who_watches_is_told_every_answer() -> None:
    told: list[Arrival] = []
    judged(agent_of(), [(lasting(3, 1.0),)], watch=told.append)
    assert [float(each.observation) for each in told] == [1, 2, 3, 4]
    assert [bool(each.ended) for each in told] == [False, False, False, True]


def test_the_deployed_network_plays_without_noise_and_the_agent_is_left_as_it_was() -> None:
    """The same games twice, with the same actions; legal actions are those of the game that is played."""
    agent = agent_of(make_environments(["CartPole-v1"]).spaces[0], stack=1, noisy=True, lives_end=False)
    legal, weights = agent.legal.clone(), {name: w.clone() for name, w in agent.online.state_dict().items()}
    one, other = (evaluate(agent, "CartPole-v1", episodes=3, seed=1) for _ in range(2))
    assert one == other
    assert evaluate(agent, "CartPole-v1", episodes=2, seed=1) == one[:2]
    with torch.no_grad():
        agent.target.head.advantage[-1].weight.neg_()  # type: ignore[operator]
        agent.target.head.advantage[-1].bias.neg_()  # type: ignore[operator]
    assert evaluate(agent, "CartPole-v1", episodes=3, seed=1) != one
    assert torch.equal(agent.legal, legal)
    assert all(torch.equal(agent.online.state_dict()[name], weight) for name, weight in weights.items())


def test_another_game_is_played_with_its_own_actions() -> None:
    names = ("minatar:breakout", "minatar:asterix")
    spaces = [make_environments([name], padded=True).spaces[0] for name in names]
    agent = build_agent(find_agent("minatar").replace(hidden=8), spaces[0], "nothing", 0, actions=6)
    before = agent.legal.tolist()
    played: list[int] = []

    def make(games: Sequence[str]) -> Any:
        environments = make_environments(games, padded=True)
        send = environments.send

        def watched(actions: Tensor) -> None:
            played.extend(actions.tolist())
            send(actions)

        environments.send = watched  # type: ignore[method-assign]
        return environments

    evaluate(agent, names[1], episodes=2, seed=0, make=make)
    assert set(played) <= set(spaces[1].numbers)
    assert agent.legal.tolist() == before
    assert agent.space == spaces[0]


def test_a_game_that_looks_otherwise_is_refused_and_closed() -> None:
    agent = agent_of()
    with pytest.raises(ValueError, match="games that one network plays one after the other must look alike"):
        evaluate(agent, "CartPole-v1", episodes=1)
    with pytest.raises(ValueError, match="episodes: got 0, expected 1 or more"):
        evaluate(agent, "CartPole-v1", episodes=0)
    assert agent.space == SPACE
