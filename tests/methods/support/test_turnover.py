"""Turnover against a count of ages, unit by unit and step by step, in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hare_tortoise.methods.support.turnover import Turnover


def by_ages(size: int, rate: str, maturity: int, steps: int) -> dict[int, int]:
    """How many units are replaced at which step; which ones does not matter, so the oldest are."""
    ages, owed, found = [0] * size, Fraction(0), {}
    for step in range(1, steps + 1):
        ages = [age + 1 for age in ages]
        mature = sum(age > maturity for age in ages)
        owed += Fraction(rate) * mature
        count = int(owed)
        if count:
            owed -= count
            ages = sorted(ages)
            ages[size - count :] = [0] * count
            found[step] = count
    return found


def by_turnover(size: int, rate: str, maturity: int, steps: int) -> dict[int, int]:
    turnover, found = Turnover(size, float(rate), maturity), {}
    while turnover.due is not None and turnover.due <= steps:
        due = turnover.due
        found[due] = turnover.take()
    return found


@pytest.mark.parametrize("size", [1, 3, 10, 64])
@pytest.mark.parametrize("rate", ["0", "0.01", "0.07", "0.1", "0.3", "1"])
@pytest.mark.parametrize("maturity", [0, 1, 5, 40])
def test_as_many_are_due_as_their_ages_say(size: int, rate: str, maturity: int) -> None:
    assert by_turnover(size, rate, maturity, 300) == by_ages(size, rate, maturity, 300)


def test_something_is_due() -> None:
    """Or else the test above could not fail."""
    assert by_ages(10, "0.05", 3, 12) == {5: 1, 8: 1, 10: 1, 12: 1}
    assert by_ages(4, "1", 1, 6) == {2: 4, 4: 4, 6: 4}


def test_a_rare_replacement_is_found_at_once() -> None:
    assert Turnover(10, 1e-9, 100).due == 100 + 10**8
    assert Turnover(10, 0.0, 0).due is None
    assert Turnover(0, 0.1, 0).due is None


def test_a_state_goes_on() -> None:
    whole, half = Turnover(10, 0.07, 5), Turnover(10, 0.07, 5)
    for _ in range(7):
        whole.take()
        half.take()
    loaded = Turnover(10, 0.07, 5)
    loaded.load_state_dict(half.state_dict())
    assert [(whole.due, whole.take()) for _ in range(20)] == [(loaded.due, loaded.take()) for _ in range(20)]
