"""The report: one HTML file that opens anywhere, offline, with the picture first."""

from __future__ import annotations

import base64
import dataclasses
import functools
import gzip
import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from hare_tortoise.lab.comparison import FULL, Comparison
from hare_tortoise.lab.files import write_atomic
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START, Recipe
from hare_tortoise.lab.report_charts import Chart, pictures
from hare_tortoise.lab.report_curves import curves, measures
from hare_tortoise.lab.report_looks import Look, looks
from hare_tortoise.lab.report_marks import swatch
from hare_tortoise.lab.report_tasks import task_charts
from hare_tortoise.lab.sentence import notes, sentence
from hare_tortoise.lab.table import lay_out, lay_out_sequence
from hare_tortoise.lab.trial import Result
from hare_tortoise.lab.wording import capital, labels, score_unit, share, starts_anew

# of more methods than this the curves of so many are shown at first: more cannot be told apart
_MANY, _SHOWN = 12, 8

Values = Callable[[Recipe, float], Mapping[str, object]]


def write_report(
    comparisons: Sequence[Comparison],
    recipes: Sequence[Recipe],
    results: Sequence[Result],
    path: Path,
    *,
    command: str,
    versions: Mapping[str, str],
    values: Values | None = None,
) -> None:
    """Write comparisons as one HTML file without any outside reference, plotly.js included once, compressed.

    Args:
        comparisons: one section each, in this order; at least one.
        recipes: those of the comparisons, in any order, found by name.
        results: what the comparisons were made from, of all recipes together.
        path: of the file; it is written beside and renamed.
        command: the exact command that made it.
        versions: of the package, torch, python and what else the figures depend on.
        values: ``values(recipe, budget)`` gives what was used at a budget (epochs, steps, decays), by name; shown
            in one column for each budget. None: not shown.

    Raises:
        ValueError: No comparison, two of the same recipe, or a recipe is missing.
        OSError: The file cannot be written.
    """
    write_atomic(path, _page(comparisons, recipes, results, command, versions, values).encode())


