"""Intervals: against scipy's own t-test, against closed forms, and their coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from hare_tortoise.lab.statistics import (
    Estimate,
    mean_interval,
    paired_difference,
    probability_of_improvement,
)


@pytest.mark.parametrize("seeds", [3, 4, 5, 10, 30])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_paired_difference_is_that_of_the_paired_t_test(seeds: int, level: float) -> None:
    rng = np.random.default_rng(seeds)
    ours, theirs = rng.normal(0.9, 0.02, seeds), rng.normal(0.88, 0.03, seeds)
    oracle = stats.ttest_rel(ours, theirs).confidence_interval(level)
    found = paired_difference(list(ours), list(theirs), level=level)
    assert found.low == pytest.approx(oracle.low, abs=1e-10)
    assert found.high == pytest.approx(oracle.high, abs=1e-10)
    assert found.mean == pytest.approx((ours - theirs).mean(), abs=1e-10)
    assert found.count == seeds


def test_interval_of_three_values_in_closed_form() -> None:
    # values 1, 2, 3: s = 1; with two degrees of freedom t = √2·(2p−1)/√(2p(1−p)·2) at p = 0.975
    p = 0.975
    quantile = (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.high is not None
    assert found.high == pytest.approx(2 + quantile / math.sqrt(3), rel=1e-12)
    assert found.half == pytest.approx(quantile / math.sqrt(3), rel=1e-12)


Interval = Callable[[list[float], list[float]], tuple[float, float]]


def coverage(interval: Interval, seeds: int, repeats: int = 3000) -> float:
    """Share of repeated experiments whose interval holds the true difference, which is 0.7 points."""
    rng = np.random.default_rng(20240601)
    held = 0
    for _ in range(repeats):
        shared = rng.normal(0.9, 0.02, seeds)
        ours = shared + 0.007 + rng.normal(0, 0.004, seeds)
        theirs = shared + rng.normal(0, 0.006, seeds)
        low, high = interval(list(ours), list(theirs))
        held += low <= 0.007 <= high
    return held / repeats


def ours(first: list[float], second: list[float]) -> tuple[float, float]:
    found = paired_difference(first, second)
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def normal(first: list[float], second: list[float]) -> tuple[float, float]:
    """The fault: 1.96 standard errors, whatever the number of seeds."""
    difference = np.array(first) - np.array(second)
    half = 1.96 * difference.std(ddof=1) / math.sqrt(len(difference))
    return difference.mean() - half, difference.mean() + half


def unpaired(first: list[float], second: list[float]) -> tuple[float, float]:
    """The fault: Welch's interval, as if the seeds were not shared."""
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    return float(found.low), float(found.high)


@pytest.mark.parametrize("seeds", [3, 5, 10, 30])
def test_coverage_is_close_to_its_level(seeds: int) -> None:
    assert 0.93 <= coverage(ours, seeds) <= 0.97


def test_coverage_test_finds_the_wrong_intervals() -> None:
    assert coverage(normal, 3) < 0.93
    assert coverage(unpaired, 10, repeats=500) > 0.97


def test_no_interval_below_three_seeds() -> None:
    for values in ([0.5], [0.5, 0.7]):
        found = mean_interval(values)
        assert found == Estimate(sum(values) / len(values), None, None, len(values))
        assert found.anecdotal
        assert found.half is None
        assert found.sign == 0


def test_identical_values_have_an_interval_without_width() -> None:
    assert mean_interval([0.1] * 7) == Estimate(0.1, 0.1, 0.1, 7)
    # 0.3 − 0.2 and 0.2 − 0.1 differ in their last bits, not as accuracies
    assert paired_difference([0.3, 0.2, 0.4], [0.2, 0.1, 0.3]) == Estimate(0.1, 0.1, 0.1, 3)
    same = paired_difference([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert same == Estimate(0.0, 0.0, 0.0, 3)
    assert same.sign == 0


def test_sign_is_zero_unless_the_whole_interval_is_on_one_side() -> None:
    assert Estimate(1.0, 0.1, 1.9, 5).sign == 1
    assert Estimate(-1.0, -1.9, -0.1, 5).sign == -1
    assert Estimate(1.0, -0.1, 2.1, 5).sign == 0
    assert Estimate(1.0, 0.0, 2.0, 5).sign == 0


def test_probability_of_improvement_counts_pairs_not_all_against_all() -> None:
    first, second = [0.9, 0.8, 0.7, 0.6], [0.8, 0.7, 0.6, 0.6]
    assert probability_of_improvement(first, second) == 3.5 / 4
    every = stats.mannwhitneyu(first, second).statistic / 16
    assert every != 3.5 / 4
    assert probability_of_improvement([0.1 + 0.2], [0.3]) == 0.5
    mirrored = probability_of_improvement(second, first)
    assert mirrored == 1 - 3.5 / 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), r"values: got an array of shape \(0,\)"),
        (lambda: mean_interval([1.0, math.nan, 2.0]), r"values: got \[1.0, nan, 2.0\], expected finite"),
        (lambda: mean_interval([1.0, 2.0], level=95), r"level: got 95, expected a share"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), r"ours and theirs: got 2 and 1 values"),
        (lambda: paired_difference([1.0], [math.inf]), r"theirs: got \[inf\]"),
        (lambda: probability_of_improvement([], []), r"ours: got an array of shape"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_estimate_survives_json() -> None:
    for estimate in (Estimate(0.5, 0.25, 0.75, 5), Estimate(0.5, None, None, 2)):
        assert Estimate.from_json(estimate.to_json()) == estimate
