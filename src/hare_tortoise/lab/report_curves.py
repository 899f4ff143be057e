"""The curves of the report: accuracy and measures of plasticity over the stream, with bands over the seeds."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hare_tortoise.lab.comparison import Comparison, ends, judged
from hare_tortoise.lab.recipe import FROM_SCRATCH
from hare_tortoise.lab.report_charts import Chart, Looks, Trace
from hare_tortoise.lab.report_looks import BASELINE, Look
from hare_tortoise.lab.statistics import Estimate, mean_interval
from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.lab.wording import capital, starts_anew
from hare_tortoise.measures import MEASURES
from hare_tortoise.measures.generalization import generalization_gap


def curves(comparison: Comparison, results: Sequence[Result], looks: Looks) -> list[Chart]:
    """Draw the accuracy that counts, the training accuracy and the generalisation gap over the stream.

    Args:
        comparison: as `compare` gives it.
        results: what it was made from.
        looks: of its methods.
    """
    online, unit = comparison.score.startswith("online"), comparison.score.removeprefix("online ")
    found = [(f"Test {unit}", _TEST.format(unit), lambda row: row["test_accuracy"])]
    if online:
        found.insert(0, (capital(comparison.score), _ONLINE, lambda row: judged(row, online=True)))
    train = f"Of the same network, on {'what' if unit == 'R²' else 'the labels'} it was trained on, {_NOISE[unit]}."
    found.append((f"Training {unit}", train, lambda row: row.get("train_accuracy")))
    # With few seeds intervals go beyond what an accuracy can be, and would take the room of the curves.
    least = -1 if unit == "R²" else 0
    layout = {"yaxis": {"tickformat": ".0%", "minallowed": least, "maxallowed": 1.02}}
    charts = []
    for title, caption, value in found:
        if traces := _over_stream(comparison, results, looks, value):
            if title == f"Test {unit}" and comparison.baselines:
                traces += _baseline_curves(comparison, results)
                caption += " Grey: predictors that learn nothing."
            charts.append(Chart(title, caption, traces, stream_layout(comparison, layout), crowded=True))
    return [*charts, *_gap(comparison, results, looks)]


_TEST = "Mean over the seeds, test {} of the network that would be shipped; the band is its 95 % interval."
_ONLINE = "Mean over the seeds, each batch predicted before the step on it; the band is its 95 % interval."
_NOISE = {"accuracy": "wrong ones included", "R²": "as it was given"}


def _gap(comparison: Comparison, results: Sequence[Result], looks: Looks) -> list[Chart]:
    """Draw what continuing costs; at one or two chunks the first picture and the table say the same."""
    online = comparison.score.startswith("online")
    done = [r for r in results if r.recipe == comparison.recipe and r.failure is None]
    scratch = {(r.seed, r.budget): r for r in done if r.method == FROM_SCRATCH}

    def values(result: Result) -> list[tuple[float, float]]:
        other = scratch.get((result.seed, result.budget))
        if other is None or starts_anew(result.method):
            return []
        pairs = [
            (judged(a, online=online), judged(b, online=online))
            for a, b in zip(ends(other), ends(result), strict=True)
        ]
        return [
            (n + 1.0, generalization_gap(a, b))
            for n, (a, b) in enumerate(pairs)
            if a is not None and b is not None
        ]

    traces = mean_curves(comparison, results, looks, values) if len(comparison.chunks) > 2 else []
    if not traces:
        return []
    caption = (
        f"{capital(comparison.score)} of from scratch minus that of the method on the same seed, in points: above 0 "
        "continuing costs. It is a gap of generalisation where both fit what they were trained on alike."
    )
    for trace in traces:
        trace["y"] = [100 * value for value in trace["y"]]
    layout = {"yaxis": {"ticksuffix": " pt"}, "shapes": [_ZERO]}
    return [Chart("Gap to from scratch", caption, traces, stream_layout(comparison, layout), crowded=True)]


_ZERO = {
    "type": "line",
    "layer": "below",
    "line": {"color": "#1f2430", "width": 1},
    "xref": "paper",
    "x0": 0,
    "x1": 1,
    "y0": 0,
    "y1": 0,
}


def _baseline_curves(comparison: Comparison, results: Sequence[Result]) -> list[Trace]:
    """Draw what learns nothing: it is the same in all trials of a seed."""
    done = [r for r in results if r.recipe == comparison.recipe and r.failure is None]
    by_seed = {result.seed: ends(result) for result in done}
    traces: list[Trace] = []
    for baseline, dash in zip(comparison.baselines, itertools.cycle(("dash", "dot", "dashdot"))):
        text = html.escape(baseline.label, quote=False)
        places = range(1, len(comparison.chunks) + 1)
        means = [
            mean_interval([rows[n - 1]["baselines"][baseline.name] for rows in by_seed.values()])
            for n in places
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": text,
                "x": list(places),
                "y": [estimate.mean for estimate in means],
                "hovertemplate": f"<b>{text}</b><br>%{{y}}<extra></extra>",
                "line": {"color": BASELINE, "width": 2, "dash": dash},
                "meta": {"method": None, "budget": None},
            }
        )
    return traces


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
            Chart(
                name.replace("-", " ").capitalize(),
                caption,
                traces,
                stream_layout(comparison, {}),
                crowded=True,
            )
        )
    return charts


def _measure(name: str) -> Callable[[Row], float | None]:
    return lambda row: (row.get("measures") or {}).get(name)


def _over_stream(
    comparison: Comparison, results: Sequence[Result], looks: Looks, value: Callable[[Row], float | None]
) -> list[Trace]:
    def values(result: Result) -> list[tuple[float, float]]:
        placed = ((place, value(row)) for place, row in _placed_rows(result))
        return [(place, float(number)) for place, number in placed if number is not None]

    return mean_curves(comparison, results, looks, values)


def mean_curves(
    comparison: Comparison,
    results: Sequence[Result],
    looks: Looks,
    values: Callable[[Result], Sequence[tuple[float, float]]],
) -> list[Trace]:
    """Draw a curve for each method and budget, the mean over the seeds with a band.

    Args:
        comparison: as `compare` gives it.
        results: what it was made from.
        looks: of its methods.
        values: places on the stream with values, of a trial; none where it has none.
    """
    traces: list[Trace] = []
    done = [r for r in results if r.recipe == comparison.recipe and r.failure is None]
    for method in comparison.methods:
        for budget in comparison.budgets:
            mine = [r for r in done if r.method == method and r.budget == budget]
            places: dict[float, list[float]] = {}
            for result in mine:
                for place, number in values(result):
                    places.setdefault(place, []).append(number)
            if places:
                meta = {"method": method, "budget": budget if len(comparison.budgets) > 1 else None}
                traces += curve({x: mean_interval(places[x]) for x in sorted(places)}, looks[method], meta)
    return traces


def _placed_rows(result: Result) -> list[tuple[float, Row]]:
    """Place each row on the stream: the end of the first chunk is 1, half of its steps 0.5."""
    steps = {row["chunk"]: row["step"] for row in result.rows if row["last"]}
    return [
        (row["chunk"] + (1.0 if row["last"] else round(row["step"] / steps[row["chunk"]], 6)), row)
        for row in result.rows
        if row["chunk"] in steps
    ]


def curve(estimates: Mapping[float, Estimate], look: Look, meta: dict[str, Any]) -> list[Trace]:
    """Draw a curve with a band where there are intervals.

    Args:
        estimates: by place, in order.
        look: of the method.
        meta: of the traces: method and budget.
    """
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


def stream_layout(comparison: Comparison, layout: dict[str, Any]) -> dict[str, Any]:
    """Give the layout of a chart over the stream."""
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
