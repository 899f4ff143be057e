"""The sentence says what the intervals say: it is built here on results whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.sentence import notes, sentence
from hare_tortoise.lab.trial import Result
from tests.lab.synthetic_results import (
    growing_recipe,
    growing_results,
    judged_online,
    of_numbers,
    result,
    warm_recipe,
    warm_results,
    with_baselines,
)

WOBBLE = (-0.001, 0.0, 0.001, -0.0005, 0.0005)


def known(points: Mapping[str, float], *, seeds: int = 5, scale: str = "own") -> Comparison:
    """One budget, two chunks; each method lies so many points from from scratch, give or take 0.1 point."""
    recipe = growing_recipe(name="mine", methods=tuple(points), seeds=seeds, scale=scale)
    results: list[Result] = []
    for place, (method, distance) in enumerate(points.items()):
        for seed in range(seeds):
            value = 0.8 + distance / 100 + (WOBBLE[(seed + place) % 5] if place else 0.0)
            results.append(result(recipe, method, 1.0, seed, [value, value]))
    return compare(recipe, results)


def test_above_below_and_level() -> None:
    text = sentence(known({"from-scratch": 0, "head-reset": 2, "warm-start": -2, "l2-init": 0}))
    assert text.startswith("mine, 5 seeds: on average over the stream, in points, ")
    assert "head reset (+2.0 ± 0.1) lies above from scratch" in text
    assert "warm start (−2.0 ± 0.1) lies below it" in text
    assert "no difference to it is shown for L2 Init (0.0 ± 0.1)" in text
    assert text.endswith(".")


def test_a_gain_that_the_control_has_too_is_not_credited_to_continuing() -> None:
    text = sentence(known({"from-scratch": 0, "from-scratch+ema": 3, "ema": 3}))
    assert "against the best control, from scratch + EMA, EMA stands at 0.0 ± " in text
    assert "so that gain is not credited to continuing" in text
    assert "gains more" not in text


def test_a_gain_below_the_control_is_not_credited_either() -> None:
    text = sentence(known({"from-scratch": 0, "from-scratch+ema": 3, "ema": 2, "head-reset": 1}))
    assert "so those gains are not credited to continuing" in text


def test_the_best_control_counts_not_the_like_named_one() -> None:
    # the fault: comparing EMA with from scratch + EMA alone would credit continuing with 2 points
    text = sentence(
        known({"from-scratch": 0, "from-scratch+ema": 1, "from-scratch+hare-tortoise": 3, "ema": 3})
    )
    assert "best control, from scratch + Hare & Tortoise" in text
    assert "not credited to continuing" in text


def test_a_gain_beyond_every_control_is_said() -> None:
    text = sentence(known({"from-scratch": 0, "from-scratch+ema": 1, "ema": 3, "head-reset": 1}))
    assert "EMA stands at +2.0 ± " in text
    assert "so only EMA gains more than any control" in text


def test_without_controls_it_stays_open() -> None:
    text = sentence(known({"from-scratch": 0, "ema": 3}))
    assert "without from-scratch controls it stays open whether continuing has a part in that" in text


def test_no_gain_no_word_about_controls() -> None:
    text = sentence(known({"from-scratch": 0, "from-scratch+ema": 3, "ema": 0}))
    assert "control" not in text


def test_budgets_and_where_from_scratch_is_reached() -> None:
    recipe = warm_recipe()
    comparison = compare(recipe, warm_results(recipe))
    text = sentence(comparison)
    assert "at full budget warm start ends 1.4 ± 0.4 points below from scratch" in text
    assert comparison.headlines is not None
    for line in comparison.headlines:
        if line.method == "warm-start":
            assert line.budget is None
    assert "; warm start, EMA and L2 Init never come within 1 point of it" in text
    assert text.index("at 10 % of its cost by") < text.index("at 30 % of its cost by")
    assert "(within 1 point)" in text
    two = ("from-scratch", "warm-start")
    only = compare(recipe.replace(methods=two), [r for r in warm_results(recipe) if r.method in two])
    assert "warm start never comes within 1 point of from scratch at full budget" in sentence(only)
    assert "within 2 points" in sentence(compare(recipe, warm_results(recipe), margin=0.02))


def test_warm_start_is_only_below_where_its_interval_is() -> None:
    recipe = warm_recipe(methods=("from-scratch", "warm-start"), budgets=(0.5, 1.0))
    results = [
        result(
            recipe, method, budget, seed, [0.5, 0.9 + (WOBBLE[seed] * 5 - 0.002 if "warm" in method else 0)]
        )
        for method in recipe.methods
        for budget in recipe.budgets
        for seed in range(5)
    ]
    text = sentence(compare(recipe, results))
    assert "at full budget no difference to from scratch is shown for warm start (−0.2 ± 0.5 points)" in text
    assert "below" not in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_are_anecdotal(seeds: int) -> None:
    text = sentence(known({"from-scratch": 0, "ema": 9}, seeds=seeds))
    assert f"mine, {seeds} seed{'s' if seeds > 1 else ''}: anecdotal" in text
    assert "EMA" not in text


def test_without_from_scratch_nothing_is_concluded() -> None:
    assert "without from scratch" in sentence(known({"warm-start": 0, "ema": 9}))


def test_scale_is_said() -> None:
    assert "scaled down (desk)" in sentence(known({"from-scratch": 0, "ema": 0}, scale="desk"))
    for scale in ("own", "paper"):
        comparison = known({"from-scratch": 0, "ema": 0}, scale=scale)
        assert "scaled" not in sentence(comparison)
        assert not any("Scaled" in note.text for note in notes(comparison))


def test_failures_are_said_and_noted() -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    for at in (3, 12, 21):
        results[at] = dataclasses.replace(results[at], failure="the loss is not finite at step 7")
    comparison = compare(recipe, results)
    text = sentence(comparison)
    assert "of warm start too few seeds finished" in text
    assert text.endswith("3 failed trials are left out.")
    text = " ".join(note.text for note in notes(comparison) if note.warning)
    assert (
        "warm start at budget 100 %: 3 of 5 seeds failed: seed 0 (the loss is not finite at step 7)" in text
    )
    assert any("warm start at budget 100 %: 2 seeds, anecdotal" in str(note) for note in notes(comparison))


def test_missing_seeds_are_noted() -> None:
    recipe = growing_recipe()
    comparison = compare(recipe, growing_results(recipe)[:-1])
    assert any(
        "Hare & Tortoise at budget 100 %: 1 of 5 seeds were not run" in note.text
        for note in notes(comparison)
    )


def beside(points: Mapping[str, float], baseline: float) -> Comparison:
    """As `known`, beside a predictor that learns nothing, so many points from from scratch."""
    recipe = growing_recipe(name="mine", methods=tuple(points))
    results = [
        result(
            recipe,
            method,
            1.0,
            seed,
            [0.8 + distance / 100 + (WOBBLE[(seed + place) % 5] if place else 0.0)] * 2,
        )
        for place, (method, distance) in enumerate(points.items())
        for seed in range(5)
    ]
    return compare(recipe, with_baselines(results, {"same as last time": 0.8 + baseline / 100, "guess": 0.1}))


def test_a_method_below_a_predictor_that_learns_nothing_is_credited_with_nothing() -> None:
    # the fault: 3 points above from scratch would pass for a gain where doing nothing gives 5
    text = sentence(beside({"from-scratch": 0, "from-scratch+ema": 1, "head-reset": 3, "warm-start": -1}, 5))
    assert "above from scratch" not in text
    assert "control" not in text
    assert "head reset (−2.0 ± 0.1), from scratch + EMA (−4.0 ± 0.1), from scratch (−5.0 ± 0.0)" in text
    assert "against same as last time (no network), which learns nothing, " in text
    assert "lie below it and count as no gain" in text


def test_methods_above_a_predictor_that_learns_nothing_keep_their_credit() -> None:
    text = sentence(beside({"from-scratch": 0, "from-scratch+ema": 1, "head-reset": 3, "l2-init": 0.5}, 0.5))
    assert (
        "head reset (+3.0 ± 0.1), from scratch + EMA (+1.0 ± 0.1) and L2 Init (+0.5 ± 0.1) lie above from"
        in text
    )
    assert "head reset (+2.5 ± 0.1) and from scratch + EMA (+0.5 ± 0.1) lie above" in text
    assert "no difference to it is shown for L2 Init (0.0 ± 0.1)" in text
    assert "from scratch (−0.5 ± 0.0) lies below it and counts as no gain" in text
    assert "so only head reset gains more than any control" in text


def test_reaching_from_scratch_counts_only_above_doing_nothing() -> None:
    recipe = warm_recipe()
    results = warm_results(recipe)
    assert "is reached (within 1 point) at 10 %" in sentence(
        compare(recipe, with_baselines(results, {"last": 0.5}))
    )
    text = sentence(compare(recipe, with_baselines(results, {"last": 0.999})))
    assert "is reached" not in text or "of its cost by" not in text
    assert "against last (no network), which learns nothing" in text


def test_online_and_numbers_are_said() -> None:
    recipe = growing_recipe(judge="online")
    comparison = compare(recipe, of_numbers(judged_online(growing_results(recipe))))
    assert "in online R² on average over the stream, in points" in sentence(comparison)
    texts = " ".join(map(str, notes(comparison)))
    assert "Online R²: each batch is predicted before the step on it." in texts
    assert "R² is the share of the variance explained" in texts
    plain = " ".join(map(str, notes(compare(growing_recipe(), growing_results(recipe)))))
    assert not any(word in plain for word in ("R²", "nline", "learn nothing", "all data"))


def test_limited_access_is_noted_where_the_samples_tell_of_it() -> None:
    recipe = growing_recipe(methods=("from-scratch", "from-scratch+ema", "warm-start"))
    results = [
        result(recipe, method, 1.0, seed, [0.5, 0.6], samples=500 if method == "warm-start" else 1000)
        for method in recipe.methods
        for seed in range(5)
    ]
    assert any("given all data that came" in str(note) for note in notes(compare(recipe, results)))


def test_nothing_but_what_is_level_is_level_with_from_scratch() -> None:
    assert "no difference to from scratch is shown for head reset (0.0 ± 0.1)" in sentence(
        known({"from-scratch": 0, "head-reset": 0})
    )
