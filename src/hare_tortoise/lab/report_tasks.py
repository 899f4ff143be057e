"""The figures of streams with several test sets: the whole matrix of accuracies, and how much of it is kept."""

from __future__ import annotations

import html
from collections.abc import Sequence

from hare_tortoise.lab.comparison import Comparison, ends
from hare_tortoise.lab.matrix import COLOURS, Panel, draw_matrices
from hare_tortoise.lab.report_charts import Chart, Looks, Trace
from hare_tortoise.lab.report_curves import mean_curves, stream_layout
from hare_tortoise.lab.sequence import Matrix, Tasks, find_tasks, matrix, mean_matrix, seen_so_far
from hare_tortoise.lab.trial import Result
from hare_tortoise.lab.wording import capital, labels, share


def task_charts(comparison: Comparison, results: Sequence[Result], looks: Looks) -> list[Chart]:
    """Draw the accuracies on all test sets over the stream; nothing where there are not several.

    Args:
        comparison: as `compare` gives it.
        results: what it was made from.
        looks: of its methods.
    """
    tasks = _tasks(comparison, results)
    if tasks is None:
        return []
    charts = [_heat_map(comparison, results, tasks)]
    if tasks.trained:
        charts.insert(0, _seen_so_far(comparison, results, tasks, looks))
    return charts


def task_picture(comparison: Comparison, results: Sequence[Result]) -> str | None:
    """Draw the same matrices as an SVG, at the largest budget; None where there is nothing to draw.

    Args:
        comparison: as `compare` gives it.
        results: what it was made from.
    """
    tasks = _tasks(comparison, results)
    if tasks is None:
        return None
    largest = comparison.budgets[-1]
    panels = [
        Panel(text, values)
        for text, budget, values in _matrices(comparison, results, tasks)
        if budget == largest
    ]
    scale = f", scaled down ({comparison.scale})" if comparison.scaled_down else ""
    score = _score(comparison)
    title = f"{comparison.recipe}{scale}: {score} on each task over the stream"
    return draw_matrices(panels, title=title, unit=score) if _any(panels) else None


def _any(panels: Sequence[Panel]) -> bool:
    return any(value is not None for panel in panels for line in panel.values for value in line)


def _score(comparison: Comparison) -> str:
    return comparison.score.removeprefix("online ")  # tests are judged after training, whatever counts


def _tasks(comparison: Comparison, results: Sequence[Result]) -> Tasks | None:
    done = [result for result in results if result.recipe == comparison.recipe and result.failure is None]
    return find_tasks(ends(done[0])) if comparison.tasks and done else None


def _matrices(
    comparison: Comparison, results: Sequence[Result], tasks: Tasks
) -> list[tuple[str, float, Matrix]]:
    """Name, budget and mean matrix of each deployed network, and of the trained one where that is another."""
    names, found = labels(comparison.methods), []
    for method in comparison.methods:
        for budget in comparison.budgets:
            mine = [
                r for r in results if (r.recipe, r.method, r.budget) == (comparison.recipe, method, budget)
            ]
            rows = [ends(result) for result in mine if result.failure is None]
            if not rows:
                continue
            found.append((names[method], budget, mean_matrix([matrix(each, tasks) for each in rows])))
            if all(any(row.get("hare_tests") for row in each) for each in rows):
                hare = mean_matrix([matrix(each, tasks, "hare_tests") for each in rows])
                found.append((f"{names[method]}: hare", budget, hare))
    return found


def _heat_map(comparison: Comparison, results: Sequence[Result], tasks: Tasks) -> Chart:
    found = _matrices(comparison, results, tasks)
    values = [value for _, _, table in found for line in table for value in line if value is not None]
    several = len(comparison.budgets) > 1
    score = _score(comparison)
    names = [html.escape(name, quote=False) for name in tasks.names]
    traces: list[Trace] = []
    for text, budget, table in found:
        choice = f"{text}, budget {share(budget)}" if several else text
        traces.append(
            {
                "type": "heatmap",
                "x": list(range(1, len(comparison.chunks) + 1)),
                "y": names,
                "z": [list(line) for line in table],
                "hovertemplate": "%{y} after chunk %{x}: %{z:.1%}<extra></extra>",
                "hoverongaps": False,
                "colorscale": [[i / (len(COLOURS) - 1), shade] for i, shade in enumerate(COLOURS)],
                "zmin": min(values),
                "zmax": max(values),
                "colorbar": {"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
                "meta": {"method": None, "budget": None, "choice": choice},
            }
        )
    caption = (
        f"{capital(score)} on each test set (downwards) after each chunk (to the right), mean over the seeds, one "
        "scale of colours for all; white: not judged. Hare: the network that is trained, where another one is deployed."
    )
    down = {"autorange": "reversed", "type": "category"}
    layout = {"yaxis": down, "xaxis": {"title": {"text": "end of chunk"}}}
    return Chart(
        f"{capital(score)} on every task over the stream", caption, traces, layout, height=460, wide=True
    )


def _seen_so_far(comparison: Comparison, results: Sequence[Result], tasks: Tasks, looks: Looks) -> Chart:
    def values(result: Result) -> list[tuple[float, float]]:
        means = seen_so_far(ends(result), tasks)
        return [(place + 1.0, mean) for place, mean in enumerate(means) if mean is not None]

    score = _score(comparison)
    caption = f"{capital(score)} at the end of each chunk, mean over all tasks trained on by then: what is kept counts."
    layout = {"yaxis": {"tickformat": ".0%"}}
    traces = mean_curves(comparison, results, looks, values)
    return Chart("All tasks seen so far", caption, traces, stream_layout(comparison, layout), crowded=True)
