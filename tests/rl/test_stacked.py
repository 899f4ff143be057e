"""The engine of stacked weights against agents alone: forced to the same rows they end with the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.optimizer_state import clear_entries
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.stacked import Stacked, clip_each
from hare_tortoise.rl.stacked_keeping import StackedKeeping
from hare_tortoise.rl.update import Draws, Loop
from tests.rl.stacked_agents import (
    ACTIONS,
    LEGAL,
    Forced,
    agents,
    grid_recipe,
    image_recipe,
    relative,
    same_weights,
)

PAIR = "hare-tortoise(decay=0.9, reset_every=20)"
QUICK = "hare-tortoise(decay=0.9, reset_every=5)"
SCALAR: dict[str, Any] = {"atoms": None, "clip": 0.01, "batch": 3}
C51: dict[str, Any] = {
    "atoms": 7,
    "clip": 0.01,
    "encoder": "nature(padding=same)",
    "shared_hidden": True,
    "batch": 3,
}
COPY: dict[str, Any] = {
    "shared_hidden": False,
    "dueling": False,
    "double": False,
    "target": "copy",
    "copy_every": 4,
    "acts": "online",
    "weight_decay": 0.1,
    "clip": None,
}


def forced(recipe: AgentRecipe, method: str = "nothing") -> Forced:
    together = agents(recipe, method)
    return Forced(recipe, agents(recipe, method), Stacked(together), together)


def average_of(agent: Agent) -> HareTortoise:
    method = agent.keeping.method
    members = getattr(method, "members", (method,))
    (average,) = (member for member in members if isinstance(member, HareTortoise))
    return average


@pytest.mark.parametrize(
    ("recipe", "method"),
    [
        (image_recipe(**SCALAR), PAIR),
        (image_recipe(**C51), f"{PAIR[:-1]}, optimizer_state=reset)"),
        (grid_recipe(**COPY), "nothing"),
    ],
    ids=["scalar", "C51", "copy"],
)
def test_fifty_steps_are_those_of_agents_alone(recipe: AgentRecipe, method: str) -> None:
    both = forced(recipe, method)
    losses = both.update(50)
    assert both.difference() < 1e-5
    for alone, together in losses:
        assert torch.allclose(together, alone, rtol=1e-5, atol=0)
    moved = agents(both.recipe)  # as they began
    assert all(relative(old.online, new.online) > 1e-3 for old, new in zip(moved, both.together, strict=True))
    if recipe.clip is not None:
        gradients = [[parameter.grad for parameter in agent.online.parameters()] for agent in both.alone]
        norms = [float(torch.nn.utils.get_total_norm([g for g in own if g is not None])) for own in gradients]
        assert norms == pytest.approx([recipe.clip] * 3, rel=1e-3)  # clipping was at work


def test_a_step_gives_rows_and_priorities_and_takes_weights() -> None:
    both = forced(image_recipe(**C51))
    weights = torch.rand(3, both.recipe.batch)
    (alone, together), *_ = both.update(1, weights=weights)
    assert torch.allclose(together, alone, rtol=1e-5, atol=0)
    batch = both.rows()
    draws = [[torch.Generator().manual_seed(place) for place in range(3)] for _ in range(2)]
    expected = Loop(both.alone).update(batch, Draws(draws[0], draws[0]), weights=weights)
    found = both.engine.update(batch, Draws(draws[1], draws[1]), weights=weights)
    for name in ("rows", "mean", "priorities"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-4)
        assert not one.requires_grad
    assert all(torch.equal(*(pair[place].get_state() for pair in draws)) for place in range(3))


def test_it_acts_as_agents_alone() -> None:
    both = forced(image_recipe(atoms=7))
    both.update(3)
    stacks = torch.randint(256, (3, 4, 36, 36), dtype=torch.uint8)
    play = [[torch.Generator().manual_seed(place) for place in range(3)] for _ in range(2)]
    loop, seen = Loop(both.alone), set()
    for epsilon in (1.0, 0.5, 0.0, 0.5, 0.5, 1.0) * 3:
        expected = loop.act(stacks, epsilon, play[0], play[0])
        found = both.engine.act(stacks, epsilon, play[1], play[1])
        assert torch.equal(found, expected)
        seen.add(tuple(found.tolist()))
        assert bool((found < torch.tensor(LEGAL)).all())
    assert len(seen) > 5


def test_the_network_that_acts_is_that_of_the_recipe() -> None:
    play = [torch.Generator() for _ in range(3)]
    for acts in ("target", "online"):
        together = agents(grid_recipe(acts=acts))
        engine = Stacked(together)
        for place, agent in enumerate(together):
            for network, action in ((agent.target, 0), (agent.online, 1)):
                network.head.advantage[-1].get_parameter("bias").data[action] = 100.0 + place
        found = engine.act(torch.zeros(3, 1, 4, 10, 10, dtype=torch.bool), 0.0, play, play)
        assert found.tolist() == [0 if acts == "target" else 1] * 3


def test_another_game_has_other_legal_actions() -> None:
    both = forced(grid_recipe())
    stacks = torch.rand(3, 1, 4, 10, 10) > 0.5
    play = [torch.Generator().manual_seed(place) for place in range(3)]
    engine = both.engine
    assert isinstance(engine, Stacked)
    before = engine.mask()
    for agent in both.together:
        agent.plays(replace(agent.space))  # an equal one, as after an evaluation
    assert engine.mask() is before
    for agent in both.together:
        agent.plays(replace(agent.space, actions=1, legal=(4,)))
    assert engine.act(stacks, 0.0, play, play).tolist() == [4, 4, 4]
    assert engine.act(stacks, 1.0, play, play).tolist() == [4, 4, 4]
    for agent in both.together:
        agent.plays(replace(agent.space, actions=ACTIONS, legal=None))
    assert engine.mask() is None


def test_half_precision_is_near_that_of_agents_alone() -> None:
    both = forced(image_recipe(atoms=7, precision="bfloat16"))
    whole = forced(image_recipe(atoms=7))
    losses, exact = both.update(5), whole.update(5)
    assert all(torch.allclose(together, alone, rtol=0.02) for alone, together in losses)
    assert not torch.equal(losses[0][1], exact[0][1])
    assert both.difference() < 0.01
    assert all(p.dtype == torch.float32 for agent in both.together for p in agent.online.parameters())


def test_the_norm_of_each_agent_is_clipped_by_itself() -> None:
    draws = torch.Generator().manual_seed(0)
    gradients = [torch.randn(3, *shape, generator=draws) for shape in ((4,), (2, 3), (5, 1, 2, 2))]
    for each in gradients:
        each[1] *= 1e-3
    expected = []
    for place in range(3):
        own = [torch.zeros(each.shape[1:], requires_grad=True) for each in gradients]
        for tensor, each in zip(own, gradients, strict=True):
            tensor.grad = each[place].clone()
        torch.nn.utils.clip_grad_norm_(own, 0.7)
        expected.append([tensor.grad for tensor in own if tensor.grad is not None])
    small = [each[1].clone() for each in gradients]
    clip_each([*gradients, None], 0.7)
    for number, each in enumerate(gradients):
        assert torch.equal(each[1], small[number])
        for place in range(3):
            assert torch.allclose(each[place], expected[place][number], rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        (f"{QUICK} + head-reset", {}),
        (f"{QUICK} + head-reset", {"after_act": "own"}),
        (f"last-layers-reset + optimizer-reset + {QUICK}", {}),
        ("shrink-perturb(shrink=0.8, perturb=0.2)", {"after_act": "keep"}),
        (f"from-scratch + {QUICK}", {}),
        ("shrink-perturb(shrink=0.8, perturb=0.2)", {"target": "copy", "copy_every": 100}),
    ],
)
def test_rare_acts_are_those_of_agents_alone(method: str, changes: dict[str, Any]) -> None:
    both = forced(grid_recipe(act_every=7, **changes), method)
    both.update(18)
    assert both.difference() < 1e-5
    if changes.get("target") != "copy":
        for one, other in zip(both.alone, both.together, strict=True):
            other.state_dict()  # which brings its counts up to date
            assert average_of(other).steps == average_of(one).steps
    for agent in both.together:
        agent.keeping.new_game()
    for agent in both.alone:
        agent.keeping.new_game()
    both.update(5)
    assert both.difference() < 1e-5


def test_a_head_reset_changes_the_stacked_weights_and_forgets_their_moments() -> None:
    both = forced(grid_recipe(act_every=3), f"{PAIR} + head-reset")
    engine = both.engine
    assert isinstance(engine, Stacked)
    before = {name: parameter.detach().clone() for name, parameter in engine.online.named_parameters()}
    both.update(2)
    moments = engine.optimizer.state[engine.online.get_parameter("head.value.0.weight")]["exp_avg"]
    kept = engine.optimizer.state[engine.online.get_parameter("encoder.body.0.weight")]
    assert bool(moments.any())
    both.update(1)
    after = dict(engine.online.named_parameters())
    assert relative_tensors(after["head.value.0.weight"], before["head.value.0.weight"]) > 0.5
    assert relative_tensors(after["encoder.body.0.weight"], before["encoder.body.0.weight"]) < 0.1
    engine.catch_up()
    assert not bool(moments.any())
    assert float(kept["step"]) == 3
    assert bool(kept["exp_avg"].any())


def relative_tensors(one: Tensor, other: Tensor) -> float:
    return float((one.detach() - other.detach()).norm() / other.detach().norm())


def test_what_a_method_forgets_of_some_entries_is_forgotten_here() -> None:
    both = forced(grid_recipe())
    engine = both.engine
    assert isinstance(engine, Stacked)
    both.update(2)
    agent = both.together[1]
    bias = agent.online.encoder.get_parameter("body.0.bias")
    clear_entries(agent.optimizer, bias, torch.arange(16) < 8)
    whole = engine.optimizer.state[engine.online.get_parameter("encoder.body.0.bias")]["exp_avg_sq"]
    assert not bool(whole[1, :8].any())
    assert bool(whole[1, 8:].any())
    assert bool(whole[0, :8].any())


def test_a_method_that_puts_other_tensors_under_the_weights_is_followed() -> None:
    both = forced(grid_recipe(), PAIR)
    both.update(2)
    for agent in [*both.alone, *both.together]:
        for network in (agent.online, agent.target):
            for parameter in network.parameters():
                parameter.data = parameter.detach() * 0.5  # not in place, so that it is no view any more
        agent.keeping.act()
    both.update(3)
    assert both.difference() < 1e-5


def test_agents_must_act_at_the_same_update() -> None:
    both = forced(grid_recipe(), f"{PAIR} + head-reset")
    both.update(2)
    both.together[1].keeping.act()
    with pytest.raises(RuntimeError, match="optimizers of 1 of 3 agents have forgotten"):
        both.update(1)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("redo", {}, "ReDo acts after every step"),
        ("l2-init", {}, "L2Init adds a term to the loss"),
        ("last-layers-reset(every=5)", {}, "LastLayersReset acts after every step"),
        ("plasticity-injection", {}, "head is Injected"),
        ("nothing", {"noisy": True}, "NoisyLinear"),
        ("nothing", {"encoder": "impala"}, "MaxPool2d"),
        ("nothing", {"prediction": 1.0}, "prediction is Prediction"),
    ],
)
def test_what_has_no_stacked_form_is_named(method: str, changes: dict[str, Any], message: str) -> None:
    recipe = image_recipe(**changes)
    with pytest.raises(ValueError, match=message):
        Stacked(agents(recipe, method))


class OwnAverage(HareTortoise):
    """Averages in a way of its own."""


def test_an_average_of_the_user_is_named() -> None:
    together = agents(grid_recipe())
    for agent in together:
        kept = agent.keeping
        average_of(agent).detach()
        kept.method = OwnAverage(agent.online, agent.optimizer, tortoise=agent.target)
    with pytest.raises(ValueError, match="OwnAverage averages in a way of its own"):
        Stacked(together)


def test_agents_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="agents is empty"):
        Stacked([])
    first, second, _ = agents(grid_recipe())
    _, other, _ = agents(grid_recipe(lr=0.5))
    with pytest.raises(ValueError, match="agent 1 differs from the first in its recipe"):
        Stacked([first, other])
    _, quick, _ = agents(grid_recipe(), "ema(decay=0.5)")
    with pytest.raises(ValueError, match="average of agent 1 is at"):
        Stacked([first, quick])
    first, second, _ = agents(grid_recipe())
    Stacked([first, second])
    with pytest.raises(ValueError, match="agent 0 is in a population already"):
        Stacked([first, second])


def test_the_keeping_counts_for_training() -> None:
    recipe = grid_recipe(act_every=3, steps=30, warm_up=10)
    alone, together = agents(recipe, "head-reset"), agents(recipe, "head-reset")
    Stacked(together)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other.keeping, StackedKeeping)
        acted = [one.keeping.after_update() for _ in range(25)]
        assert [other.keeping.after_update() for _ in range(25)] == acted
        assert [number for number, did in enumerate(acted, 1) if did] == [3, 6, 9, 12, 15]
        assert same_weights(one.online, other.online)
