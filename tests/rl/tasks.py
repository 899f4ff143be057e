"""Short trials of agents to stop, kill and damage, and how their results are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.lab.store import Run, Store
from hare_tortoise.lab.trial import Engine, Result, Row
from hare_tortoise.rl import building, trial
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.session import Session
from hare_tortoise.rl.task import AgentTask
from hare_tortoise.rl.trial import AgentTrial, Judging, identity
from tests.rl.own_games import Picture, Walk

HERE = "tests.rl.tasks"
ROWS = 20
SMALL = {"hidden": 8, "batch": 4, "n_step": 3, "warm_up": 12, "steps": 50, "epsilon": 0.3}
EVERYTHING: dict[str, Any] = {
    "noisy": True,
    "acts": "online",
    "replay": "prioritised",
    "dueling": True,
    "atoms": 11,
    "act_every": 15,
    "n_step": "exponential(first=8, last=2, steps=20)",
    "discount": "horizon(first=0.9, last=0.99, steps=20)",
}
PAIR = "hare-tortoise(decay=0.9, reset_every=10, optimizer_state=reset)"

# recipe, changes, games, method
TRIALS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], str]] = {
    "pair": ("vector", {}, ("CartPole-v1",), PAIR),
    "everything": ("vector", EVERYTHING, ("CartPole-v1",), f"head-reset+{PAIR}"),
    "phases": (
        "minatar",
        {"steps": 30, "capacity": 22, "replay_ratio": 0.5},
        ("minatar:breakout", "minatar:asterix"),
        "shrink-perturb+redo(every=7)",
    ),
    "images": (
        "drq",
        {"steps": 40, "capacity": 18, "precision": "bfloat16", "replay_ratio": 0.5, "stack": 2},
        (f"{HERE}:pictures",),
        "nothing",
    ),
}


def trial_of(name: str, seed: int = 0, **changes: Any) -> AgentTrial:
    recipe, own, games, method = TRIALS[name]
    found = find_agent(recipe).replace(**{**SMALL, **own, **changes})
    return AgentTrial(
        found,
        games,
        method,
        seed,
        Judging(episodes=2, measure_every=ROWS, curve_every=ROWS, curve_episodes=1),
    )


def task_of(planned: AgentTrial, out: Path, *, checkpoint_every: float = 1000.0) -> AgentTask:
    engine = Engine()
    return AgentTask(planned, identity(planned, engine), out, engine, checkpoint_every)


def run_of(task: AgentTask) -> Run:
    return Store(task.out).run(task.identity)


def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a row every few steps, and tell after every step where the training is."""
    monkeypatch.setattr(trial, "ROWS_EVERY", ROWS)
    monkeypatch.setattr(building, "ROWS_EVERY", ROWS)
    tell = Session._tell

    def told(self: Session, now: float) -> bool:
        stop = tell(self, now)
        self.report_due = 0.0
        return stop

    monkeypatch.setattr(Session, "_tell", told)


def timeless(rows: Sequence[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def outcome(result: Result, task: AgentTask) -> tuple[Any, ...]:
    """All that must be the same: rows without the wall clock, and both networks as bytes."""
    content = run_of(task).load()
    assert content is not None
    weights = {
        f"{part}.{name}": weight.numpy().tobytes()
        for part in ("deployed", "online")
        for name, weight in content[part].items()
    }
    return timeless(result.rows), result.failure, weights


# --- games and an encoder that go wrong ----------------------------------------------------------------------------


def pictures() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Picture((44, 44), np.uint8), 9)


class Falls(Walk):
    """Fails at one step of all that are made in this process; None: never."""

    at: int | None = None
    made = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Falls.made += 1
        if Falls.made == Falls.at:
            raise ZeroDivisionError("the walker fell")
        return super().step(action)


def falls() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Falls(), 9)


class Spoilt(nn.Module):
    """An encoder whose features are NaN from its n-th forward with gradients on."""

    features = 4
    good = 10

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, self.features)
        self.left = self.good

    def forward(self, observations: Tensor) -> Tensor:
        self.left -= torch.is_grad_enabled()
        found: Tensor = self.layer(observations.flatten(1))
        return found * torch.nan if self.left < 0 else found


def spoilt(input_shape: tuple[int, ...]) -> nn.Module:
    return Spoilt(input_shape[0])


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
