"""Graphed populations, with the capture replaced by one that leaves out what a CUDA graph leaves out: Python."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl import augmentation, stacked
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.population import Graphed, Work
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.replay import Replay
from hare_tortoise.rl.stacked import Stacked
from hare_tortoise.rl.update import Draws
from tests.rl.stacked_agents import agents, filled, grid_recipe, image_recipe, same_weights

EVERYONE = (0, 1, 2)
PAIR = "hare-tortoise(decay=0.9, reset_every=10)"


@dataclass
class Recorded:
    """A capture on the CPU: recording changes no tensor, and repeating changes nothing but tensors."""

    tensors: Callable[[], list[Tensor]]
    counts: Callable[[], Any]
    recorded: int = 0
    repeated: int = 0

    def __call__(self, work: Work, generator: torch.Generator, _optimizer: Optimizer) -> Work:
        self.recorded += 1
        kept, state = [tensor.clone() for tensor in self.tensors()], generator.get_state()
        work()
        for tensor, value in zip(self.tensors(), kept, strict=True):
            tensor.data.copy_(value)
        generator.set_state(state)
        return lambda: self._repeat(work)

    def _repeat(self, work: Work) -> Tensor:
        self.repeated += 1
        targets = self.counts()
        average = targets.average
        kept = targets.counted, *(() if average is None else (average._steps.at_most, average._next_reset))
        if average is not None:
            average._next_reset = None  # no Python, no reset
        output = work()
        targets.counted = kept[0]
        if average is not None:
            average._steps.at_most, average._next_reset = kept[1:]
        return output


def graphed(some: list[Agent], seed: int = 7) -> tuple[Graphed, Recorded]:
    engines: list[Graphed] = []

    def tensors() -> list[Tensor]:
        engine = engines[0]
        moments = [tensor for state in engine.optimizer.state.values() for tensor in state.values()]
        return [*engine.online.parameters(), *engine.target.parameters(), *moments]

    recorded = Recorded(tensors, lambda: engines[0].targets)
    engines.append(Graphed(some, seed, capture=recorded))
    return engines[0], recorded


class ByHand:
    """The same steps by `Stacked`, with the draws of a graphed population."""

    def __init__(self, some: list[Agent], seed: int = 7) -> None:
        self.agents, self.engine = some, Stacked(some)
        self.generator = torch.Generator().manual_seed(derive_seed(seed, "population"))
        self.recipe = some[0].recipe

    def step(self, replay: Replay) -> Tensor:
        assert isinstance(self.recipe.n_step, int)
        assert isinstance(self.recipe.discount, float)
        bounds = torch.from_numpy(replay.filled_bounds(self.recipe.n_step))
        shape = len(self.agents), self.recipe.batch
        drawn = torch.rand(shape, dtype=torch.float64, generator=self.generator)
        slots = replay.slots(drawn, bounds)
        batch = replay.gather(slots, n_step=self.recipe.n_step, discount=self.recipe.discount)
        found = self.engine.update(batch, Draws([self.generator], [])).mean
        for agent in self.agents:
            agent.keeping.after_update()
        return found


def take(engine: Graphed, replay: Replay, due: int) -> list[Tensor]:
    """Take the steps that are due, as a training does."""
    losses: list[Tensor] = []
    while due:
        means = engine.several(replay, due)
        losses += means.clone().unbind(0)
        due -= len(means)
        for _ in means:
            for agent in engine.agents:
                agent.keeping.after_update()
    return losses


@pytest.mark.parametrize(
    ("recipe", "method", "repeated"),
    [
        (grid_recipe(replay_ratio=2.0), PAIR, 13),
        (grid_recipe(replay_ratio=2.0, act_every=7), f"{PAIR} + head-reset", 10),
        (grid_recipe(replay_ratio=2.0, act_every=8), f"{PAIR} + head-reset", 13),
        (grid_recipe(replay_ratio=2.0, target="copy", copy_every=1, double=False), "nothing", 17),
        (grid_recipe(replay_ratio=2.0, target="copy", copy_every=5), "nothing", 9),
        (grid_recipe(replay_ratio=2.0), "ema(decay=warmup(0.9))", 0),
        (grid_recipe(replay_ratio=1.0), "nothing", 37),
        (image_recipe(replay_ratio=3.0, hidden=8, batch=1), PAIR, 7),
    ],
    ids=["pair", "odd act", "even act", "copy", "copy now and then", "schedule", "one step", "images"],
)
def test_repeated_steps_are_those_by_hand(recipe: AgentRecipe, method: str, repeated: int) -> None:
    replay, hand = filled(recipe, EVERYONE), ByHand(agents(recipe, method))
    engine, capture = graphed(agents(recipe, method))
    losses: list[Tensor] = []
    while len(losses) < 40:
        losses += take(engine, replay, int(recipe.replay_ratio))
    expected = [hand.step(replay) for _ in losses]
    assert torch.equal(torch.stack(losses), torch.stack(expected))
    assert capture.repeated == repeated
    assert capture.recorded == (repeated > 0)
    for one, other in zip(engine.agents, hand.agents, strict=True):
        assert same_weights(one.online, other.online)
        assert same_weights(one.target, other.target)
        mine, theirs = one.keeping.state_dict()["method"], other.keeping.state_dict()["method"]
        if mine is not None:
            assert steps(mine) == steps(theirs)
    assert torch.equal(engine.generator.get_state(), hand.generator.get_state())


def steps(state: dict[str, Any]) -> list[tuple[int, int]]:
    members = [state] if "steps" in state else list(state.values())
    return [(each["steps"], each["next_reset"]) for each in members if "steps" in each]


def test_what_is_appended_is_drawn_by_a_graph() -> None:
    recipe = grid_recipe(replay_ratio=2.0)
    replay, hand = filled(recipe, EVERYONE), ByHand(agents(recipe))
    engine, capture = graphed(agents(recipe))
    for step in range(8):
        found = take(engine, replay, 2)
        assert torch.equal(torch.stack(found), torch.stack([hand.step(replay), hand.step(replay)]))
        seen = torch.rand(3, 4, 10, 10) > 0.5
        first, terminal = torch.tensor([step == 0] * 3), torch.tensor([step == 7] * 3)
        replay.append(EVERYONE, seen, torch.tensor([0, 1, 2]), torch.rand(3), first=first, terminal=terminal)
    assert capture.repeated > 0


def test_another_replay_and_other_actions_are_recorded_anew() -> None:
    recipe = grid_recipe(replay_ratio=1.0)
    first, second = filled(recipe, EVERYONE), filled(recipe, EVERYONE, seed=1)
    engine, capture = graphed(agents(recipe))
    take(engine, first, 5)
    assert (capture.recorded, capture.repeated) == (1, 2)
    take(engine, second, 5)
    assert (capture.recorded, capture.repeated) == (2, 4)
    for agent in engine.agents:
        agent.plays(agent.space)  # as after an evaluation
    take(engine, second, 1)
    assert (capture.recorded, capture.repeated) == (2, 5)
    engine.agents[0].plays(engine.agents[1].space)
    take(engine, second, 4)
    assert (capture.recorded, capture.repeated) == (3, 6)


def test_an_odd_number_of_steps_is_taken() -> None:
    recipe = grid_recipe(replay_ratio=2.5)
    replay, hand = filled(recipe, EVERYONE), ByHand(agents(recipe))
    engine, capture = graphed(agents(recipe))
    for due in (2, 3, 2, 3, 2, 3):
        found = take(engine, replay, due)
        assert torch.equal(torch.stack(found), torch.stack([hand.step(replay) for _ in range(due)]))
    assert capture.repeated == 4


def test_a_method_acts_on_what_repeated_steps_have_learned() -> None:
    recipe = grid_recipe(replay_ratio=1.0)
    method = f"{PAIR} + from-scratch"
    replay, hand = filled(recipe, EVERYONE), ByHand(agents(recipe, method))
    engine, capture = graphed(agents(recipe, method))
    take(engine, replay, 8)
    for _ in range(8):
        hand.step(replay)
    for agent in (*engine.agents, *hand.agents):
        agent.keeping.new_game()  # a new network: counts begin at zero
    losses = take(engine, replay, 12)
    assert torch.equal(torch.stack(losses), torch.stack([hand.step(replay) for _ in losses]))
    assert capture.repeated == 5 + 11


def test_without_a_gpu_it_takes_plain_steps_and_is_taken_up_in_the_middle() -> None:
    recipe = grid_recipe(replay_ratio=2.0)
    replay = filled(recipe, EVERYONE)
    one, other = Graphed(agents(recipe, PAIR), 7), Graphed(agents(recipe, PAIR), 8)
    take(one, replay, 12)
    for agent, theirs in zip(other.agents, one.agents, strict=True):
        agent.load_state_dict(copy.deepcopy(theirs.state_dict()))
    other.load_state_dict(one.state_dict())
    assert torch.equal(torch.stack(take(one, replay, 12)), torch.stack(take(other, replay, 12)))
    pairs = zip(one.agents, other.agents, strict=True)
    assert all(same_weights(mine.target, theirs.target) for mine, theirs in pairs)


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what torch is asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def shifted_by_the_device(observations: Tensor, shifts: Tensor, padding: int) -> Tensor:
    shape = observations.shape
    rows = observations.reshape(-1, *shape[2:])
    return augmentation._by_gather(rows, shifts.flatten(0, 1), padding).view(shape)


def test_nothing_in_a_step_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = image_recipe(atoms=7, precision="bfloat16", clip=0.1)
    engine = Graphed(agents(recipe, PAIR), 0)
    replay = filled(recipe, EVERYONE)
    # As where these are on a GPU: what is read or chosen on the CPU otherwise is left to the device.
    monkeypatch.setattr(replay, "_elsewhere", True)
    monkeypatch.setattr(augmentation, "shifted", shifted_by_the_device)
    monkeypatch.setattr(stacked, "_all_on_cpu", lambda _: False)
    take(engine, replay, 4)
    work = engine._work(replay)
    with Calls() as calls:
        work()
    assert {"baddbmm", "_fused_adam_", "_foreach_lerp_", "unfold_backward", "gather", "rand"} <= calls.names
    waiting = {
        "_local_scalar_dense",
        "is_nonzero",
        "nonzero",
        "equal",
        "masked_select",
        "unique",
        "lift_fresh",
    }
    assert not calls.names & waiting


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_step": "linear(first=5, last=3, steps=10)"}, "n_step is linear"),
        ({"discount": "linear(first=0.9, last=0.99, steps=10)"}, "discount linear"),
        ({"replay": "prioritised"}, "replay is prioritised"),
    ],
)
def test_what_a_graph_cannot_follow_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graphed(agents(grid_recipe(**changes)), 0)


def test_a_replay_without_steps_is_refused() -> None:
    recipe = grid_recipe()
    with pytest.raises(ValueError, match="agent 0 has no step to sample"):
        Graphed(agents(recipe), 0).several(filled(recipe, EVERYONE, steps=2), 1)
