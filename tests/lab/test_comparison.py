"""What a comparison says of results whose means, differences and failures are known beforehand."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from scipy import stats

from hare_tortoise.lab.comparison import Comparison, Entry, compare
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.trial import Result
from tests.lab.synthetic_results import (
    growing_recipe,
    growing_results,
    judged_online,
    of_numbers,
    result,
    row,
    warm_recipe,
    warm_results,
    with_baselines,
)

SCRATCH = [0.90, 0.91, 0.92]
WARM = [0.88, 0.90, 0.87]


def small(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "small",
        "methods": ("from-scratch", "warm-start"),
        "epochs": 4,
        "seeds": 3,
    }
    return Recipe(**{**values, **changes})


def trials(
    recipe: Recipe, method: str, finals: list[float], budget: float = 1.0, **more: Any
) -> list[Result]:
    return [result(recipe, method, budget, seed, [f - 0.5, f], **more) for seed, f in enumerate(finals)]


def entry(comparison: Comparison, method: str, budget: float = 1.0) -> Entry:
    found = comparison.entry(method, budget)
    assert found is not None
    return found


def mean(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.mean


def test_figures_of_each_method() -> None:
    recipe = small()
    comparison = compare(recipe, trials(recipe, "from-scratch", SCRATCH) + trials(recipe, "warm-start", WARM))
    scratch, warm = entry(comparison, "from-scratch"), entry(comparison, "warm-start")
    assert mean(scratch.final) == pytest.approx(0.91)
    assert mean(scratch.average) == pytest.approx(0.91 - 0.25)
    assert mean(scratch.train) == pytest.approx(0.925)
    assert mean(scratch.hare) == pytest.approx(0.90)
    assert scratch.seconds == pytest.approx(2000 / 200_000)
    assert (scratch.samples, scratch.cost, warm.cost) == (2000, 1.0, 1.0)
    difference = warm.to("from-scratch")
    assert difference is not None
    oracle = stats.ttest_rel(WARM, SCRATCH).confidence_interval(0.95)
    assert (difference.final.low, difference.final.high) == pytest.approx((oracle.low, oracle.high))
    assert difference.average == difference.final
    assert difference.improvement == 0
    opposite = scratch.to("warm-start")
    assert opposite is not None
    assert opposite.final.mean == pytest.approx(-difference.final.mean)
    assert opposite.improvement == 1


def test_average_is_over_the_ends_of_chunks_only() -> None:
    recipe = small(methods=("from-scratch",))
    rows = (
        row(0, 0.1, samples=10, last=False),
        row(0, 0.5, samples=20),
        row(1, 0.1, samples=30, last=False),
        row(1, 0.9, samples=40),
    )
    results = [Result("small", "from-scratch", 1.0, seed, rows) for seed in range(3)]
    found = entry(compare(recipe, results), "from-scratch")
    assert mean(found.average) == pytest.approx(0.7)
    assert mean(found.final) == 0.9
    assert found.samples == 40


def budgets(*reached: float) -> Comparison:
    """Warm start whose differences to from scratch at full budget are given in points, one for each budget."""
    recipe = small(budgets=(0.1, 0.3, 1.0)[: len(reached)] if len(reached) < 3 else (0.1, 0.3, 1.0))
    recipe = recipe.replace(budgets=(0.1, 0.3, 1.0))
    results = []
    for budget, points in zip(recipe.budgets, reached, strict=True):
        results += trials(recipe, "from-scratch", [f - (1 - budget) / 10 for f in SCRATCH], budget)
        moved = [f + points / 100 + wobble for f, wobble in zip(SCRATCH, (-0.001, 0.0, 0.001), strict=True)]
        results += trials(recipe, "warm-start", moved, budget)
    return compare(recipe, results)


def headline(comparison: Comparison, method: str) -> tuple[float | None, bool]:
    assert comparison.headlines is not None
    found = next(line for line in comparison.headlines if line.method == method)
    return found.budget, found.known


def test_headline_is_the_smallest_budget_that_reaches_from_scratch() -> None:
    # t(2) = 4.303, s = 0.1 points: the lower bound lies 0.2484 points below the mean
    assert headline(budgets(-0.7, -0.7, 0.0), "warm-start") == (0.1, True)
    assert headline(budgets(-0.8, -0.7, 0.0), "warm-start") == (0.3, True)
    assert headline(budgets(-0.8, -0.8, -0.8), "warm-start") == (None, True)
    found = budgets(-0.8, -0.7, 0.0)
    assert headline(found, "from-scratch") == (1.0, True)
    assert found.headlines is not None
    assert found.headlines[1].cost == pytest.approx(0.3)


def test_reaching_needs_the_bound_not_only_the_mean() -> None:
    # the fault: judging by the mean would call −0.8 points reached within 1 point
    assert entry(budgets(-0.8, -0.8, -0.8), "warm-start").reaches is False
    assert entry(budgets(-0.7, -0.8, -0.8), "warm-start", 0.1).reaches is True


def test_margin_moves_the_headline() -> None:
    recipe = warm_recipe()
    results = warm_results(recipe)
    strict, lax = compare(recipe, results, margin=0.0), compare(recipe, results, margin=0.05)
    assert headline(strict, "warm-start") == (None, True)
    assert headline(lax, "warm-start") == (0.1, True)


def test_a_single_budget_has_no_headline() -> None:
    recipe = growing_recipe()
    assert compare(recipe, growing_results(recipe)).headlines is None


def test_without_from_scratch_at_full_budget_there_is_no_cost_and_no_headline() -> None:
    recipe = small(budgets=(0.1, 0.3))
    results = [r for b in recipe.budgets for m in recipe.methods for r in trials(recipe, m, SCRATCH, b)]
    found = compare(recipe, results)
    assert found.headlines is None
    assert found.reference is None
    assert entry(found, "warm-start", 0.3).cost is None
    assert entry(found, "warm-start", 0.3).samples == 600
    assert entry(found, "warm-start", 0.3).to("from-scratch") is not None
    assert entry(found, "warm-start", 0.3).reaches is None


def test_differences_at_full_and_at_the_same_budget() -> None:
    found = entry(budgets(-0.8, -0.7, 0.0), "warm-start", 0.1)
    full, same = found.to("from-scratch", 1.0), found.to("from-scratch")
    assert full is not None
    assert same is not None
    assert full.final.mean == pytest.approx(-0.008)
    assert same.final.mean == pytest.approx(-0.008 + 0.09)


def test_every_control_is_a_reference() -> None:
    recipe = growing_recipe()
    found = entry(compare(recipe, growing_results(recipe)), "hare-tortoise(decay=0.99, reset_every=100)")
    assert [d.reference for d in found.differences] == ["from-scratch", "warm-start", *recipe.methods[1:3]]


def test_a_failed_seed_is_counted_and_left_out_of_pairs() -> None:
    recipe = small(seeds=5)
    warm = trials(recipe, "warm-start", [0.5, 0.88, 0.88, 0.88, 0.88])
    warm[0] = dataclasses.replace(warm[0], failure="the loss is not finite at step 7")
    found = compare(recipe, trials(recipe, "from-scratch", [0.1, 0.88, 0.88, 0.88, 0.88]) + warm)
    failed = entry(found, "warm-start")
    assert failed.seeds == (1, 2, 3, 4)
    assert [(f.seed, f.reason, f.run) for f in failed.failures] == [
        (0, "the loss is not finite at step 7", f"{0:016x}")
    ]
    assert mean(failed.final) == pytest.approx(0.88)
    difference = failed.to("from-scratch")
    assert difference is not None
    assert difference.final == Estimate(0.0, 0.0, 0.0, 4)
    assert failed.reaches is False


def test_a_method_that_failed_on_every_seed_stays_in_the_comparison() -> None:
    recipe = small()
    warm = [dataclasses.replace(r, failure="diverged", rows=()) for r in trials(recipe, "warm-start", WARM)]
    found = entry(compare(recipe, trials(recipe, "from-scratch", SCRATCH) + warm), "warm-start")
    assert (found.final, found.cost, found.differences, found.seeds) == (None, None, (), ())
    assert len(found.failures) == 3
    assert found.reaches is False


def test_two_seeds_are_anecdotal() -> None:
    recipe = small(seeds=2, budgets=(0.5, 1.0))
    results = [r for b in recipe.budgets for m in recipe.methods for r in trials(recipe, m, SCRATCH[:2], b)]
    found = compare(recipe, results)
    difference = entry(found, "warm-start").to("from-scratch")
    assert difference is not None
    assert difference.final.anecdotal
    assert headline(found, "warm-start") == (None, False)


def test_missing_trials_are_named() -> None:
    recipe = small()
    found = compare(recipe, trials(recipe, "from-scratch", SCRATCH) + trials(recipe, "warm-start", WARM[:1]))
    assert entry(found, "warm-start").missing == (1, 2)


@pytest.mark.parametrize("failures", [False, True])
def test_json_round_trip(failures: bool) -> None:
    recipe = warm_recipe()
    results = warm_results(recipe)
    if failures:
        results[4] = dataclasses.replace(results[4], failure="diverged", rows=())
    found = compare(recipe, results)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Comparison.from_json(json.loads(text)) == found
    assert len(json.loads(text)["headlines"]) == len(recipe.methods)


def test_order_of_results_does_not_matter() -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    assert compare(recipe, results[::-1]) == compare(recipe, results)


def bad_input() -> list[tuple[str, list[Result], float, str]]:
    recipe = small()
    good = trials(recipe, "from-scratch", SCRATCH)
    short = result(recipe, "warm-start", 1.0, 0, [0.5])
    return [
        ("none", [], 0.01, "results: got none, expected finished trials of small"),
        ("margin in points", good, 1.0, r"margin: got 1.0, expected a share"),
        ("negative margin", good, -0.01, r"margin: got -0.01"),
        ("twice", [*good, good[0]], 0.01, "from-scratch at budget 1, seed 0 twice"),
        ("other recipe", [dataclasses.replace(good[0], recipe="x")], 0.01, "got one of recipe 'x'"),
        (
            "other method",
            [dataclasses.replace(good[0], method="ema")],
            0.01,
            "ema at budget 1, seed 0, which",
        ),
        ("other budget", [dataclasses.replace(good[0], budget=0.5)], 0.01, "not a trial of small"),
        ("other seed", [dataclasses.replace(good[0], seed=3)], 0.01, "not a trial of small"),
        ("no rows", [dataclasses.replace(good[0], rows=())], 0.01, "has no row at the end of a chunk"),
        ("other stream", [*good, short], 0.01, r"streams of \[1, 2\] chunks"),
    ]


@pytest.mark.parametrize("case", bad_input(), ids=lambda case: case[0])
def test_bad_input_is_named(case: tuple[str, list[Result], float, str]) -> None:
    _, results, margin, message = case
    with pytest.raises(ValueError, match=message):
        compare(small(), results, margin=margin)


def test_judged_online_the_online_accuracy_counts_everywhere() -> None:
    recipe = growing_recipe(judge="online")
    test, online = (
        compare(recipe.replace(judge=judge), judged_online(growing_results(recipe), less=0.2))
        for judge in ("test", "online")
    )
    assert (test.score, online.score) == ("accuracy", "online accuracy")
    for ours, theirs in zip(online.entries, test.entries, strict=True):
        assert mean(ours.final) == pytest.approx(mean(theirs.final) - 0.2)
        assert mean(ours.average) == pytest.approx(mean(theirs.average) - 0.2)
        assert mean(ours.hare) == pytest.approx(mean(ours.final) - 0.05)
        assert ours.train == theirs.train
        assert [d.final.mean for d in ours.differences] == pytest.approx(
            [d.final.mean for d in theirs.differences]
        )


def test_judged_online_needs_online_accuracies() -> None:
    with pytest.raises(ValueError, match="lacks the accuracy that demo-growing is judged by"):
        compare(growing_recipe(judge="online"), growing_results(growing_recipe()))


def test_of_numbers_it_is_r_squared() -> None:
    recipe = growing_recipe(judge="online")
    results = of_numbers(judged_online(growing_results(recipe)))
    assert compare(recipe, results).score == "online R²"
    assert compare(recipe.replace(judge="test"), results).score == "R²"


def test_baselines_are_predictors_beside_the_methods() -> None:
    recipe = small(seeds=4)
    results = [r for m, f in (("from-scratch", SCRATCH), ("warm-start", WARM)) for r in trials(recipe, m, f)]
    by_seed = (0.90, 0.93, 0.86)
    given = [with_baselines([r], {"same as last time": by_seed[r.seed]})[0] for r in results]
    comparison = compare(recipe, given)
    [baseline] = comparison.baselines
    assert (baseline.name, baseline.final.count) == ("same as last time", 3)
    assert baseline.final.mean == pytest.approx(sum(by_seed) / 3)
    difference = entry(comparison, "warm-start").to("same as last time")
    assert difference is not None
    oracle = stats.ttest_rel(WARM, by_seed).confidence_interval(0.95)
    assert (difference.final.low, difference.final.high) == pytest.approx((oracle.low, oracle.high))
    assert Comparison.from_json(json.loads(json.dumps(comparison.to_json()))) == comparison


def test_the_best_baseline_may_differ_over_the_stream_and_at_its_end() -> None:
    recipe = small(methods=("from-scratch",))
    results = [
        dataclasses.replace(
            r,
            rows=tuple(
                {**line, "baselines": known}
                for line, known in zip(r.rows, ({"a": 0.9, "b": 0.1}, {"a": 0.5, "b": 0.6}), strict=True)
            ),
        )
        for r in trials(recipe, "from-scratch", SCRATCH)
    ]
    comparison = compare(recipe, results)
    found = [comparison.best_baseline(average=average) for average in (True, False)]
    assert [each.name for each in found if each is not None] == ["a", "b"]


def test_a_baseline_that_is_missing_on_a_chunk_is_none() -> None:
    recipe = small(methods=("from-scratch",))
    results = [
        dataclasses.replace(r, rows=(r.rows[0], {**r.rows[1], "baselines": {"a": 0.5}}))
        for r in trials(recipe, "from-scratch", SCRATCH)
    ]
    assert compare(recipe, results).baselines == ()
