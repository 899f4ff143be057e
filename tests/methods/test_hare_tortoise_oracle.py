"""Random histories of steps, skips, resets, saves and swaps, against a few lines of float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hare_tortoise.methods import Change, HareTortoise, power_law, warmup

EVENTS = ("step", "step", "step", "skip", "unknown", "reset", "resume", "lend", "whole", "double")
SCHEDULES: dict[str, Any] = {"0.9": 0.9, "0": 0.0, "warmup": warmup(0.8), "power": power_law(0.7, 2.0, 0.95)}


class Oracle:
    """Scalars, in the order of the paper: average, then reset."""

    def __init__(self, decay: Any, every: int | None) -> None:
        self.decay, self.every = decay, every
        self.hare = self.slow = 1.0
        self.steps = 0
        self.due = every

    def step(self, move: float) -> None:
        self.hare += move
        self.steps += 1
        decay = self.decay if isinstance(self.decay, float) else float(self.decay(self.steps))
        self.slow = decay * self.slow + (1 - decay) * self.hare
        if self.due is not None and self.steps == self.due:
            self.hare = self.slow
            self.due = self.steps + (self.every or 0)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=25, database=None)
@given(events=st.lists(st.sampled_from(EVENTS), max_size=40), every=st.sampled_from([None, 1, 2, 3, 7]))
def test_any_history(name: str, events: list[str], every: int | None) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)

    def build() -> HareTortoise:
        return HareTortoise(model, decay=SCHEDULES[name], reset_every=every)

    def double(weights: Any) -> None:
        for tensor in weights.values():
            tensor.mul_(2.0)

    pair, oracle = build(), Oracle(SCHEDULES[name], every)
    generator = torch.Generator().manual_seed(0)
    for event in events:
        move = float(torch.randn((), generator=generator))
        if event in ("step", "unknown"):
            with torch.no_grad():
                model.weight.add_(move)
            # "unknown": the host cannot know that this step was taken.
            pair.after_step(torch.zeros(()) if event == "unknown" else None)
            oracle.step(move)
        elif event == "skip":
            pair.after_step(torch.ones(()))
        elif event == "reset":
            pair.reset()
            oracle.hare = oracle.slow
        elif event == "resume":
            state = pair.state_dict()
            pair.detach()
            pair = build()
            pair.load_state_dict(state)
        elif event == "lend":
            with pair.deployed_weights():
                assert_close(model.weight, oracle.slow)
        elif event == "whole":
            with torch.no_grad():
                model.weight.add_(move)
            pair.weights_changed(Change(double, whole=True))
            oracle.hare += move
            oracle.slow, oracle.steps, oracle.due = oracle.hare, 0, every
        else:
            with torch.no_grad():
                model.weight.mul_(2.0)
            pair.weights_changed(Change(double))
            oracle.hare, oracle.slow = 2 * oracle.hare, 2 * oracle.slow
        assert_close(model.weight, oracle.hare)
        assert_close(pair.tortoise.get_parameter("weight"), oracle.slow)
    assert pair.steps == oracle.steps


def assert_close(tensor: Tensor, expected: float) -> None:
    assert float(tensor.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-9)
