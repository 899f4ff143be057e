"""Aggregates of scores: against figures that rliable gave, against loops in float64, against closed forms."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hare_tortoise.lab import aggregates
from hare_tortoise.lab.aggregates import (
    Scores,
    average_probability_of_improvement,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
)
from hare_tortoise.lab.bootstrap import (
    interval,
    interval_of_difference,
    interval_of_improvement,
    intervals_of_curve,
    intervals_of_profile,
)
from hare_tortoise.lab.statistics import Estimate

# Figures that rliable gave, made by rliable_oracle.py; another file of the same kind makes a larger check.
ORACLE = json.loads(
    Path(os.environ.get("RLIABLE_ORACLE", Path(__file__).with_name("rliable_oracle.json"))).read_text("utf-8")
)
CASES: dict[str, Any] = ORACLE["cases"]
close = partial(pytest.approx, rel=0.0, abs=1e-12)
Rows = list[list[float]]


def naive_iqm(rows: Rows) -> float:
    values = sorted(value for row in rows for value in row)
    cut = int(0.25 * len(values))
    inner = [value for place, value in enumerate(values) if cut <= place < len(values) - cut]
    return math.fsum(inner) / len(inner)


def naive_means(rows: Rows) -> list[float]:
    return [math.fsum(row[game] for row in rows) / len(rows) for game in range(len(rows[0]))]


def naive_median(rows: Rows) -> float:
    means = sorted(naive_means(rows))
    half = len(means) // 2
    return means[half] if len(means) % 2 else (means[half - 1] + means[half]) / 2


def naive_mean(rows: Rows) -> float:
    return math.fsum(naive_means(rows)) / len(rows[0])


def naive_gap(rows: Rows) -> float:
    values = [value for row in rows for value in row]
    return math.fsum(1.0 - (value if value < 1.0 else 1.0) for value in values) / len(values)


def naive_improvement(ours: Rows, theirs: Rows) -> float:
    total = 0.0
    for game in range(len(ours[0])):
        for mine in ours:
            for other in theirs:
                if mine[game] > other[game]:
                    total += 1.0
                elif mine[game] == other[game]:
                    total += 0.5
    return total / (len(ours) * len(theirs) * len(ours[0]))


def naive_profile(rows: Rows, thresholds: list[float]) -> list[float]:
    values = [value for row in rows for value in row]
    return [sum(1 for value in values if value > threshold) / len(values) for threshold in thresholds]


PAIRS: dict[Callable[[Any], Scores], Callable[[Rows], float]] = {
    iqm: naive_iqm,
    median: naive_median,
    mean: naive_mean,
    optimality_gap: naive_gap,
}


def matrices(runs: int | None = None, games: int | None = None) -> st.SearchStrategy[Any]:
    """Score matrices with many ties, and some values far out."""
    values = st.sampled_from([-3.0, 0.0, 0.1, 0.25, 0.3, 1.0, 1.5, 40.0]) | st.floats(-5.0, 5.0, width=32)
    sizes = st.tuples(
        st.integers(1, 6) if runs is None else st.just(runs),
        st.integers(1, 7) if games is None else st.just(games),
    )
    return sizes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


@pytest.mark.parametrize("name", CASES)
def test_figures_are_those_of_rliable(name: str) -> None:
    case = CASES[name]
    ours, theirs = case["ours"], case["theirs"]
    named = {each: float(getattr(aggregates, each)(ours)) for each in ORACLE["names"]}
    assert list(named.values()) == close(case["one"]["points"])
    assert float(optimality_gap(ours, gamma=0.5)) == close(case["gap_to_half"])
    differences = [named[each] - float(getattr(aggregates, each)(theirs)) for each in named]
    improvement = float(average_probability_of_improvement(ours, theirs))
    assert [*differences, improvement] == close(case["two"]["points"])
    profile = performance_profile(ours, ORACLE["thresholds"])
    assert profile.tolist() == close(case["profile"]["points"])


def test_the_cases_are_those_that_matter() -> None:
    assert {np.size(case["ours"]) % 4 for case in CASES.values()} == {0, 1, 2, 3}
    tied = CASES["ties"]
    assert set(np.ravel(tied["ours"])) & set(np.ravel(tied["theirs"]))
    assert CASES["alike"]["ours"] == CASES["alike"]["theirs"]
    assert len(CASES["other numbers of runs"]["ours"]) != len(CASES["other numbers of runs"]["theirs"])


def ends(found: list[Estimate]) -> tuple[list[float | None], list[float | None]]:
    return [each.low for each in found], [each.high for each in found]


@pytest.mark.parametrize("name", CASES)
def test_intervals_are_those_of_rliable_on_its_resamples(name: str) -> None:
    case, level = CASES[name], ORACLE["level"]
    ours, theirs = case["ours"], case["theirs"]
    statistics = [getattr(aggregates, each) for each in ORACLE["names"]]

    indices = np.array(case["one"]["indices"])
    low, high = ends([interval(ours, each, level=level, indices=indices) for each in statistics])
    assert low == close(case["one"]["low"])
    assert high == close(case["one"]["high"])

    both = (
        np.array([each[0] for each in case["two"]["indices"]]),
        np.array([each[1] for each in case["two"]["indices"]]),
    )
    found = [
        interval_of_difference(ours, theirs, each, paired=False, level=level, indices=both)
        for each in statistics
    ]
    low, high = ends([*found, interval_of_improvement(ours, theirs, level=level, indices=both)])
    assert low == close(case["two"]["low"])
    assert high == close(case["two"]["high"])

    indices = np.array(case["profile"]["indices"])
    found = intervals_of_profile(ours, ORACLE["thresholds"], level=level, indices=indices)
    low, high = ends(found)
    assert low == close(case["profile"]["low"])
    assert high == close(case["profile"]["high"])
    assert [each.mean for each in found] == close(case["profile"]["points"])


def test_curves_are_those_of_rliable_where_the_same_runs_are_drawn() -> None:
    # rliable draws other runs at each step, which changes no step taken by itself
    curve, level = ORACLE["curve"], ORACLE["level"]
    scores, indices = np.array(curve["scores"]), np.array(curve["indices"])
    for step in range(scores.shape[-1]):
        stepped = intervals_of_curve(scores[None, ..., step], level=level, indices=indices[..., step])
        assert stepped[0].mean == close(curve["points"][step])
        assert stepped[0].low == close(curve["low"][step])
        assert stepped[0].high == close(curve["high"][step])


@settings(max_examples=60)
@given(matrices())
def test_aggregates_are_those_of_loops(scores: Any) -> None:
    for ours, naive in PAIRS.items():
        assert float(ours(scores)) == close(naive(scores.tolist()))
    thresholds = [-3.0, 0.25, 0.3, 39.0]
    assert performance_profile(scores, thresholds).tolist() == close(
        naive_profile(scores.tolist(), thresholds)
    )


@settings(max_examples=40)
@given(st.integers(1, 5).flatmap(lambda games: st.tuples(matrices(games=games), matrices(games=games))))
def test_improvement_is_that_of_loops_and_mirrors(two: tuple[Any, Any]) -> None:
    ours, theirs = two
    found = float(average_probability_of_improvement(ours, theirs))
    assert found == close(naive_improvement(ours.tolist(), theirs.tolist()))
    assert found + float(average_probability_of_improvement(theirs, ours)) == close(1.0)


@pytest.mark.parametrize(
    ("count", "inner"), [(3, [0, 1, 2]), (4, [1, 2]), (7, [1, 2, 3, 4, 5]), (8, [2, 3, 4, 5])]
)
def test_what_is_trimmed(count: int, inner: list[int]) -> None:
    # powers of 10 tell which values were averaged
    scores = [[10.0**place] for place in reversed(range(count))]
    assert float(iqm(scores)) == sum(10.0**place for place in inner) / len(inner)


def test_median_is_over_games_of_means_over_runs() -> None:
    # the median over runs, or of all scores, would be 0
    assert float(median([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [0.0, 0.0, 0.0]])) == 3.0


def test_leading_axes_are_kept() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3, 2, 4))
    thresholds = [-1.0, 0.0]
    for each in PAIRS:
        assert each(ours).shape == (2, 3)
        assert float(each(ours)[1, 2]) == close(float(each(ours[1, 2])))
    improved = average_probability_of_improvement(ours, theirs)
    assert float(improved[1, 0]) == naive_improvement(ours[1, 0].tolist(), theirs[1, 0].tolist())
    profiles = performance_profile(ours, thresholds)
    assert profiles.shape == (2, 3, 2)
    assert profiles[0, 1].tolist() == naive_profile(ours[0, 1].tolist(), thresholds)


def test_scores_are_not_changed() -> None:
    scores = np.array([[3.0, 1.0], [2.0, 5.0], [0.0, 4.0]])
    for each in PAIRS:
        each(scores)
    assert scores.tolist() == [[3.0, 1.0], [2.0, 5.0], [0.0, 4.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iqm([1.0, 2.0]), r"scores: got an array of shape \(2,\), expected \(runs, games\)"),
        (lambda: median(np.zeros((0, 4))), r"scores: got an array of shape \(0, 4\), expected"),
        (lambda: mean([[1.0, 2.0], [3.0]]), r"scores: got what is no matrix .* leave out the seeds"),
        (lambda: mean([["a"]]), r"scores: got what is no matrix of numbers \(could not convert"),
        (lambda: iqm([[0.0, 1.0], [0.0, math.nan]]), r"scores: got nan in run 1 of game 1, expected finite"),
        (lambda: optimality_gap([[math.inf]]), r"scores: got inf in run 0 of game 0"),
        (lambda: optimality_gap([[1.0]], gamma=math.nan), r"gamma: got nan, expected a finite score"),
        (
            lambda: average_probability_of_improvement([[1.0]], [[1.0, 2.0]]),
            r"ours and theirs: got 1 and 2 games, expected the same games",
        ),
        (lambda: average_probability_of_improvement([[1.0]], [[math.nan]]), r"theirs: got nan in run 0"),
        (lambda: performance_profile([[1.0]], []), r"thresholds: got \[\], expected a row of finite"),
        (lambda: performance_profile([[1.0]], 0.5), r"thresholds: got 0\.5, expected a row of finite"),
        (lambda: performance_profile([[1.0]], [math.nan]), r"thresholds: got \[nan\]"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
