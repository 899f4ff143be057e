"""The gradient step of every recipe against formulas and loops in float64, over three updates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import CChain
from hare_tortoise.rl import update as updating
from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.environments import Space
from hare_tortoise.rl.network import prepare
from hare_tortoise.rl.recipes import AGENTS, find_agent
from hare_tortoise.rl.replay import Batch
from hare_tortoise.rl.update import Draws, Loop, update
from tests.rl.naive_agent import Oracle
from tests.rl.small_agents import ACTIONS, LEGAL, ROWS, SMALL, batches, generators, seen, small, step


def exact(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """Make an agent one of float64, and what it sees."""
    agent.online.double()
    agent.target.double()
    if agent.support is not None:
        agent.support = torch.linspace(-10, 10, 51, dtype=torch.float64)

    def doubles(observations: Tensor, shape: tuple[int, ...]) -> Tensor:
        scale = 255 if observations.dtype == torch.uint8 else 1
        return (observations.double() / scale).reshape(len(observations), *shape)

    monkeypatch.setattr(updating, "prepare", doubles)
    return agent


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-11)


CASES = [(name, name in ("drq-eps", "der", "sr-spr", "bbf-no-spr", "vector")) for name in AGENTS] + [
    ("drq", True)
]


@pytest.mark.parametrize(("name", "masked"), CASES, ids=str)
def test_three_updates_are_those_of_the_formulas(
    name: str, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, space = small(name)
    legal = LEGAL if masked else tuple(range(ACTIONS))
    known = Space(space.shape, space.dtype, len(legal), space.lives, legal)
    agent = exact(build_agent(recipe, known, "nothing", 0, actions=ACTIONS), monkeypatch)
    with torch.no_grad():  # so that the two networks differ from the beginning
        for weight in agent.target.parameters():
            weight.mul_(0.9)
    oracle = Oracle(recipe, agent.online.state_dict(), agent.target.state_dict(), list(legal))
    mine, theirs = generators(7), generators(7)
    for seed in range(3):
        found, given = step(agent, seed, *mine)
        rows, mean = oracle.update(given, *theirs)
        assert close(found.rows, torch.tensor(rows, dtype=torch.float64))
        assert close(found.mean, torch.tensor(mean, dtype=torch.float64))
        for network, expected in ((agent.online, oracle.online), (agent.target, oracle.target)):
            for key, tensor in network.state_dict().items():
                assert close(tensor, expected[key]), (seed, key)
    assert oracle.clipped == (recipe.clip is not None)
    assert agent.keeping.updates == 3


@pytest.mark.parametrize("name", ["drq", "drq-eps"])
def test_priorities_are_the_cross_entropies_or_the_sizes_of_the_errors(name: str) -> None:
    recipe, space = small(name)
    agent = build_agent(recipe, space, "nothing", 0)
    found, _ = step(agent, 0, *generators(3))
    large = found.priorities > 1
    huber = torch.where(large, found.priorities - 0.5, found.priorities.square() / 2)
    assert torch.allclose(found.rows, found.priorities if recipe.atoms else huber, rtol=1e-4)
    assert bool(large.any())
    assert not found.rows.requires_grad
    assert not found.mean.requires_grad


def test_bytes_are_divided_by_255_and_frames_become_channels() -> None:
    stacks = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).view(2, 3, 2, 2)
    assert torch.equal(prepare(stacks, (3, 2, 2)), stacks.float() / 255)
    planes = torch.rand(2, 1, 4, 3, 3) > 0.5
    assert torch.equal(prepare(planes, (4, 3, 3)), planes[:, 0].float())


def test_reduced_precision_is_near_to_the_whole_one() -> None:
    """Only the forward and backward pass are in bfloat16: weights, moments and losses are not."""
    recipe, space = small("drq")
    losses = []
    for precision in ("float32", "bfloat16"):
        agent = build_agent(recipe.replace(precision=precision, shift=0, intensity=0.0), space, "nothing", 0)
        losses.append([step(agent, seed, *generators(0))[0].mean for seed in range(3)])
        assert all(parameter.dtype == torch.float32 for parameter in agent.online.parameters())
    one, other = (torch.stack(each) for each in losses)
    assert torch.allclose(one, other, rtol=0.02)
    assert not torch.equal(one, other)


def test_the_engine_takes_each_agent_as_it_is_alone() -> None:
    recipe, space = small("drq-eps")
    together, alone = ([build_agent(recipe, space, "nothing", seed) for seed in (0, 1)] for _ in range(2))
    batch, _, _, _ = batches(recipe, space, 0)
    other, _, _, _ = batches(recipe, space, 1)
    both = Batch(*(torch.cat(pair) for pair in zip(vars(batch).values(), vars(other).values(), strict=True)))
    draws, single = ([torch.Generator().manual_seed(seed) for seed in (5, 6)] for _ in range(2))
    found = Loop(together).update(both, Draws(draws, draws))
    for place, agent in enumerate(alone):
        expected = update(agent, (batch, other)[place], single[place])
        assert torch.equal(found.mean[place], expected.mean)
        assert torch.equal(found.rows[place], expected.rows)
        for one, two in zip(agent.online.parameters(), together[place].online.parameters(), strict=True):
            assert torch.equal(one, two)


def losses(method: str, counted: Callable[[Agent], Tensor] | None = None) -> list[Tensor]:
    """Of three updates; less what `counted` says before each."""
    recipe, space = small("vector")
    agent = build_agent(recipe.replace(clip=None), space, method, 0)
    found = []
    for seed in range(3):
        less = 0.0 if counted is None else counted(agent)
        found.append(step(agent, seed, *generators(0))[0].mean - less)
    return found


def test_what_a_method_adds_to_the_loss_is_added() -> None:
    def half_squares(agent: Agent) -> Tensor:
        squares = [weight.detach().square().sum() for weight in agent.online.parameters()]
        return torch.stack(squares).sum() / 2

    plain = losses("nothing")
    told = losses("l2(strength=1.0)", half_squares)
    assert torch.allclose(told[0], plain[0], atol=1e-5)
    assert not torch.allclose(told[2], plain[2], atol=1e-3)  # its gradient has moved the weights


def test_churn_of_the_values_is_told_of_what_the_network_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Tensor, Tensor]] = []
    penalty = CChain.penalty

    def watched(self: CChain, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        given.append((inputs, outputs))
        return penalty(self, inputs, outputs, targets)

    monkeypatch.setattr(CChain, "penalty", watched)
    plain, told = losses("nothing"), losses("c-chain(distance=mse, ratio=None, strength=100.0)")
    assert torch.equal(plain[0], told[0])  # nothing was answered before
    assert float(told[2]) > 0
    assert not torch.equal(plain[2], told[2])
    assert [inputs.shape for inputs, _ in given] == [(ROWS, 4)] * 3
    assert all(outputs.requires_grad for _, outputs in given)


def test_dropout_of_ones_own_encoder_is_at_work_in_training_only() -> None:
    space = SMALL["mlp"][0]
    agent = build_agent(find_agent("vector").replace(encoder=f"{__name__}:dropping"), space, "nothing", 0)
    step(agent, 0, *generators(0))
    assert agent.online.training
    assert not agent.target.training
    stacks = seen(space, 3, 1, generator=torch.Generator())
    one, other = (agent.choose(stacks, 0.0, torch.Generator()) for _ in range(2))
    assert torch.equal(one, other)


def dropping(input_shape: tuple[int, ...]) -> nn.Module:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Dropout(0.5))
    encoder.features = 8  # type: ignore[assignment]
    return encoder
