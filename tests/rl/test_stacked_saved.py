"""Populations saved and loaded, into populations and agents alone; and trained, with a checkpoint in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hare_tortoise.lab.state import join, split
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.checkpoint import state_of, take_up
from hare_tortoise.rl.interface import Answer
from hare_tortoise.rl.lockstep import Looped
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.stacked import Stacked
from hare_tortoise.rl.training import Engine, Training
from hare_tortoise.rl.update import Loop
from tests.rl.stacked_agents import Forced, agents, grid_recipe, relative, same_weights, spaces

METHOD = "hare-tortoise(decay=0.9, reset_every=5, optimizer_state=reset) + head-reset"


def both(recipe: AgentRecipe, done: int = 0, method: str = METHOD) -> Forced:
    """Agents alone and a population, to go on with the draws of the step after `done`."""
    together = agents(recipe, method)
    found = Forced(recipe, agents(recipe, method), Stacked(together), together)
    found.done = done
    return found


def through_files(state: Any) -> Any:
    return join(*split(state))


def saved(some: Sequence[Agent]) -> list[Any]:
    return [through_files(agent.state_dict()) for agent in some]


def load(some: Sequence[Agent], states: Sequence[Any]) -> None:
    for agent, state in zip(some, states, strict=True):
        agent.load_state_dict(state)


@pytest.mark.parametrize("done", [0, 2, 7, 9])
def test_a_population_goes_on_as_if_never_interrupted(done: int) -> None:
    recipe = grid_recipe(act_every=7)
    whole, again = both(recipe), both(recipe, done)
    whole.update(done)
    states = saved(whole.together)
    again.update(3)  # of which nothing is left
    again.done = done
    load(again.together, states)
    assert [agent.keeping.updates for agent in again.together] == [done] * 3
    whole.update(10)
    again.update(10)
    for one, other in zip(whole.together, again.together, strict=True):
        assert same_weights(one.online, other.online)
        assert same_weights(one.target, other.target)


def test_the_state_of_an_agent_is_the_same_in_a_population_and_alone() -> None:
    recipe = grid_recipe(act_every=7)
    first = both(recipe)
    first.update(9)
    alone, together = saved(first.alone), saved(first.together)
    second = both(recipe, 9)
    load(second.alone, together)
    load(second.together, alone)
    first.update(10)
    second.update(10)
    pairs = [*zip(first.alone, second.alone, strict=True), *zip(first.together, second.together, strict=True)]
    for one, other in pairs:
        assert relative(one.online, other.online) < 1e-5
        assert relative(one.target, other.target) < 1e-5


def test_states_of_different_steps_are_refused() -> None:
    recipe = grid_recipe()
    first = both(recipe)
    first.update(4)
    states = saved(first.together)
    first.update(1)
    later = saved(first.together)
    second = both(recipe)
    load(second.together, [states[0], later[1], states[2]])
    with pytest.raises(ValueError, match=r"average of agent 1 is at .*'steps': 5"):
        second.update(1)


def test_optimizers_of_different_steps_are_refused() -> None:
    recipe = grid_recipe(target="copy")
    first, second = both(recipe, method="nothing"), both(recipe, method="nothing")
    first.update(2)
    states = saved(first.together)
    load(second.together[:2], states[:2])
    with pytest.raises(ValueError, match=r"have made \[0.0, 2.0\] steps"):
        second.update(1)
    load(second.together[2:], states[2:])
    second.done = 2
    second.update(1)
    first.update(1)
    pairs = zip(first.together, second.together, strict=True)
    assert all(same_weights(one.online, other.online) for one, other in pairs)


class Grid:
    """A random picture at each step, which the action is mixed into; over after 5 + seed % 7 steps."""

    def start(self, seed: int) -> Tensor:
        self.draws, self.left = torch.Generator().manual_seed(seed), 5 + seed % 7
        return self.seen()

    def act(self, action: int) -> Answer:
        self.left -= 1
        observation = self.seen()
        observation[0, 0, action] = True
        return observation, float(observation.sum() % 3) - 1, self.left == 0, False

    def seen(self) -> Tensor:
        return torch.rand(4, 10, 10, generator=self.draws) > 0.7

    def close(self) -> None:
        pass


def training(recipe: AgentRecipe, engine: type[Loop] | type[Stacked], method: str = METHOD) -> Training:
    some = agents(recipe, method)

    def games(_: int) -> Looped:
        return Looped([f"grid {place}" for place in range(3)], spaces(recipe), [Grid() for _ in range(3)])

    chosen: Engine = engine(some)
    return Training(some, games, [0, 1, 2], phases=2, rows_every=20, engine=chosen)


def test_a_training_of_a_population_is_that_of_agents_and_is_taken_up_in_the_middle() -> None:
    recipe = grid_recipe(steps=45, act_every=7, epsilon=0.3)
    loop, whole, again = training(recipe, Loop), training(recipe, Stacked), training(recipe, Stacked)
    while not whole.done:
        whole.advance()
        loop.advance()
        if (whole.phase, whole.step) == (1, 22):
            state = through_files(state_of(whole))
            frames = whole.replay.frames.clone()
    take_up(again, state)
    again.replay.frames.copy_(frames)
    while not again.done:
        again.advance()
    for one, other, plain in zip(whole.agents, again.agents, loop.agents, strict=True):
        assert same_weights(one.online, other.online)
        assert same_weights(one.target, other.target)
        assert one.keeping.updates == plain.keeping.updates == 70
        assert relative(plain.online, one.online) < 1e-5
    for mine, theirs in zip(whole.rows, loop.rows, strict=True):
        assert [row["loss"] for row in mine] == pytest.approx(
            [row["loss"] for row in theirs], rel=1e-5, nan_ok=True
        )
        assert [row["return"] for row in mine] == [row["return"] for row in theirs]
    assert [[row["loss"] for row in rows] for rows in again.rows] == [
        [r["loss"] for r in rows] for rows in whole.rows
    ]