def _page(
    comparisons: Sequence[Comparison],
    recipes: Sequence[Recipe],
    results: Sequence[Result],
    command: str,
    versions: Mapping[str, str],
    values: Values | None,
) -> str:
    names = [comparison.recipe for comparison in comparisons]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"comparisons: got {names}, expected at least one, of different recipes")
    by_name = {recipe.name: recipe for recipe in recipes}
    if missing := [name for name in names if name not in by_name]:
        raise ValueError(f"recipes: got {sorted(by_name)}, expected {missing} too, one for each comparison")
    looked = looks([method for comparison in comparisons for method in comparison.methods])
    charts: dict[str, Any] = {}
    sections = []
    for number, comparison in enumerate(comparisons):
        mine = [result for result in results if result.recipe == comparison.recipe]
        sections.append(
            _section(number, comparison, by_name[comparison.recipe], mine, looked, charts, values)
        )
    links = "".join(f'<a href="#comparison-{n}">{_safe(name)}</a>' for n, name in enumerate(names))
    return Template(_asset("report.html")).substitute(
        title=_safe(f"Retrain from scratch, or continue? {', '.join(names)}"),
        style=_asset("report.css"),
        contents=f"<nav>{links}</nav>" if len(names) > 1 else "",
        sections="\n".join(sections),
        command=_safe(command),
        versions="".join(f"<div><dt>{_safe(k)}</dt><dd>{_safe(v)}</dd></div>" for k, v in versions.items()),
        # "<" could end the script element from inside a string
        charts=json.dumps(_rounded(charts), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        licence=get_plotlyjs().partition("/**")[2].partition("*/")[0].replace("*", "").strip(),
        plotly=_packed_plotly(),
        script=_asset("report.js"),
    )


@functools.cache
def _packed_plotly() -> str:
    """Give plotly.js as the base64 text of a gzip file, the same each time."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _section(
    number: int,
    comparison: Comparison,
    recipe: Recipe,
    results: Sequence[Result],
    looked: Mapping[str, Look],
    charts: dict[str, Any],
    values: Values | None,
) -> str:
    def draw(found: Sequence[Chart]) -> str:
        return "".join(_figure(f"chart-{len(charts)}", chart, charts) for chart in found)

    mark = (
        f'<span class="scale">scaled down: {_safe(comparison.scale)}</span>' if comparison.scaled_down else ""
    )
    parts = [
        f'<section data-comparison="{number}" id="comparison-{number}">',
        f"<h2>{_safe(comparison.recipe)}{mark}</h2>",
        f'<p class="about">{_safe(comparison.description)}</p>' if comparison.description else "",
        f'<p class="sentence">{_safe(sentence(comparison))}</p>',
        _notes(comparison, warnings=True),
        _keys(comparison, looked),
        f'<div class="charts">{draw(pictures(comparison, looked))}</div>',
        _reach(comparison),
    ]
    if over_stream := curves(comparison, results, looked):
        parts += [
            "<h3>Over the stream</h3>",
            _budgets(comparison),
            f'<div class="charts">{draw(over_stream)}</div>',
        ]
    if over_tasks := task_charts(comparison, results, looked):
        parts += [
            "<h3>Over the tasks</h3>",
            f'<div class="charts">{draw(over_tasks)}</div>',
            _sequence(comparison),
        ]
    if measured := measures(comparison, results, looked):
        parts += ["<h3>Measures of plasticity</h3>", f'<div class="charts">{draw(measured)}</div>']
    parts += ["<h3>All figures</h3>", _results(comparison, looked), _notes(comparison, warnings=False)]
    parts += [_recipe(recipe, values), "</section>"]
    return "\n".join(part for part in parts if part)


def _figure(name: str, chart: Chart, charts: dict[str, Any]) -> str:
    charts[name] = {
        "traces": chart.traces,
        "layout": chart.layout,
        "height": chart.height,
        "crowded": chart.crowded,
    }
    choices = dict.fromkeys(choice for trace in chart.traces if (choice := trace["meta"].get("choice")))
    options = "".join(f"<option>{_safe(choice)}</option>" for choice in choices)
    select = f'<label class="choice">network <select>{options}</select></label>' if choices else ""
    caption = f"<figcaption>{_safe(chart.caption)}</figcaption>" if chart.caption else ""
    wide = ' class="wide"' if chart.wide else ""
    space = f'style="min-height:{chart.height}px"'
    return (
        f"<figure{wide}><h3>{_safe(chart.title)}</h3>{select}"
        f'<div class="chart" id="{name}" role="img" aria-label="{_safe(chart.title)}" {space}></div>{caption}</figure>'
    )


def _keys(comparison: Comparison, looked: Mapping[str, Look]) -> str:
    ordered = sorted(comparison.methods, key=lambda method: not starts_anew(method))
    first = _shown_at_first(comparison)
    keys = "".join(
        f'<button type="button" aria-pressed="{"true" if method in first else "mixed"}" '
        f'data-method="{_safe(method)}" title="{_safe(method)}">'
        f"{swatch(looked[method])}{_safe(looked[method].label)}</button>"
        for method in ordered
    )
    hint = "Click a method to hide it in all figures, double-click to see it alone."
    if len(first) < len(ordered):
        hint += f" At first the curves are those of {len(first)} of {len(ordered)} methods; click a pale one to add it."
    return f'<div class="keys" role="group" aria-label="methods">{keys}</div><p class="hint">{hint}</p>'


def _shown_at_first(comparison: Comparison) -> set[str]:
    """Name the methods whose curves are there from the start: all, or of many the references and the best."""
    if len(comparison.methods) <= _MANY:
        return set(comparison.methods)
    entries = [e for e in comparison.entries if e.budget == comparison.budgets[-1] and e.average is not None]
    best = sorted(entries, key=lambda e: -e.average.mean if e.average is not None else 0.0)
    wanted = [FROM_SCRATCH, WARM_START, *(entry.method for entry in best)]
    return set([method for method in dict.fromkeys(wanted) if method in comparison.methods][:_SHOWN])


def _reach(comparison: Comparison) -> str:
    if comparison.headlines is None:
        return ""
    names = labels(comparison.methods)
    groups: dict[str, list[str]] = {}
    for line in sorted(
        comparison.headlines, key=lambda line: (line.cost is None, line.cost or 0.0, not line.known)
    ):
        if (line.method, line.budget) == (FROM_SCRATCH, FULL):
            continue
        unknown = "not reached" if line.known else "too few seeds to say"
        where = unknown if line.budget is None else f"{share(line.cost)} of the cost"
        groups.setdefault(where, []).append(names[line.method])
    rows = "".join(
        f"<tr><td>{where}</td><td>{_safe(', '.join(found))}</td></tr>" for where, found in groups.items()
    )
    return (
        f'<h3>The smallest cost that reaches from scratch</h3><table class="reach">{rows}</table>'
        if rows
        else ""
    )


def _results(comparison: Comparison, looked: Mapping[str, Look]) -> str:
    columns = lay_out(comparison, complete=True)
    lines = [
        (looked[e.method].label, line) for e, line in zip(comparison.entries, columns.lines, strict=True)
    ]
    lines += [(line[0], line) for line in columns.baselines]
    note = (
        f"{capital(score_unit(comparison.score))}, differences in points, ± half the 95 % interval; * excludes zero. "
        "P better: share of the seeds on which it is above from scratch."
    )
    return f'<p class="hint">{note}</p>{_table(columns.header, lines)}'


def _sequence(comparison: Comparison) -> str:
    columns = lay_out_sequence(comparison)
    if not columns.lines:
        return ""
    note = (
        "Backward transfer: what later tasks did to the accuracy on earlier ones. Forgetting: how far these fell below "
        "their best. Next task: accuracy on a task before it is trained on. Intransigence: how far new tasks stay "
        "behind from scratch. Accuracies in percent, all else in points, ± half the 95 % interval; * excludes zero."
    )
    lines = [(line[0], line) for line in columns.lines]
    return f'<p class="hint">{note}</p>{_table(columns.header, lines)}'


def _table(header: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Write lines as a table; a name that is that of the line before is left out."""
    head = "".join(f'<th scope="col">{_safe(name).replace(chr(10), "<br>")}</th>' for name in header)
    body, previous = [], ""
    for label, line in lines:
        first = label != previous
        previous = label
        name = _safe(label) if first else ""
        cells = "".join(
            f'<td class="clear">{_safe(cell)}</td>' if cell.endswith("*") else f"<td>{_safe(cell)}</td>"
            for cell in line[1:]
        )
        body.append(f'<tr{" class=first" if first else ""}><th scope="row">{name}</th>{cells}</tr>')
    table = f"<table class=results><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="scroller" tabindex="0">{table}</div>'


def _notes(comparison: Comparison, *, warnings: bool) -> str:
    lines = "".join(f"<li>{_safe(note.text)}</li>" for note in notes(comparison) if note.warning == warnings)
    return f'<ul class="{"warnings" if warnings else "notes"}">{lines}</ul>' if lines else ""


def _budgets(comparison: Comparison) -> str:
    if len(comparison.budgets) < 2:
        return ""
    shown = FULL if FULL in comparison.budgets else comparison.budgets[-1]
    buttons = "".join(
        f'<button type="button" aria-pressed="{"true" if budget == shown else "false"}" '
        f'data-budget="{budget!r}">budget {share(budget)}</button>'
        for budget in comparison.budgets
    )
    return f'<div class="budgets" role="group" aria-label="budget">{buttons}</div>'


def _recipe(recipe: Recipe, values: Values | None) -> str:
    skipped = ("name", "description", "methods", "differences")
    written = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe) if f.name not in skipped}
    rows = "".join(
        f"<tr><th scope=row>{_safe(k)}</th><td>{_safe(_value(v))}</td></tr>" for k, v in written.items()
    )
    methods = "".join(f"<li><code>{_safe(method)}</code></li>" for method in recipe.methods)
    parts = [
        "<details><summary>The recipe, and the values used</summary>",
        f'<div class="scroller" tabindex="0"><table class=plain>{rows}</table></div>',
        f"<h3>Methods</h3><ul>{methods}</ul>",
    ]
    if recipe.differences:
        listed = "".join(f"<li>{_safe(difference)}</li>" for difference in recipe.differences)
        parts.append(f"<h3>Differences to the publication</h3><ol>{listed}</ol>")
    if values is not None:
        columns = [values(recipe, budget) for budget in recipe.budgets]
        names = list(dict.fromkeys(name for column in columns for name in column))
        head = "".join(f"<th scope=col>budget {share(budget)}</th>" for budget in recipe.budgets)
        lines = "".join(
            f"<tr><th scope=row>{_safe(name)}</th>"
            + "".join(f"<td>{_safe(_value(column.get(name)))}</td>" for column in columns)
            + "</tr>"
            for name in names
        )
        table = f"<table class=plain><thead><tr><th></th>{head}</tr></thead><tbody>{lines}</tbody></table>"
        parts.append(f'<h3>Values used at each budget</h3><div class="scroller" tabindex="0">{table}</div>')
    return "".join([*parts, "</details>"])


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ", ".join(_value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rounded(value: Any) -> Any:
    """Keep the digits that a figure can show; what a trace is known by stays as it is."""
    if isinstance(value, dict):
        return {name: item if name == "meta" else _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _safe(text: object) -> str:
    return html.escape(str(text))


def _asset(name: str) -> str:
    return (files("hare_tortoise.lab") / name).read_text(encoding="utf-8")
