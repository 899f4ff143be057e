"""Agents learn, and it is the gradient steps that they learn by: minutes of training, so not among the usual tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hare_tortoise.rl.agent import build_agent
from hare_tortoise.rl.environments import make_environments
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.training import Training

pytestmark = [pytest.mark.learning, pytest.mark.timeout(7200)]
SEEDS = (0, 1, 2)
STEPS = 20_000


def trained(name: str, game: str, seed: int, **changes: Any) -> list[dict[str, Any]]:
    """The rows of a plain agent, one for each 1,000 steps."""
    torch.set_num_threads(1)
    recipe = find_agent(name).replace(**{"steps": STEPS, "replay_ratio": 1.0, **changes})
    environments = make_environments([game])
    agent = build_agent(recipe, environments.spaces[0], "nothing", seed)
    training = Training([agent], lambda _: environments, [seed])
    while not training.done:
        training.advance()
    return training.rows[0]


def mean_return(rows: list[dict[str, Any]]) -> float:
    """Of the episodes that ended in some rows."""
    ended = [row for row in rows if row["episodes"]]
    total = sum(row["return"] * row["episodes"] for row in ended)
    return float(total / sum(row["episodes"] for row in ended))


def breakout(seed: int, **changes: Any) -> float:
    """Mean training return of the last 10,000 steps."""
    return mean_return(trained("minatar", "minatar:breakout", seed, **changes)[10:])


def cart_pole(seed: int, **changes: Any) -> float:
    """Mean training return of the best 2,000 steps."""
    rows = trained("vector", "CartPole-v1", seed, **changes)
    return max(mean_return(rows[begin : begin + 2]) for begin in range(len(rows) - 1))


def test_breakout_of_minatar() -> None:
    """Random play has 0.5."""
    found = [breakout(seed) for seed in SEEDS]
    assert sum(found) / len(found) >= 2.5, found
    assert min(found) > 1.5, found


def test_breakout_of_minatar_without_gradient_steps() -> None:
    found = [breakout(seed, replay_ratio=0.0) for seed in SEEDS]
    assert sum(found) / len(found) < 2.5, found
    assert min(found) <= 1.5, found


def test_cart_pole() -> None:
    """Random play has 22."""
    found = [cart_pole(seed) for seed in SEEDS]
    assert min(found) >= 300, found


def test_cart_pole_without_gradient_steps() -> None:
    found = [cart_pole(seed, replay_ratio=0.0) for seed in SEEDS]
    assert max(found) < 300, found
