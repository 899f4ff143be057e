"""The report: one HTML file that opens anywhere, offline, with the picture first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hare_tortoise.lab.comparison import FULL, Comparison
from hare_tortoise.lab.files import write_atomic
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START, Recipe
from hare_tortoise.lab.report_charts import pictures
from hare_tortoise.lab.report_curves import curves, measures
from hare_tortoise.lab.report_looks import Look, looks
from hare_tortoise.lab.report_page import Figures, keys, lay_page, note_list, plain_table, results_table, safe
from hare_tortoise.lab.report_tasks import task_charts
from hare_tortoise.lab.sentence import notes, sentence
from hare_tortoise.lab.table import lay_out, lay_out_sequence
from hare_tortoise.lab.trial import Result
from hare_tortoise.lab.wording import capital, labels, score_unit, share

# of more methods than this the curves of so many are shown at first: more cannot be told apart
_MANY, _SHOWN = 12, 8

_QUESTION = (
    "How much of the accuracy of retraining from scratch does each method keep, at what fraction of its cost?"
)

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
    figures, sections = Figures(), []
    for number, comparison in enumerate(comparisons):
        mine = [result for result in results if result.recipe == comparison.recipe]
        sections.append(
            _section(number, comparison, by_name[comparison.recipe], mine, looked, figures, values)
        )
    return lay_page(
        title=f"Retrain from scratch, or continue? {', '.join(names)}",
        heading="Retrain from scratch, or continue?",
        question=_QUESTION,
        links={f"comparison-{n}": name for n, name in enumerate(names)},
        sections=sections,
        figures=figures,
        command=command,
        versions=versions,
    )


def _section(
    number: int,
    comparison: Comparison,
    recipe: Recipe,
    results: Sequence[Result],
    looked: Mapping[str, Look],
    figures: Figures,
    values: Values | None,
) -> str:
    draw = figures.draw
    mark = (
        f'<span class="scale">scaled down: {safe(comparison.scale)}</span>' if comparison.scaled_down else ""
    )
    parts = [
        f'<section data-comparison="{number}" id="comparison-{number}">',
        f"<h2>{safe(comparison.recipe)}{mark}</h2>",
        f'<p class="about">{safe(comparison.description)}</p>' if comparison.description else "",
        f'<p class="sentence">{safe(sentence(comparison))}</p>',
        _notes(comparison, warnings=True),
        keys(comparison.methods, _shown_at_first(comparison), looked),
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
        f"<tr><td>{where}</td><td>{safe(', '.join(found))}</td></tr>" for where, found in groups.items()
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
    return f'<p class="hint">{note}</p>{results_table(columns.header, lines)}'


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
    return f'<p class="hint">{note}</p>{results_table(columns.header, lines)}'


def _notes(comparison: Comparison, *, warnings: bool) -> str:
    return note_list([note.text for note in notes(comparison) if note.warning == warnings], warnings=warnings)


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
    methods = "".join(f"<li><code>{safe(method)}</code></li>" for method in recipe.methods)
    parts = [
        "<details><summary>The recipe, and the values used</summary>",
        plain_table({name: _value(value) for name, value in written.items()}),
        f"<h3>Methods</h3><ul>{methods}</ul>",
    ]
    if recipe.differences:
        listed = "".join(f"<li>{safe(difference)}</li>" for difference in recipe.differences)
        parts.append(f"<h3>Differences to the publication</h3><ol>{listed}</ol>")
    if values is not None:
        columns = [values(recipe, budget) for budget in recipe.budgets]
        names = list(dict.fromkeys(name for column in columns for name in column))
        head = "".join(f"<th scope=col>budget {share(budget)}</th>" for budget in recipe.budgets)
        lines = "".join(
            f"<tr><th scope=row>{safe(name)}</th>"
            + "".join(f"<td>{safe(_value(column.get(name)))}</td>" for column in columns)
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
