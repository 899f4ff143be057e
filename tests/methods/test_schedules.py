"""Schedules: their formulas in float64, on ints and tensors, scaled, saved, written by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hare_tortoise.methods import Schedule, geometric, horizon, karras, portion, power_law, switch, warmup
from hare_tortoise.methods.schedules import saved, scaled_decay

STEPS = [1, 2, 3, 10, 99, 1000, 12_345, 1_000_000]
FORMULAS: list[tuple[Schedule, Any]] = [
    (warmup(0.99), lambda t: min(0.99, (1 + t) / (10 + t))),
    (power_law(), lambda t: min(0.9999, 1 - (1 + t) ** (-2 / 3))),
    (power_law(power=0.75, inv_gamma=20.0, max_decay=0.99), lambda t: min(0.99, 1 - (1 + t / 20) ** -0.75)),
    (karras(0.1), lambda t: (1 - 1 / t) ** (gamma(0.1) + 1)),
    (karras(0.05), lambda t: (1 - 1 / t) ** (gamma(0.05) + 1)),
    (horizon(0.1, steps=500), lambda t: 1 - 1 / 50),
    (horizon(0.1, steps=500, warm=True), lambda t: min(1 - 1 / 50, (1 + t) / (10 + t))),
    (horizon(0.1, warm=True), lambda t: (1 + t) / (10 + t)),
    (portion(0.1, steps=500), lambda t: 50),
    (geometric(first=100, factor=2.0, period=1000), lambda t: 100 * 2 ** (t / 1000)),
    (switch(100, 1000, at=99), lambda t: 100 if t <= 99 else 1000),
]


def gamma(width: float) -> float:
    """The largest root of `(γ + 2)²(γ + 3) = (γ + 1) / width²`, by Newton's method from above."""
    x = 2 / width
    for _ in range(100):
        value = (x + 2) ** 2 * (x + 3) - (x + 1) / width**2
        x -= value / (2 * (x + 2) * (x + 3) + (x + 2) ** 2 - 1 / width**2)
    return x


@pytest.mark.parametrize(
    ("schedule", "formula"), FORMULAS, ids=[f"{schedule}"[:40] for schedule, _ in FORMULAS]
)
@pytest.mark.parametrize("step", STEPS)
def test_formula(schedule: Schedule, formula: Any, step: int) -> None:
    expected = formula(step)
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    on_device = schedule(torch.tensor(float(step), dtype=torch.float64))
    assert float(on_device) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.15, 0.25, 0.28])
def test_karras_profile_has_the_width(width: float) -> None:
    # The weights of the average after n steps, from the decays alone.
    schedule, n = karras(width), 4000
    weights, rest = [], 1.0
    for step in range(n, 0, -1):
        decay = float(schedule(step))
        weights.append((step, rest * (1 - decay)))
        rest *= decay
    mean = sum(step * weight for step, weight in weights)
    deviation = math.sqrt(sum((step - mean) ** 2 * weight for step, weight in weights))
    assert deviation / n == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize("schedule", [item for item, _ in FORMULAS], ids=str)
def test_written_by_name_and_saved(schedule: Schedule) -> None:
    names = {kind.__name__: kind for kind in (warmup, power_law, karras, horizon, geometric, portion, switch)}
    assert eval(str(schedule), names) == schedule
    state = dict(saved(schedule))
    assert names[state.pop("name")](**state) == schedule
    assert repr(schedule) == str(schedule)


def test_scaled() -> None:
    assert warmup(0.99).scaled(0.1) == warmup(0.9)
    assert warmup(0.5).scaled(0.1) == warmup(0.0)
    assert karras(0.1).scaled(0.3) == karras(0.1)
    assert switch(100, 1000, at=50).scaled(0.1) == switch(10, 100, at=5)
    assert geometric(first=100, factor=3.0, period=50).scaled(2.0) == geometric(
        first=200, factor=3.0, period=100
    )
    assert horizon(0.1, steps=100).scaled(0.5) == horizon(0.1, steps=50)
    assert horizon(0.1).scaled(0.5) == horizon(0.1)
    assert horizon(0.1, steps=100, warm=True).scaled(0.5) == horizon(0.1, steps=50, warm=True)
    assert portion(0.1, steps=100).scaled(0.5) == portion(0.1, steps=50)
    assert portion(0.1).scaled(0.5) == portion(0.1)


@pytest.mark.parametrize("power", [0.5, 2 / 3, 0.75, 1.0])
@pytest.mark.parametrize("budget", [0.1, 0.3, 3.0])
def test_scaled_power_law_keeps_the_horizon_as_a_share(power: float, budget: float) -> None:
    schedule = power_law(power=power, max_decay=1 - 1e-9)
    scaled = schedule.scaled(budget)
    step = 1e9
    whole = 1 / (1 - float(schedule(int(step)))) / step
    short = 1 / (1 - float(scaled(int(step * budget)))) / (step * budget)
    assert short == pytest.approx(whole, rel=1e-3)


def test_a_decay_keeps_its_horizon_as_a_share() -> None:
    assert scaled_decay(0.999, 0.1) == 0.99
    assert scaled_decay(0.9, 2.0) == 0.95
    assert scaled_decay(0.9, 0.01) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: warmup(1.0), r"decay is 1.0, expected a number in \[0, 1\)"),
        (lambda: power_law(power=0), "power is 0, expected a finite number above 0"),
        (lambda: power_law(inv_gamma=-1.0), "inv_gamma is -1.0"),
        (lambda: power_law(max_decay=1.0), "max_decay is 1.0"),
        (lambda: karras(0.3), "width is 0.3"),
        (lambda: karras(0.0), "width is 0.0"),
        (lambda: horizon(0.0), "share is 0.0"),
        (lambda: horizon(0.1, steps=0), "steps is 0"),
        (lambda: horizon(0.1)(1), "steps is None, expected a number"),
        (lambda: portion(-1.0), "share is -1.0"),
        (lambda: portion(0.1, steps=0), "steps is 0"),
        (lambda: portion(0.1)(1), "steps is None, expected a number"),
        (lambda: geometric(first=0, factor=1, period=1), "first is 0"),
        (lambda: switch(1, math.inf, at=1), "after is inf"),
        (lambda: warmup(0.9).scaled(0.0), "budget is 0.0"),
        (lambda: karras(0.1).scaled(-1.0), "budget is -1.0"),
    ],
)
def test_bad_values(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
