"""The static picture: well-formed SVG whose points stand where the numbers say."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.picture import picture
from hare_tortoise.lab.report_looks import looks
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

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def warm() -> Comparison:
    return compare(warm_recipe(), warm_results(warm_recipe()))


def test_it_is_well_formed_and_names_every_method(warm: Comparison) -> None:
    root = ElementTree.fromstring(picture(warm))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for look in looks(warm.methods).values():
        assert look.label in texts
    assert {"10 %", "30 %", "100 %"} <= set(texts)
    assert all(element.get("href") is None for element in root.iter())


def test_points_stand_where_the_axis_says(warm: Comparison) -> None:
    root = ElementTree.fromstring(picture(warm))
    labels = {
        e.text: (float(e.get("x", "nan")), float(e.get("y", "nan")))
        for e in root.iter(f"{SVG}text")
        if e.text
    }
    ticks = {
        float(t.split()[0]) / 100: y - 4.5
        for t, (x, y) in labels.items()
        if re.fullmatch(r"9\d %", t) and x < 78
    }
    (low, at_low), (high, at_high) = min(ticks.items()), max(ticks.items())
    # circles are from scratch: one for each budget, and one beside its name
    circles = [(float(e.get("cx", "nan")), float(e.get("cy", "nan"))) for e in root.iter(f"{SVG}circle")][:3]
    for (x, y), budget in zip(circles, warm.budgets, strict=True):
        entry = warm.entry("from-scratch", budget)
        assert entry is not None
        assert entry.final is not None
        read = low + (y - at_low) / (at_high - at_low) * (high - low)
        assert read == pytest.approx(entry.final.mean, abs=2e-4)
        assert x == pytest.approx(labels[f"{100 * budget:.0f} %"][0], abs=14)


def test_a_bar_for_every_interval(warm: Comparison) -> None:
    # from scratch at full budget is what the others are compared with: it has no bar
    assert picture(warm).count("h6M") == len(warm.entries) - 1


def test_names_do_not_overlap(warm: Comparison) -> None:
    root = ElementTree.fromstring(picture(warm))
    names = {look.label for look in looks(warm.methods).values()}
    texts = [e for e in root.iter(f"{SVG}text") if e.text in names and float(e.get("x", "nan")) > 600]
    places = sorted(float(e.get("y", "nan")) for e in texts)
    assert len(places) == len(names)
    assert all(after - before >= 19.9 for before, after in pairwise(places))


def test_a_single_budget_is_points() -> None:
    comparison = compare(growing_recipe(), growing_results(growing_recipe()))
    root = ElementTree.fromstring(picture(comparison))
    # from scratch is a circle: one point, and one beside its name
    circles = [float(e.get("cx", "nan")) for e in root.iter(f"{SVG}circle")]
    assert [x < 600 for x in circles] == [True, False]
    # every other method has one interval
    assert picture(comparison).count("h6M") == len(comparison.methods) - 1


def test_names_are_escaped() -> None:
    methods = ("from-scratch", "mine:Odd(x='<a&b>')", "mine:Odd(x='c')")
    clean = growing_recipe(methods=growing_recipe().methods[:3])
    recipe = growing_recipe(methods=methods, name="<x>&y")
    named = dict(zip(clean.methods, recipe.methods, strict=True))
    results = [dataclasses.replace(r, recipe="<x>&y", method=named[r.method]) for r in growing_results(clean)]
    root = ElementTree.fromstring(picture(compare(recipe, results)))
    assert "Odd (x='<a&b>')" in [element.text for element in root.iter(f"{SVG}text")]


def test_nothing_finished_is_an_error() -> None:
    recipe = growing_recipe()
    failed = [dataclasses.replace(r, failure="diverged", rows=()) for r in growing_results(recipe)]
    with pytest.raises(ValueError, match="demo-growing has no finished trial"):
        picture(compare(recipe, failed))


def test_scale_and_what_is_judged_are_in_the_picture(warm: Comparison) -> None:
    texts = [element.text for element in ElementTree.fromstring(picture(warm)).iter(f"{SVG}text")]
    assert {"scaled down (desk)", "final test accuracy"} <= set(texts)
    recipe = warm_recipe(scale="paper", judge="online")
    online = compare(recipe, of_numbers(judged_online(warm_results(recipe))))
    assert "scaled" not in picture(online)
    assert "final online R²" in picture(online)


def test_doing_nothing_is_a_line_within_the_picture() -> None:
    recipe = warm_recipe()
    comparison = compare(recipe, with_baselines(warm_results(recipe), {"same as last time": 0.4}))
    root = ElementTree.fromstring(picture(comparison))
    [text] = [e for e in root.iter(f"{SVG}text") if e.text == "same as last time (no network)"]
    assert 22 < float(text.get("y", "nan")) < 384


def test_numbers_may_be_predicted_far_worse_than_by_their_mean() -> None:
    recipe = growing_recipe(methods=("from-scratch", "warm-start"), seeds=3)
    results = [
        result(recipe, method, 1.0, seed, [0.5, 0.5 if method == "from-scratch" else -70.0 - seed])
        for method in recipe.methods
        for seed in range(3)
    ]
    texts = [
        e.text
        for e in ElementTree.fromstring(picture(compare(recipe, of_numbers(results)))).iter(f"{SVG}text")
    ]
    assert "−6000 %" in texts
