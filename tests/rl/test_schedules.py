"""Schedules of counts: their formulas in float64, and how they are written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

from hare_tortoise.rl.schedules import (
    SCHEDULES,
    Schedule,
    constant,
    exponential,
    horizon,
    linear,
    read_schedule,
    whole,
)

COUNTS = [0, 1, 999, 1_000, 1_001, 3_500, 5_999, 6_000, 6_001, 10_000, 10**9]


def way(count: int, steps: int, after: int = 0) -> float:
    return min(max((count - after) / steps, 0.0), 1.0)


def interpolated(first: float, last: float, share: float) -> float:
    return (1 - share) * first + share * last


FORMULAS: list[tuple[Schedule, Callable[[int], float]]] = [
    (constant(0.5), lambda count: 0.5),
    (linear(1.0, 0.01, 5_000, 1_000), lambda count: interpolated(1.0, 0.01, way(count, 5_000, 1_000))),
    (linear(0.4, 1.0, steps=6_000), lambda count: interpolated(0.4, 1.0, way(count, 6_000))),
    (
        exponential(10, 3, steps=10_000),
        lambda count: math.exp(interpolated(math.log(10), math.log(3), way(count, 10_000))),
    ),
    (
        horizon(0.97, 0.997, 10_000),
        lambda count: 1 - math.exp(interpolated(math.log(0.03), math.log(0.003), way(count, 10_000))),
    ),
    (
        horizon(0.5, 0.9, steps=5_000, after=1_000),
        lambda count: 1 - math.exp(interpolated(math.log(0.5), math.log(0.1), way(count, 5_000, 1_000))),
    ),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=[str(schedule) for schedule, _ in FORMULAS])
def test_formula(schedule: Schedule, formula: Callable[[int], float]) -> None:
    for count in COUNTS:
        assert schedule(count) == pytest.approx(formula(count), rel=1e-12)


def test_ends_are_exact() -> None:
    for schedule in (linear(1.0, 0.01, 3, 2), exponential(10.0, 3.0, 3, 2), horizon(0.97, 0.997, 3, 2)):
        assert [schedule(count) for count in (0, 2)] == [schedule.first] * 2
        assert [schedule(count) for count in (5, 6)] == [schedule.last] * 2


def test_n_steps_of_bbf() -> None:
    # Where round(10 · 0.3^(count / 10,000)) falls by one, in closed form: 0.3^share is 0.95, 0.85, … 0.35.
    n_step = exponential(10, 3, steps=10_000)
    for number in range(10, 3, -1):
        at = 10_000 * math.log((number - 0.5) / 10) / math.log(0.3)
        assert whole(n_step(math.floor(at))) == number
        assert whole(n_step(math.ceil(at))) == number - 1


def test_annealing_is_of_one_minus_the_discount() -> None:
    # Half the way the horizon is the geometric mean of the two, 105.4 steps; along the discount itself it is 60.
    assert 1 / (1 - horizon(0.97, 0.997, 10_000)(5_000)) == pytest.approx(math.sqrt(1 / 0.03 / 0.003))


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in FORMULAS], ids=str)
def test_written_and_read(schedule: Schedule) -> None:
    assert read_schedule(str(schedule)) == schedule
    assert read_schedule(json.loads(json.dumps(schedule.state_dict()))) == schedule
    assert eval(repr(schedule), dict(SCHEDULES)) == schedule
    assert hash(schedule) == hash(read_schedule(str(schedule)))


def test_numbers_and_short_forms_are_read() -> None:
    assert read_schedule(3) == constant(3)
    assert read_schedule("0.99") == constant(0.99)
    assert read_schedule("linear(1.0, 0.1, steps=4)") == linear(1.0, 0.1, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linaer(first=1.0, last=0.0, steps=3)", "unknown schedule 'linaer'; did you mean 'linear'"),
        ("linear(first=1.0, last=0.0)", "a setting of linear\\(first, last, steps, after\\) is missing"),
        ("linear(first=1.0, last=0.0, steps=3, power=2)", "do not fit linear"),
        ("linear(1.0, 0.0, 3, 0, 5)", "do not fit linear"),
        ("linear(1.0, 0.0, 3, first=1.0)", "do not fit linear"),
        ("linear(first=1.0, last=0.0, steps=0)", "steps is 0, expected a whole number at least 1"),
        ("linear(first=1.0, last=0.0, steps=2.5)", "steps is 2.5"),
        ("linear(first=1.0, last=0.0, steps=3, after=-1)", "after is -1"),
        ("linear(first=True, last=0.0, steps=3)", "first is True"),
        ("exponential(first=10, last=0, steps=3)", "last is 0, expected a number above 0"),
        ("horizon(first=0.9, last=1.0, steps=3)", "last is 1.0, expected a discount in \\[0, 1\\)"),
        ("horizon(first=-0.1, last=0.9, steps=3)", "first is -0.1"),
        ("constant(value=none)", "value is 'none'"),
        ("nothing", "value is 'nothing'"),
    ],
)
def test_bad_schedules_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_schedule(text)


def test_bad_numbers_are_refused() -> None:
    for value in (float("nan"), float("inf"), True):
        with pytest.raises(ValueError, match="expected a finite number"):
            read_schedule(value)
    with pytest.raises(ValueError, match="the count is -1"):
        linear(1.0, 0.0, 3)(-1)
    with pytest.raises(ValueError, match="unknown schedule 'None'"):
        read_schedule({"first": 1.0})
