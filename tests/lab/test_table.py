"""Tables: they fit a terminal, mean the same without colour, and Markdown holds every column."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.table import lay_out, markdown, table
from tests.lab.synthetic_results import growing_recipe, growing_results, warm_recipe, warm_results


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
