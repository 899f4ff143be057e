"""The figures of online accuracy, numbers, baselines, tasks and many methods, and what the page says around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hare_tortoise.lab.comparison import compare
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.report_charts import pictures
from hare_tortoise.lab.report_curves import curves
from hare_tortoise.lab.report_looks import looks
from hare_tortoise.lab.report_tasks import task_charts
from hare_tortoise.lab.trial import Result
from tests.lab.synthetic_results import (
    growing_recipe,
    growing_results,
    judged_online,
    of_numbers,
    result,
    task_recipe,
    task_results,
    warm_recipe,
    warm_results,
    with_baselines,
)
from tests.lab.test_report import Page, without_plotly, written


def test_the_gap_to_from_scratch_is_paired_and_of_those_that_continue() -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    gap = curves(compare(recipe, results), results, looks(recipe.methods))[-1]
    assert gap.title == "Gap to from scratch"
    band, line = [t for t in gap.traces if t["meta"]["method"] == "warm-start"]
    rows = {(r.method, r.seed): r.rows[4]["test_accuracy"] for r in results}
    differences = [100 * (rows["from-scratch", seed] - rows["warm-start", seed]) for seed in range(5)]
    assert line["y"][4] == pytest.approx(sum(differences) / 5)
    half = stats.t.ppf(0.975, 4) * np.std(differences, ddof=1) / np.sqrt(5)
    assert band["y"][4] - line["y"][4] == pytest.approx(half)
    assert not any(t["meta"]["method"].startswith("from-scratch") for t in gap.traces)


def test_two_chunks_have_no_chart_of_the_gap() -> None:
    recipe = warm_recipe()
    results = warm_results(recipe)
    titles = [chart.title for chart in curves(compare(recipe, results), results, looks(recipe.methods))]
    assert titles == ["Test accuracy", "Training accuracy"]


def test_numbers_judged_online_are_called_what_they_are(tmp_path: Path) -> None:
    recipe = growing_recipe(judge="online")
    results = of_numbers(judged_online(growing_results(recipe)))
    comparison = compare(recipe, results)
    charts = curves(comparison, results, looks(recipe.methods))
    assert [c.title for c in charts] == ["Online R²", "Test R²", "Training R²", "Gap to from scratch"]
    [_, line] = [t for t in charts[0].traces if t["meta"]["method"] == "warm-start"]
    [_, test] = [t for t in charts[1].traces if t["meta"]["method"] == "warm-start"]
    assert line["y"] == pytest.approx([value - 0.2 for value in test["y"]])
    page = Page(written(tmp_path, [comparison], [recipe], results))
    shown = " ".join(
        text for tag, texts in page.text.items() if tag not in ("style", "script") for text in texts
    )
    # but for the question that every report begins with
    assert shown.lower().count("accuracy") == 1


def test_what_learns_nothing_is_a_dashed_line_and_a_line_of_the_table(tmp_path: Path) -> None:
    recipe = growing_recipe()
    results = with_baselines(growing_results(recipe), {"same as <last> time": 0.86})
    comparison = compare(recipe, results)
    test = curves(comparison, results, looks(recipe.methods))[0]
    [line] = [t for t in test.traces if t["meta"]["method"] is None]
    assert (line["line"]["dash"], line["y"]) == ("dash", pytest.approx([0.86] * 10))
    average, _ = pictures(comparison, looks(recipe.methods))
    scratch = comparison.entries[0].average
    assert scratch is not None
    assert [shape["x0"] for shape in average.layout["shapes"]] == pytest.approx([scratch.mean, 0.86])
    text = written(tmp_path, [comparison], [recipe], results)
    assert '<th scope="row">same as &lt;last&gt; time (no network)</th>' in text
    assert "<last>" not in without_plotly(text)
    recipe = warm_recipe()
    [picture] = pictures(
        compare(recipe, with_baselines(warm_results(recipe), {"last": 0.5})), looks(recipe.methods)
    )
    assert picture.layout["shapes"][-1]["y0"] == 0.5


def test_the_matrix_of_every_network_can_be_chosen(tmp_path: Path) -> None:
    recipe = task_recipe()
    results = task_results(recipe)
    comparison = compare(recipe, results)
    seen, matrices = task_charts(comparison, results, looks(recipe.methods))
    assert [t["meta"]["choice"] for t in matrices.traces] == [
        "from scratch",
        "warm start",
        "EMA",
        "EMA: hare",
    ]
    ema, hare = matrices.traces[2:]
    # task 2 after chunks 1, 2 and 3; the wobble of the seeds is 0.014 on average
    assert ema["z"][1][:3] == pytest.approx([0.1, 0.914, 0.894])
    assert hare["z"][1][:3] == pytest.approx([0.08, 0.894, 0.874])
    [_, line] = [t for t in seen.traces if t["meta"]["method"] == "warm-start"]
    assert line["y"][:2] == pytest.approx([0.912, 0.892])
    page = Page(written(tmp_path, [comparison], [recipe], results))
    assert page.text["option"] == ["from scratch", "warm start", "EMA", "EMA: hare"]
    assert "intransigence" in page.text["th"]


def test_one_test_set_has_no_matrix(tmp_path: Path) -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    comparison = compare(recipe, results)
    assert task_charts(comparison, results, looks(recipe.methods)) == []
    assert Page(written(tmp_path, [comparison], [recipe], results)).named("select") == []


def many() -> tuple[Recipe, list[Result]]:
    recipe = growing_recipe(
        methods=("from-scratch", "warm-start", *(f"l2-init(strength=0.{n})" for n in range(10, 24)))
    )
    results = [
        result(recipe, method, 1.0, seed, [0.5 + 0.01 * place] * 3)
        for place, method in enumerate(recipe.methods)
        for seed in range(3)
    ]
    return recipe, results


def test_of_many_methods_some_curves_are_there_at_first(tmp_path: Path) -> None:
    recipe, results = many()
    page = Page(written(tmp_path, [compare(recipe, results)], [recipe], results))
    keys = {a["data-method"]: a["aria-pressed"] for a in page.named("button")}
    shown = [method for method, pressed in keys.items() if pressed == "true"]
    assert shown == ["from-scratch", "warm-start", *recipe.methods[-6:]]
    assert set(keys.values()) == {"true", "mixed"}
    assert len(keys) == 16
    crowded = {chart["crowded"] for chart in page.charts.values()}
    assert crowded == {False, True}


def test_figures_carry_no_more_digits_than_they_show(tmp_path: Path) -> None:
    recipe = warm_recipe(budgets=(1 / 3, 1.0))
    results = [
        result(recipe, method, budget, seed, [0.123456789, 0.987654321])
        for method in recipe.methods
        for budget in recipe.budgets
        for seed in range(5)
    ]
    page = Page(written(tmp_path, [compare(recipe, results)], [recipe], results))
    traces = [trace for chart in page.charts.values() for trace in chart["traces"]]
    # of test and, 0.015 above, of training
    assert {value for trace in traces for value in trace["y"]} == {0.12346, 0.98765, 0.13846, 1.0}
    # budgets are compared with those of the buttons: they stay as they are
    assert {trace["meta"]["budget"] for trace in traces} == {None, 1 / 3, 1.0}
