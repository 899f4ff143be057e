"""The report as a file: what it holds, that it needs nothing else, and that nothing in it can act as markup."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.report import write_report
from hare_tortoise.lab.report_charts import around_reference, pictures
from hare_tortoise.lab.report_curves import curves, measures
from hare_tortoise.lab.report_looks import looks
from hare_tortoise.lab.sentence import sentence
from hare_tortoise.lab.trial import Result
from tests.lab.synthetic_results import growing_recipe, growing_results, row, warm_recipe, warm_results

COMMAND = "hare-tortoise compare demo-warm-start demo-growing --out runs/demo"
EVIL = "<script>alert(1)</script>"
PLOTLY = '<script type="application/gzip" id="plotly">'
VOID = {"meta", "link", "br", "line", "circle", "polygon"}


def without_plotly(text: str) -> str:
    start = text.index(PLOTLY) + len(PLOTLY)
    return text[:start] + text[text.index("</script>", start) :]


class Page(HTMLParser):
    """Checks that tags close in order, and collects elements, texts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(without_plotly(text))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.text.setdefault(tag, []).append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def charts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text["script"][0])
        return found


@pytest.fixture(scope="module")
def both() -> tuple[list[Comparison], list[Recipe], list[Result]]:
    recipes = [warm_recipe(), growing_recipe()]
    results = [warm_results(recipes[0]), growing_results(recipes[1])]
    return (
        [compare(r, found) for r, found in zip(recipes, results, strict=True)],
        recipes,
        results[0] + results[1],
    )


