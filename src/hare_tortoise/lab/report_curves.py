"""The curves of the report: accuracy and measures of plasticity over the stream, with bands over the seeds."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hare_tortoise.lab.comparison import Comparison
from hare_tortoise.lab.report_charts import Chart, Looks, Trace
from hare_tortoise.lab.report_looks import Look
from hare_tortoise.lab.statistics import Estimate, mean_interval
from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.measures import MEASURES


def curves(comparison: Comparison, results: Sequence[Result], looks: Looks) -> list[Chart]:
    """Draw test and training accuracy over the stream, means over the seeds with bands.

    Args:
        comparison: as `compare` gives it.
        results: what it was made from.
        looks: of its methods.
    """
    caption = "Mean over the seeds, test accuracy of the network that would be shipped; the band is its 95 % interval."
    test = _over_stream(comparison, results, looks, lambda row: row["test_accuracy"])
    train = _over_stream(comparison, results, looks, lambda row: row.get("train_accuracy"))
    if not test:
        return []
    # With few seeds intervals go beyond what an accuracy can be, and would take the room of the curves.
    layout = {"yaxis": {"tickformat": ".0%", "minallowed": 0, "maxallowed": 1.02}}
    charts = [Chart("Test accuracy", caption, test, _stream_layout(comparison, layout))]
    if train:
        label = "Of the same network, on the labels it was trained on, wrong ones included."
        charts.append(Chart("Training accuracy", label, train, _stream_layout(comparison, layout)))
    return charts


def measures(comparison: Comparison, results: Sequence[Result], looks: Looks) -> list[Chart]:
    """Draw each measure of plasticity over the stream; none where none was taken.

    Args:
        comparison: as `compare` gives it.
        results: what it was made from.
        looks: of its methods.
    """
    taken = {name for result in results for row in result.rows for name in row.get("measures") or {}}
    charts = []
    for name in sorted(name for name in taken if "/" not in name):  # what stands below a slash are details
        known = MEASURES.get(name)
        caption = f"{known.description}. {known.reading}" if known else ""
        traces = _over_stream(comparison, results, looks, _measure(name))
        charts.append(
            Chart(name.replace("-", " ").capitalize(), caption, traces, _stream_layout(comparison, {}))
        )
    return charts


def _measure(name: str) -> Callable[[Row], float | None]:
    return lambda row: (row.get("measures") or {}).get(name)


def _over_stream(
    comparison: Comparison, results: Sequence[Result], looks: Looks, value: Callable[[Row], float | None]
) -> list[Trace]:
    traces: list[Trace] = []
    for method in comparison.methods:
        for budget in comparison.budgets:
            mine = [r for r in results if r.method == method and r.budget == budget and r.failure is None]
            places: dict[float, list[float]] = {}
            for result in mine:
                for place, row in _placed_rows(result):
                    if (number := value(row)) is not None:
                        places.setdefault(place, []).append(float(number))
            if places:
                meta = {"method": method, "budget": budget if len(comparison.budgets) > 1 else None}
                traces += _curve({x: mean_interval(places[x]) for x in sorted(places)}, looks[method], meta)
    return traces


def _placed_rows(result: Result) -> list[tuple[float, Row]]:
    """Place each row on the stream: the end of the first chunk is 1, half of its steps 0.5."""
    steps = {row["chunk"]: row["step"] for row in result.rows if row["last"]}
    return [
        (row["chunk"] + (1.0 if row["last"] else round(row["step"] / steps[row["chunk"]], 6)), row)
        for row in result.rows
        if row["chunk"] in steps
    ]


def _curve(estimates: Mapping[float, Estimate], look: Look, meta: dict[str, Any]) -> list[Trace]:
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(estimates) <= 12 else "lines",
        "name": look.text,
        "x": list(estimates),
        "y": [estimate.mean for estimate in estimates.values()],
        "hovertemplate": f"<b>{look.text}</b><br>%{{y}}<extra></extra>",
        "line": {"color": look.colour, "width": 2, "dash": look.dash},
        "marker": look.marker(7),
        "meta": meta,
    }
    banded = [(x, e.low, e.high) for x, e in estimates.items() if e.low is not None and e.high is not None]
    if not banded:
        return [line]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _, _ in banded] + [x for x, _, _ in banded[::-1]],
        "y": [high for _, _, high in banded] + [low for _, low, _ in banded[::-1]],
        "fill": "toself",
        "fillcolor": look.shade(0.13),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "meta": meta,
    }
    return [band, line]


def _stream_layout(comparison: Comparison, layout: dict[str, Any]) -> dict[str, Any]:
    count = len(comparison.chunks)
    step = max(1, -(-count // 10))
    ticks = list(range(step, count + 1, step))
    names = (
        [html.escape(comparison.chunks[tick - 1], quote=False) for tick in ticks]
        if count <= 4
        else [str(tick) for tick in ticks]
    )
    axis = {
        "tickvals": ticks,
        "ticktext": names,
        "title": {"text": "end of chunk"},
        "range": [None, count + 0.15],
    }
    return {"xaxis": axis, **layout}
