"""A method that keeps what it sees of units, for tests of how it sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.methods.support.taps import Observation, Statistic
from hare_tortoise.methods.support.unit_method import UnitMethod
from hare_tortoise.methods.support.units import Units


class Recorder(UnitMethod):
    """Keeps what it saw at each step, and counts the steps for each unit."""

    statistics: tuple[Statistic, ...] = ("magnitude", "mean", "fired")

    def __init__(self, model: nn.Module, optimizer: Any = None, **settings: Any) -> None:
        super().__init__(model, optimizer, **settings)
        self.seen: list[dict[str, Observation | None]] = []

    def start(self, units: Units, device: torch.device) -> dict[str, Tensor]:
        return {"age": torch.zeros(units.size, device=device)}

    def act(self, skipped: Tensor | bool | None) -> None:
        self.seen.append({name: self.observation(name) for name in self.groups})
        for kept in self.memory.values():
            kept["age"] += 1


class Gradients(Recorder):
    observes = "gradients"
    statistics = ("magnitude",)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def step(model: nn.Module, method: UnitMethod, *batches: Tensor) -> None:
    for inputs in batches:
        model(inputs).square().sum().backward()
    method.after_step()


def seen(method: Recorder, name: str, at: int = -1) -> Observation:
    found = method.seen[at][name]
    assert found is not None
    return found