def written(path: Path, comparisons: Any, recipes: Any, results: Any, **more: Any) -> str:
    settings: dict[str, Any] = {"command": COMMAND, "versions": {"torch": "2.13"}}
    write_report(comparisons, recipes, results, path / "report.html", **{**settings, **more})
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(both: Any, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(written(tmp_path_factory.mktemp("report"), *both))


def test_it_needs_nothing_else(both: Any, tmp_path: Path) -> None:
    text = written(tmp_path, *both)
    page = Page(text)
    policy = next(
        m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    links = [a.get(name) for _, a in page.tags for name in ("src", "href") if name in a]
    assert set(links) == {"data:,", "#comparison-0", "#comparison-1"}
    assert text.count("plotly.js v") == text.count("Licensed under the MIT license") == 1
    packed = text.partition(PLOTLY)[2].partition("</script>")[0]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert len(text) < 2_500_000
    assert "http" not in without_plotly(text).replace("http-equiv", "")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_picture_comes_first_and_the_rest_in_order(both: Any, tmp_path: Path) -> None:
    text = written(tmp_path, *both)
    order = [
        "Accuracy against cost",
        "The smallest cost that",
        "Over the stream",
        "Test accuracy",
        "Training accuracy",
        "All figures",
    ]
    places = [text.index(f"<h3>{title}") for title in order]
    places += [text.index("The recipe, and the values used"), text.index("Accuracy, average over the stream")]
    places.append(text.index("How this was made"))
    assert places == sorted(places)


def test_sentences_command_and_versions_are_there(both: Any, page: Page) -> None:
    texts = "".join("".join(found) for tag, found in page.text.items() if tag != "script")
    for comparison in both[0]:
        assert sentence(comparison) in texts
    assert COMMAND in texts
    assert "2.13" in page.text["dd"]


def test_each_method_is_the_same_in_all_figures(both: Any, page: Page) -> None:
    styles: dict[str, set[tuple[str, str]]] = {}
    for chart in page.charts.values():
        for trace in chart["traces"]:
            if "marker" in trace:
                marker = trace["marker"]
                styles.setdefault(trace["meta"]["method"], set()).add((marker["color"], marker["symbol"]))
    assert set(styles) == set(both[1][0].methods)
    assert {len(found) for found in styles.values()} == {1}
    assert len({next(iter(found)) for found in styles.values()}) == len(styles)


def test_controls_are_dashed_and_hollow(both: Any) -> None:
    for chart in (
        *pictures(both[0][0], looks(both[1][0].methods)),
        *curves(both[0][0], both[2], looks_of(both)),
    ):
        for trace in chart.traces:
            if "marker" in trace:
                control = trace["meta"]["method"].startswith("from-scratch+")
                assert trace["line"]["dash"] == ("dash" if control else "solid")
                assert trace["marker"]["symbol"].endswith("-open") == control


def looks_of(both: Any) -> Any:
    return looks(both[1][0].methods)


def test_a_bar_lies_above_the_margin_line_exactly_where_the_method_reaches(both: Any) -> None:
    comparison = both[0][0]
    [picture] = pictures(comparison, looks_of(both))
    line = picture.layout["shapes"][1]["y0"]
    reached = {(e.method, e.budget): e.reaches for e in comparison.entries}
    seen = set()
    for trace in picture.traces:
        lows = [y - down for y, down in zip(trace["y"], trace["error_y"]["arrayminus"], strict=True)]
        for budget, low in zip(comparison.budgets, lows, strict=True):
            assert (low > line) == reached[trace["meta"]["method"], budget]
            seen.add(low > line)
    assert seen == {True, False}


def test_points_stand_at_accuracy_and_cost(both: Any) -> None:
    comparison = both[0][0]
    [picture] = pictures(comparison, looks_of(both))
    middle = picture.traces[len(picture.traces) // 2]
    entries = [e for e in comparison.entries if e.method == middle["meta"]["method"]]
    assert middle["x"] == pytest.approx([e.cost for e in entries])
    assert middle["y"] == pytest.approx([e.final.mean for e in entries])


def test_at_equal_cost_there_is_one_line_for_each_method(both: Any) -> None:
    average, final = pictures(both[0][1], looks_of(both))
    assert (average.title, final.title) == ("Accuracy, average over the stream", "Final accuracy")
    entry = both[0][1].entry("warm-start", 1.0)
    [trace] = [t for t in average.traces if t["meta"]["method"] == "warm-start"]
    assert trace["x"] == pytest.approx([entry.average.mean])
    assert trace["error_x"]["array"] == pytest.approx([entry.to("from-scratch").average.half])
    assert len(average.traces) == len(average.layout["yaxis"]["categoryarray"]) == 9


def test_curves_are_means_over_seeds_with_t_bands(both: Any) -> None:
    comparison, results = both[0][1], [r for r in both[2] if r.recipe == "demo-growing"]
    test = curves(comparison, results, looks_of(both))[0]
    band, line = [t for t in test.traces if t["meta"]["method"] == "warm-start"]
    assert line["x"] == list(range(1, 11))
    first = [r.rows[0]["test_accuracy"] for r in results if r.method == "warm-start"]
    assert line["y"][0] == pytest.approx(sum(first) / 5)
    assert band["y"][0] + band["y"][-1] == pytest.approx(2 * line["y"][0])
    assert len(band["x"]) == 20


def test_rows_within_a_chunk_stand_between_its_ends() -> None:
    recipe = growing_recipe(methods=("from-scratch",), seeds=3)
    rows = (row(0, 0.5, samples=5, last=False, step=50), row(0, 0.6, samples=10), row(1, 0.7, samples=20))
    results = [Result(recipe.name, "from-scratch", 1.0, seed, rows) for seed in range(3)]
    [_, line] = curves(compare(recipe, results), results, looks(recipe.methods))[0].traces
    assert line["x"] == [0.5, 1.0, 2.0]


def test_measures_are_drawn_where_there_are_any(both: Any, tmp_path: Path) -> None:
    assert "Measures of plasticity" not in written(tmp_path, *both)
    recipe = growing_recipe()
    results = growing_results(recipe, measures=True)
    comparison = compare(recipe, results)
    [chart] = measures(comparison, results, looks(recipe.methods))
    assert chart.title == "Dormant ratio"
    assert chart.traces[1]["y"] == pytest.approx([0.14] * 10)
    assert "Measures of plasticity" in written(tmp_path, [comparison], [recipe], results)


def test_axes_of_accuracies_end_where_accuracies_do(both: Any) -> None:
    comparisons, recipes, results = both
    mine = [result for result in results if result.recipe == recipes[0].name]
    charts = curves(comparisons[0], mine, looks(recipes[0].methods))
    assert all(
        (axis["minallowed"], axis["maxallowed"]) == (0, 1.02) for axis in (c.layout["yaxis"] for c in charts)
    )


def test_details_of_a_measure_are_kept_but_not_drawn() -> None:
    recipe = growing_recipe()
    results = [
        dataclasses.replace(
            result,
            rows=tuple(
                {**line, "measures": {"dormant-ratio": 0.1, "dormant-ratio/layer/body.1": 0.2}}
                for line in result.rows
            ),
        )
        for result in growing_results(recipe)
    ]
    charts = measures(compare(recipe, results), results, looks(recipe.methods))
    assert [chart.title for chart in charts] == ["Dormant ratio"]


def test_values_used_have_a_column_for_each_budget(both: Any, tmp_path: Path) -> None:
    assert "Values used" not in written(tmp_path, *both)
    page = Page(
        written(tmp_path, *both, values=lambda recipe, budget: {"epochs": round(50 * budget), "lr": 1e-3})
    )
    cells = page.text["td"]
    at = cells.index("15") - 1
    assert cells[at : at + 6] == ["5", "15", "50", "0.001", "0.001", "0.001"]


def test_every_value_of_the_recipe_is_there(both: Any, page: Page) -> None:
    names = {field.name for field in dataclasses.fields(Recipe)} - {
        "name",
        "description",
        "methods",
        "differences",
    }
    assert names <= set(page.text["th"])
    assert set(both[1][0].methods) <= set(page.text["code"])


def test_differences_to_the_publication_are_listed(tmp_path: Path) -> None:
    recipe = growing_recipe(differences=("fewer epochs, for time",))
    results = growing_results(recipe)
    assert "<ol><li>fewer epochs, for time</li></ol>" in written(
        tmp_path, [compare(recipe, results)], [recipe], results
    )


def test_failures_are_shown_before_the_picture(tmp_path: Path) -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    results[3] = dataclasses.replace(results[3], failure="the loss is not finite at step 7")
    text = written(tmp_path, [compare(recipe, results)], [recipe], results)
    shown = text.index("1 of 5 seeds failed: seed 0 (the loss is not finite at step 7)")
    assert shown < text.index('class="chart"')
    assert "<td>1 of 5</td>" in text


def test_all_trials_failed_or_few_seeds_still_make_a_report(tmp_path: Path) -> None:
    recipe = growing_recipe(seeds=2)
    results = growing_results(recipe)
    assert "anecdotal" in written(tmp_path, [compare(recipe, results)], [recipe], results)
    failed = [dataclasses.replace(result, failure="diverged", rows=()) for result in results]
    text = written(tmp_path, [compare(recipe, failed)], [recipe], failed)
    assert "2 of 2 seeds failed" in text
    assert Page(text).charts == {}
    assert "Over the stream" not in text


def test_nothing_that_users_write_is_markup(tmp_path: Path) -> None:
    methods = ("from-scratch", f"mine:Odd(x='{EVIL}')", f"mine:Odd(x='{EVIL}&<b>')")
    clean = growing_recipe(methods=growing_recipe().methods[:3])
    named = dict(zip(clean.methods, methods, strict=True))
    recipe = growing_recipe(name=EVIL, description=EVIL, methods=methods, scale=EVIL, differences=(EVIL,))
    results = [
        dataclasses.replace(
            r,
            recipe=EVIL,
            method=named[r.method],
            rows=tuple({**line, "chunk_name": EVIL, "measures": {EVIL: 1.0}} for line in r.rows[:3]),
            failure=EVIL if number == 4 else None,
        )
        for number, r in enumerate(growing_results(clean))
    ]
    comparison = compare(recipe, results)
    text = written(
        tmp_path,
        [comparison],
        [recipe],
        results,
        command=f"x '{EVIL}'",
        versions={EVIL: EVIL},
        values=lambda recipe, budget: {EVIL: EVIL},
    )
    page = Page(text)
    assert EVIL not in without_plotly(text)
    assert len(page.named("script")) == 3
    assert not page.named("b")
    # plotly reads a little markup in texts: names must reach it escaped
    for chart in page.charts.values():
        drawn = json.dumps(
            [chart["layout"], [{k: v for k, v in t.items() if k != "meta"} for t in chart["traces"]]]
        )
        assert EVIL not in drawn


def test_bad_input_is_named(both: Any, tmp_path: Path) -> None:
    comparisons, recipes, results = both
    for given, message in (([], r"comparisons: got \[\]"), ([comparisons[0]] * 2, "of different recipes")):
        with pytest.raises(ValueError, match=message):
            written(tmp_path, given, recipes, results)
    with pytest.raises(
        ValueError, match=r"recipes: got \['demo-growing'\], expected \['demo-warm-start'\] too"
    ):
        written(tmp_path, comparisons, recipes[1:], results)
    assert list(tmp_path.iterdir()) == []


def test_without_from_scratch_the_cost_is_in_samples() -> None:
    recipe = warm_recipe(methods=("warm-start", "head-reset"), budgets=(0.1, 1.0))
    results = [
        r for r in warm_results(warm_recipe()) if r.method in recipe.methods and r.budget in recipe.budgets
    ]
    comparison = compare(recipe, results)
    [picture] = pictures(comparison, looks(recipe.methods))
    assert picture.layout["xaxis"]["title"]["text"] == "samples processed"
    assert "shapes" not in picture.layout
    entry = comparison.entry("warm-start", 1.0)
    assert entry is not None
    assert around_reference(comparison, entry) == entry.final


def test_looks_repeat_only_between_a_method_and_its_control() -> None:
    methods = [
        "from-scratch",
        *(f"ema(decay=0.{n})" for n in range(1, 5)),
        "from-scratch+ema",
        "mine:A",
        "mine:B",
    ]
    found = looks(methods)
    solid = [(look.colour, look.symbol) for look in found.values() if not look.control]
    assert len(set(solid)) == len(solid)
    assert found["from-scratch+ema"].colour == found["ema(decay=0.1)"].colour
