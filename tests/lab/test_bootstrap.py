"""The stratified bootstrap: against loops on the same resamples, against closed forms, and where it is too narrow."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit

from hare_tortoise.lab import resampling
from hare_tortoise.lab.aggregates import average_probability_of_improvement, iqm, mean, optimality_gap
from hare_tortoise.lab.bootstrap import (
    interval,
    interval_of_difference,
    interval_of_improvement,
    intervals_of_curve,
    intervals_of_profile,
    note,
    widened,
)
from hare_tortoise.lab.resampling import resample
from hare_tortoise.lab.statistics import Estimate

RNG = np.random.default_rng(11)
OURS, THEIRS = RNG.gamma(1.0, 0.7, (5, 7)), RNG.gamma(1.0, 0.6, (5, 7))
FEWER = THEIRS[:4]
NORMAL = float(ndtri(0.975))
Matrix = Any


def drawn(scores: Matrix, rows: Matrix) -> Matrix:
    """One resample, written out: run `rows[i, g]` of game g."""
    runs, games = rows.shape
    return np.array([[scores[rows[run, game]][game] for game in range(games)] for run in range(runs)])


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def assert_is(found: Estimate, value: float, values: list[float], level: float, count: int) -> None:
    assert found.mean == pytest.approx(value, abs=1e-12)
    assert found.low == pytest.approx(quantile(values, (1 - level) / 2), abs=1e-12)
    assert found.high == pytest.approx(quantile(values, (1 + level) / 2), abs=1e-12)
    assert found.count == count


@pytest.mark.parametrize("statistic", [iqm, partial(optimality_gap, gamma=0.5)])
def test_interval_is_that_of_loops(statistic: Any) -> None:
    rows = resample(5, 7, repeats=50, seed=4)
    values = [float(statistic(drawn(OURS, each))) for each in rows]
    found = interval(OURS, statistic, level=0.8, repeats=50, seed=4)
    assert_is(found, float(statistic(OURS)), values, 0.8, 5)
    assert interval(OURS, statistic, level=0.8, indices=rows) == found


def test_paired_difference_is_that_of_loops() -> None:
    rows = resample(5, 7, repeats=40, seed=2)
    values = [float(mean(drawn(OURS, each)) - mean(drawn(THEIRS, each))) for each in rows]
    found = interval_of_difference(OURS, THEIRS, mean, level=0.9, repeats=40, seed=2)
    assert_is(found, float(mean(OURS) - mean(THEIRS)), values, 0.9, 5)
    assert interval_of_difference(OURS, THEIRS, mean, level=0.9, indices=rows) == found


def test_unpaired_figures_are_those_of_loops() -> None:
    both = resample(5, 7, repeats=30, seed=1), resample(4, 7, repeats=30, seed=2)
    pairs = [(drawn(OURS, one), drawn(FEWER, other)) for one, other in zip(*both, strict=True)]
    found = interval_of_difference(OURS, FEWER, paired=False, level=0.9, indices=both)
    assert_is(found, float(iqm(OURS) - iqm(FEWER)), [float(iqm(a) - iqm(b)) for a, b in pairs], 0.9, 4)
    improved = interval_of_improvement(OURS, FEWER, level=0.9, indices=both)
    values = [float(average_probability_of_improvement(a, b)) for a, b in pairs]
    assert_is(improved, float(average_probability_of_improvement(OURS, FEWER)), values, 0.9, 4)


def test_profile_is_that_of_loops() -> None:
    rows, thresholds = resample(5, 7, repeats=30, seed=5), [0.2, 0.7, 2.0]
    found = intervals_of_profile(OURS, thresholds, level=0.9, repeats=30, seed=5)
    assert len(found) == 3
    for each, threshold in zip(found, thresholds, strict=True):
        values = [float(np.mean(drawn(OURS, one) > threshold)) for one in rows]
        assert_is(each, float(np.mean(threshold < OURS)), values, 0.9, 5)


def test_a_run_of_a_curve_is_drawn_whole() -> None:
    scores = np.stack([OURS, 2 * OURS, THEIRS])
    found = intervals_of_curve(scores, level=0.9, repeats=40, seed=3)
    assert found == [interval(each, level=0.9, repeats=40, seed=3) for each in scores]
    assert found[1].low is not None
    assert found[1].low == pytest.approx(2 * (found[0].low or 0.0), abs=1e-12)


def test_what_is_worked_on_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (
        interval(OURS, repeats=50, seed=1),
        interval_of_improvement(OURS, FEWER, repeats=50, seed=1),
        intervals_of_profile(OURS, [0.5], repeats=50, seed=1),
    )
    monkeypatch.setattr(resampling, "BLOCK", 7 * 5 * 4 * 3)  # blocks of 12 and of 3, which do not divide 50
    assert whole == (
        interval(OURS, repeats=50, seed=1),
        interval_of_improvement(OURS, FEWER, repeats=50, seed=1),
        intervals_of_profile(OURS, [0.5], repeats=50, seed=1),
    )


def test_resamples_are_even_and_drawn_for_each_game_by_itself() -> None:
    rows = resample(4, 3, repeats=4000, seed=7)
    assert rows.shape == (4000, 4, 3)
    counts = np.stack([(rows == run).sum(0) for run in range(4)])
    assert counts.sum() == rows.size
    # 4,000 draws at a quarter each: 1,000 with a deviation of 27
    assert np.abs(counts - 1000).max() < 140
    # two games hold the same run in a quarter of the places, as do two places of a game
    assert np.mean(rows[..., 0] == rows[..., 1]) == pytest.approx(0.25, abs=0.02)
    assert np.mean(rows[:, 0] == rows[:, 1]) == pytest.approx(0.25, abs=0.02)


def test_seeds_are_followed_and_the_global_generator_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.random(3).tolist()
    np.random.seed(5)
    first = interval(OURS, repeats=100, seed=1)
    assert np.random.random(3).tolist() == before
    assert interval(OURS, repeats=100, seed=1) == first
    assert interval(OURS, repeats=100, seed=2) != first
    assert interval(OURS, repeats=100) == interval(OURS, repeats=100, seed=0)
    # what is not paired is drawn apart: else alike methods would have no interval
    assert interval_of_difference(OURS, OURS, repeats=100) == Estimate(0.0, 0.0, 0.0, 5)
    apart = interval_of_difference(OURS, OURS, paired=False, repeats=100)
    assert apart.low is not None
    assert apart.low < -0.01
    assert interval_of_improvement(OURS, OURS, repeats=100).mean == 0.5


def test_the_default_is_ten_thousand_resamples_at_95_percent() -> None:
    small = OURS[:3, :2]
    assert interval(small) == interval(small, iqm, level=0.95, indices=resample(3, 2, repeats=10_000, seed=0))


def test_width_of_a_mean_in_closed_form() -> None:
    # the variance of a resampled mean is that of the sample, with n in the denominator, over n
    games = 40
    scores = np.random.default_rng(1).normal(size=(4, games)) * np.linspace(0.5, 1.5, games)
    spread = math.sqrt((scores.var(axis=0) / 4).sum()) / games
    found = interval(scores, mean)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(NORMAL * spread, rel=0.03)


def false_claims(runs: int, games: int, widen: bool, experiments: int = 200) -> float:
    """Share of experiments with two methods alike whose interval of the difference of the IQM leaves out zero."""
    rng = np.random.default_rng(10 * runs + games)
    spread, claims = np.exp(0.5 * rng.normal(size=games)), 0
    for seed in range(experiments):
        ours, theirs = (spread * rng.normal(size=(runs, games)) for _ in range(2))
        found = interval_of_difference(ours, theirs, repeats=300, seed=seed)
        claims += (widened(found, games) if widen else found).sign != 0
    return claims / experiments


@pytest.mark.parametrize(("runs", "games"), [(3, 2), (3, 12), (5, 3)])
def test_a_widened_interval_claims_no_more_than_it_says(runs: int, games: int) -> None:
    assert false_claims(runs, games, widen=False) > 0.07
    assert 0.015 < false_claims(runs, games, widen=True) < 0.085


def test_widening_in_closed_form() -> None:
    found = widened(Estimate(1.0, 0.8, 1.5, 4), games=2)
    by = math.sqrt(4 / 3) * float(stdtrit(6, 0.975)) / NORMAL
    assert found.low == pytest.approx(1 - 0.2 * by)
    assert found.high == pytest.approx(1 + 0.5 * by)
    assert (found.mean, found.count) == (1.0, 4)
    few = Estimate(1.0, None, None, 2)
    assert widened(few, games=2) == few


def coverage(runs: int, games: int, experiments: int = 400) -> float:
    """Share of experiments whose interval of the mean holds the true one, which is 0."""
    rng = np.random.default_rng(runs)
    held = 0
    for seed in range(experiments):
        found = interval(rng.normal(size=(runs, games)), mean, repeats=300, seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
    return held / experiments


def test_few_seeds_cover_too_little_as_the_note_says() -> None:
    assert coverage(3, 1) < 0.8
    assert 0.83 < coverage(3, 12) < 0.93
    assert coverage(30, 4) > 0.91


def test_the_note() -> None:
    assert note(3).startswith("3 seeds: the bootstrap interval is too narrow (by about 18 %, by more")
    assert note(9).startswith("9 seeds: the bootstrap interval is too narrow (by about 6 %")
    assert note(10) == note(100) == ""
    assert note(2) == "2 seeds: no interval; it takes 3 seeds at least"
    assert note(1) == "1 seed: no interval; it takes 3 seeds at least"


@pytest.mark.parametrize(
    "call",
    [
        interval,
        lambda scores: interval_of_difference(scores, scores),
        lambda scores: interval_of_difference(THEIRS, scores, paired=False),
        lambda scores: interval_of_improvement(OURS, scores),
        lambda scores: intervals_of_profile(scores, [0.5]),
        lambda scores: intervals_of_curve([scores]),
    ],
)
def test_fewer_than_three_seeds_are_refused(call: Callable[[Any], object]) -> None:
    call(OURS[:3])
    with pytest.raises(ValueError, match="got 2 runs of each game, expected at least 3 for an interval"):
        call(OURS[:2])


ROWS = resample(5, 7, repeats=6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval(OURS, level=95), r"level: got 95, expected a share"),
        (lambda: interval(OURS, repeats=0), r"repeats: got 0, expected a whole number of at least 1"),
        (lambda: interval(OURS, seed=-1), r"seed: got -1, expected a whole number of at least 0"),
        (
            lambda: interval(OURS[None]),
            r"scores: got an array of shape \(1, 5, 7\), expected \(runs, games\)",
        ),
        (
            lambda: interval(OURS, lambda scores: np.asarray(np.mean(scores))),
            r"statistic: got a result of shape \(\) for scores of shape",
        ),
        (lambda: interval(OURS, indices=ROWS, seed=0), r"repeats and seed: got one with indices"),
        (lambda: interval(OURS, indices=ROWS, repeats=6), r"repeats and seed: got one with indices"),
        (
            lambda: interval(OURS, indices=ROWS[:, :4]),
            r"indices: got int32 of shape \(6, 4, 7\), expected whole numbers of shape \(resamples, 5, 7\)",
        ),
        (lambda: interval(OURS, indices=ROWS[0]), r"indices: got int32 of shape \(5, 7\)"),
        (lambda: interval(OURS, indices=ROWS[:0]), r"indices: got int32 of shape \(0, 5, 7\)"),
        (lambda: interval(OURS, indices=ROWS.astype(float)), r"indices: got float64 of shape"),
        (lambda: interval(OURS, indices=ROWS + 1), r"indices: got numbers from 1 to 5, expected runs from 0"),
        (
            lambda: interval(OURS, indices=ROWS - 1),
            r"indices: got numbers from -1 to 3, expected runs from 0",
        ),
        (lambda: interval_of_difference(OURS, FEWER), r"ours and theirs: got 5 and 4 runs.*paired=False"),
        (lambda: interval_of_difference(OURS, THEIRS[:, :6]), r"ours and theirs: got 7 and 6 games"),
        (
            lambda: interval_of_difference(OURS, THEIRS, indices=(ROWS, ROWS)),
            r"indices: expected one array for paired runs.*got two with paired=True",
        ),
        (
            lambda: interval_of_difference(OURS, THEIRS, paired=False, indices=ROWS),
            r"indices: expected one array for paired runs.*got one with paired=False",
        ),
        (
            lambda: interval_of_improvement(OURS, THEIRS, indices=(ROWS, ROWS[:5])),
            r"indices: got 6 and 5 resamples, expected as many of both",
        ),
        (
            lambda: interval_of_improvement(OURS, FEWER, indices=(ROWS, ROWS)),
            r"indices of theirs: got int32 of shape \(6, 5, 7\)",
        ),
        (lambda: intervals_of_curve(OURS), r"scores: got an array of shape \(5, 7\), expected \(steps, runs"),
        (lambda: resample(0, 3), r"runs: got 0, expected a whole number"),
        (lambda: resample(3, 0), r"games: got 0, expected a whole number"),
        (lambda: note(0), r"seeds: got 0, expected the runs of a game"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
