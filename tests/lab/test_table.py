"""Tables: they fit a terminal, mean the same without colour, and Markdown holds every column."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.table import lay_out, lay_out_sequence, markdown, table
from tests.lab.synthetic_results import (
    growing_recipe,
    growing_results,
    judged_online,
    of_numbers,
    task_recipe,
    task_results,
    warm_recipe,
    warm_results,
    with_baselines,
)


@pytest.fixture(scope="module")
def growing() -> Comparison:
    return compare(growing_recipe(), growing_results(growing_recipe()))


@pytest.fixture(scope="module")
def warm() -> Comparison:
    return compare(warm_recipe(), warm_results(warm_recipe()))


def printed(comparison: Comparison, width: int = 80, *, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(table(comparison, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_cut_off_in_80_columns(growing: Comparison, warm: Comparison, width: int) -> None:
    for comparison in (growing, warm):
        text = printed(comparison, width)
        assert "…" not in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        for line in lay_out(comparison).lines:
            for cell in line[1:]:
                assert cell.replace(" ± ", "±") in text


def test_names_are_whole_over_the_lines_of_their_group(warm: Comparison) -> None:
    text = printed(warm)
    names = [line[:17].strip() for line in text.splitlines()[4:]]
    at = names.index("Hare & Tortoise")
    assert names[at - 1 : at + 2] == ["from scratch +", "Hare & Tortoise", ""]


def test_one_line_for_each_entry(warm: Comparison) -> None:
    body = [line for line in printed(warm).splitlines() if line.rstrip().endswith((" yes", " no"))]
    assert len(body) == len(warm.entries) == 27


def test_significance_is_readable_without_colour(warm: Comparison) -> None:
    columns = lay_out(warm)
    at = columns.header.index("vs warm\nstart")
    for entry, line in zip(warm.entries, columns.lines, strict=True):
        difference = entry.to("warm-start")
        expected = difference is not None and difference.final.sign != 0
        assert line[at].endswith("*") == expected
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed(warm, colour=True)) == printed(warm)


def test_columns_follow_from_what_there_is(growing: Comparison, warm: Comparison) -> None:
    assert "budget" not in lay_out(growing).header
    assert "reached" not in lay_out(growing).header
    assert {"budget", "reached"} <= set(lay_out(warm).header)
    assert "failed" not in lay_out(warm).header


def test_failures_have_a_column() -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    results[3] = dataclasses.replace(results[3], failure="diverged at step 7")
    columns = lay_out(compare(recipe, results))
    assert columns.header[-1] == "failed"
    assert [line[-1] for line in columns.lines].count("1 of 5") == 1
    assert "1 of 5" in printed(compare(recipe, results))


def test_markdown_has_the_numbers(growing: Comparison) -> None:
    lines = markdown(growing).splitlines()
    assert len(lines) == 2 + 9
    cells = {line.count(" | ") for line in lines}
    assert len(cells) == 1
    assert lines[1].startswith("| --- | ---: |")
    entry = growing.entry("from-scratch", 1.0)
    assert entry is not None
    assert entry.final is not None
    assert f"| {100 * entry.final.mean:.1f} ±" in lines[2]
    assert "train" in lines[0]


def test_markdown_escapes_what_users_write() -> None:
    recipe = growing_recipe(methods=("from-scratch", "mine:Odd(x='a|b<c*d')", "mine:Odd(x='e')"))
    results = [
        dataclasses.replace(r, method=recipe.methods[i % 3])
        for i, r in enumerate(growing_results(growing_recipe(methods=growing_recipe().methods[:3])))
    ]
    text = markdown(compare(recipe, results))
    assert r"Odd (x='a\|b&lt;c\*d')" in text


def test_costs_are_samples_where_from_scratch_was_not_run() -> None:
    recipe = growing_recipe(methods=("warm-start", "head-reset"))
    columns = lay_out(compare(recipe, growing_results(recipe)))
    assert columns.lines[0][columns.header.index("cost")] == "385,000"
    assert "vs from\nscratch" not in columns.header


def test_scale_is_on_every_table(growing: Comparison) -> None:
    assert "demo-growing, scaled down (desk)" in printed(growing)
    assert markdown(growing).startswith("| method, scaled down (desk) | cost |")
    for scale in ("paper", "own"):
        recipe = growing_recipe(scale=scale)
        comparison = compare(recipe, growing_results(recipe))
        assert "scaled" not in printed(comparison) + markdown(comparison)


def test_a_line_for_each_predictor_that_learns_nothing() -> None:
    recipe = growing_recipe()
    results = with_baselines(growing_results(recipe), {"same as last time": 0.86, "most frequent": 0.5})
    comparison = compare(recipe, results)
    columns = lay_out(comparison)
    assert len(columns.lines) == 9
    assert [line[0] for line in columns.baselines] == [
        "same as last time (no network)",
        "most frequent (no network)",
    ]
    cells = dict(zip(columns.header, columns.baselines[0], strict=True))
    assert (cells["final"], cells["average"], cells["cost"]) == ("86.0 ± 0.0", "86.0 ± 0.0", "–")
    last = markdown(comparison).splitlines()[-1]
    assert last.startswith("| most frequent (no network) | – | – | 50.0 ± 0.0 | – |")
    text = printed(comparison)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "same as last time" in text
    assert "86.0±0.0" in text


def test_what_is_judged_stands_under_the_table() -> None:
    recipe = growing_recipe(judge="online")
    results = judged_online(growing_results(recipe))
    assert "online accuracy in %" in printed(compare(recipe, results))
    numbers = compare(recipe.replace(judge="test"), of_numbers(results))
    assert "R² (share of variance explained) in %" in " ".join(printed(numbers).split())


def test_numbers_below_zero_have_one_minus() -> None:
    recipe = growing_recipe()
    worse = [
        dataclasses.replace(
            r, rows=tuple({**line, "test_accuracy": line["test_accuracy"] - 1} for line in r.rows)
        )
        for r in growing_results(recipe)
    ]
    columns = lay_out(compare(recipe, of_numbers(worse)))
    cells = dict(zip(columns.header, columns.lines[1], strict=True))
    assert cells["final"].startswith("−")
    assert not any(cell.startswith("-") for line in columns.lines for cell in line)


def test_sequences_of_tasks_have_a_table_of_their_own() -> None:
    recipe = task_recipe()
    comparison = compare(recipe, task_results(recipe))
    columns = lay_out_sequence(comparison)
    ema = dict(zip(columns.header, columns.lines[2], strict=True))
    assert ema["backward transfer"] == "−6.0 ± 0.0"
    assert ema["forgetting\nvs warm start"] == "−6.0 ± 0.0*"
    assert ema["average accuracy"] == "86.4 ± 3.5"
    first, second = markdown(comparison).split("\n\n")
    assert "forgetting" not in first
    assert second.startswith(
        "| method, scaled down (desk) | average accuracy | average accuracy vs warm start |"
    )
    assert r"| −6.0 ± 0.0\* |" in second
    assert lay_out_sequence(compare(growing_recipe(), growing_results(growing_recipe()))).lines == ()
