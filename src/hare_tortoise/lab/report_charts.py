"""The figures of the report, as plotly.js takes them: data, not drawings."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.comparison import FULL, Comparison, Entry
from hare_tortoise.lab.recipe import FROM_SCRATCH
from hare_tortoise.lab.report_looks import BASELINE, Look
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import capital, duration, percent, points, share, starts_anew

Trace = dict[str, Any]
Looks = Mapping[str, Look]
_TICKS = tuple(base * 10.0**power for power in range(-4, 3) for base in (1, 2, 3, 5))


@dataclass(frozen=True)
class Chart:
    """A figure with the words around it.

    Args:
        title: what it shows.
        caption: how to read it; empty for none.
        traces: as plotly.js takes them; ``meta`` holds the method and the budget (None: of all budgets).
        layout: as plotly.js takes it, without what all figures share.
        height: in pixels.
        wide: whether it takes the whole width of the page.
        crowded: whether all methods lie over each other in it, so that of many only some are shown at first.
        choice: what the traces are of which one is shown at a time, where there are such.
    """

    title: str
    caption: str
    traces: list[Trace]
    layout: dict[str, Any]
    height: int = 380
    wide: bool = False
    crowded: bool = False
    choice: str = "network"


def pictures(comparison: Comparison, looks: Looks) -> list[Chart]:
    """Draw what comes first: accuracy against cost; where all cost the same, accuracy alone, method by method.

    Args:
        comparison: as `compare` gives it.
        looks: of its methods.
    """
    costs = [cost for entry in comparison.entries if (cost := cost_of(comparison, entry)) is not None]
    if not costs:
        return []
    if len(comparison.budgets) > 1 or max(costs) > 1.02 * min(costs):
        return [_againstcost_of(comparison, looks)]
    final = _side_by_side(comparison, looks, f"Final {comparison.score}", average=False)
    if len(comparison.chunks) < 2:
        return [final]
    title = f"{capital(comparison.score)}, average over the stream"
    return [_side_by_side(comparison, looks, title, average=True), final]


def cost_of(comparison: Comparison, entry: Entry) -> float | None:
    """Give the share of from scratch's cost at budget 1; where that was not run, the samples."""
    return entry.samples if comparison.reference is None else entry.cost


def around_reference(comparison: Comparison, entry: Entry, *, average: bool = False) -> Estimate | None:
    """Place an entry at its accuracy, with the interval of its paired difference to from scratch around it.

    A bar then lies above a line drawn below from scratch exactly where the difference does. From scratch is taken
    at budget 1 or, where that was not run, at the largest; without it this is the plain estimate.

    Args:
        comparison: as `compare` gives it.
        entry: one of it.
        average: whether to take the average over the stream, or the final accuracy.

    Returns:
        None where no seed of the entry finished.
    """
    reference = comparison.reference or comparison.entry(FROM_SCRATCH, max(comparison.budgets))
    accuracy = _accuracy(entry, average)
    base = None if reference is None else _accuracy(reference, average)
    if accuracy is None or reference is None or base is None:
        return accuracy
    if entry == reference:
        return Estimate(base.mean, None, None, base.count)
    found = entry.to(FROM_SCRATCH, reference.budget)
    if found is None:
        return accuracy
    paired = found.average if average else found.final
    if paired.low is None or paired.high is None:
        return Estimate(base.mean + paired.mean, None, None, paired.count)
    return Estimate(base.mean + paired.mean, base.mean + paired.low, base.mean + paired.high, paired.count)


def _accuracy(entry: Entry, average: bool) -> Estimate | None:
    return entry.average if average else entry.final


def _againstcost_of(comparison: Comparison, looks: Looks) -> Chart:
    shown = [
        method
        for method in comparison.methods
        if any(e.method == method and e.seeds for e in comparison.entries)
    ]
    several = len(comparison.budgets) > 1
    low, high = _cost_range(comparison)
    span = math.log(high / low)
    traces = []
    for place, method in enumerate(shown):
        look = looks[method]
        # points of one budget would hide each other; on a logarithmic axis a factor moves all alike
        moved = math.exp(0.04 * span * (2 * place / max(1, len(shown) - 1) - 1)) if several else 1.0
        entries = [e for e in comparison.entries if e.method == method and e.seeds]
        found = [
            (e, p, c)
            for e in entries
            if (p := around_reference(comparison, e)) and (c := cost_of(comparison, e))
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(found) > 1 else "markers",
                "name": look.text,
                "x": [cost * moved for _, _, cost in found],
                "y": [p.mean for _, p, _ in found],
                "error_y": bars([p for _, p, _ in found], look),
                "text": [_hover(comparison, e, look) for e, _, _ in found],
                "hovertemplate": "%{text}<extra></extra>",
                "line": {"color": look.colour, "width": 2, "dash": look.dash},
                "marker": look.marker(9),
                "meta": {"method": method, "budget": None},
            }
        )
    return Chart(
        f"{capital(comparison.score)} against cost",
        _reading(comparison, several),
        traces,
        _cost_layout(comparison),
        height=480,
        wide=True,
    )


def _reading(comparison: Comparison, several: bool) -> str:
    reference = comparison.reference
    cost = "Cost is the samples processed over the whole stream"
    if reference is None:
        return f"{cost}. Bars are 95 % intervals."
    margin = f"{100 * comparison.margin:g}"
    text = (
        f"{cost}, as a share of from scratch at full budget. Bars are 95 % intervals of the paired difference to from "
        f"scratch at full budget (solid line): a bar wholly above the dotted line, {margin} point"
        f"{'' if margin == '1' else 's'} lower, reaches it. Hollow marks and dashed lines: controls, from scratch "
        "with something added."
    )
    return text + (" Marks of one budget are moved apart sideways." if several else "")


def _cost_range(comparison: Comparison) -> tuple[float, float]:
    costs = [c for e in comparison.entries if (c := cost_of(comparison, e))]
    low, high = min(costs) / 1.15, max(costs) * 1.25
    # the names of the lines stand at the left, clear of the marks
    return low * (low / high) ** 0.14, high


def _cost_layout(comparison: Comparison) -> dict[str, Any]:
    low, high = _cost_range(comparison)
    relative = comparison.reference is not None
    axis: dict[str, Any] = {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "title": {"text": "cost, share of from scratch at full budget"},
    }
    if relative:
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        axis |= {"tickvals": ticks, "ticktext": [share(tick) for tick in ticks]}
    else:
        axis |= {"title": {"text": "samples processed"}}
    layout: dict[str, Any] = {
        "xaxis": axis,
        "yaxis": {"title": {"text": f"final {comparison.score}"}, "tickformat": ".1%"},
    }
    if relative and comparison.reference is not None and comparison.reference.final is not None:
        level = comparison.reference.final.mean
        layout["shapes"] = [ruled("y", level, "solid"), ruled("y", level - comparison.margin, "dot")]
        margin = f"{100 * comparison.margin:g}"
        layout["annotations"] = [
            _note(level, "bottom", f"from scratch {100 * level:.1f} %"),
            _note(level - comparison.margin, "top", f"− {margin} point{'' if margin == '1' else 's'}"),
        ]
    if (best := comparison.best_baseline(average=False)) is not None:
        layout.setdefault("shapes", []).append(ruled("y", best.final.mean, "dash", BASELINE))
        layout.setdefault("annotations", []).append(
            _note(best.final.mean, "bottom", html.escape(best.label, quote=False))
        )
    return layout


def ruled(axis: str, value: float, dash: str, colour: str = "#1f2430") -> dict[str, Any]:
    """Rule a line through the whole figure at a value of an axis.

    Args:
        axis: ``x`` or ``y``.
        value: on it.
        dash: as plotly names it.
        colour: as ``#rrggbb``.
    """
    across = {"xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value}
    along = {"yref": "paper", "y0": 0, "y1": 1, "x0": value, "x1": value}
    line = {"color": colour, "width": 1, "dash": dash}
    return {"type": "line", "layer": "between", "line": line, **(across if axis == "y" else along)}


def _note(level: float, side: str, text: str) -> dict[str, Any]:
    place = {"xref": "paper", "x": 0, "y": level, "xanchor": "left", "yanchor": side}
    return {
        "text": text,
        "showarrow": False,
        "font": {"size": 11, "color": "#5b6270"},
        **place,
    }


def _side_by_side(comparison: Comparison, looks: Looks, title: str, *, average: bool) -> Chart:
    entries = [entry for entry in comparison.entries if _accuracy(entry, average) is not None]
    # plotly counts upwards, people read downwards; the controls stand together under from scratch
    ordered = sorted(entries, key=lambda e: not starts_anew(e.method))[::-1]
    traces = []
    for entry in ordered:
        look, placed = looks[entry.method], around_reference(comparison, entry, average=average)
        if placed is None:
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": look.text,
                "x": [placed.mean],
                "y": [_broken(look)],
                "error_x": bars([placed], look),
                "text": [_hover(comparison, entry, look)],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": look.marker(11),
                "meta": {"method": entry.method, "budget": None},
            }
        )
    reference = comparison.reference or comparison.entry(FROM_SCRATCH, max(comparison.budgets))
    level = None if reference is None else _accuracy(reference, average)
    names = [_broken(looks[entry.method]) for entry in ordered]
    layout: dict[str, Any] = {
        "xaxis": {"tickformat": ".0%" if _spread(traces) > 0.05 else ".1%", "nticks": 6},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names, "automargin": True},
        "shapes": [] if level is None else [ruled("x", level.mean, "solid")],
    }
    best = comparison.best_baseline(average=average)
    if best is not None:
        value = best.average.mean if average else best.final.mean
        layout["shapes"].append(ruled("x", value, "dash", BASELINE))
    meant = "of the paired difference to from scratch (line)" if level is not None else "of the mean"
    hollow = " Hollow marks: controls, from scratch with something added." if level is not None else ""
    equal = "All methods process the same number of samples. " if len(entries) > 1 else ""
    dashed = "" if best is None else f" Dashed line: {best.label}."
    caption = f"{equal}Bars are 95 % intervals {meant}.{hollow}{dashed}"
    return Chart(title, caption, traces, layout, height=110 + 34 * len(ordered))


def _spread(traces: Sequence[Trace]) -> float:
    values = [trace["x"][0] for trace in traces]
    return max(values) - min(values) if values else 0.0


def bars(estimates: Sequence[Estimate], look: Look) -> dict[str, Any]:
    """Give intervals as plotly's error bars, each end by itself.

    Args:
        estimates: one for each mark.
        look: of their method.
    """
    return {
        "type": "data",
        "array": [0 if p.high is None else p.high - p.mean for p in estimates],
        "arrayminus": [0 if p.low is None else p.mean - p.low for p in estimates],
        "symmetric": False,
        "color": look.colour,
        "thickness": 1.3,
        "width": 3,
    }


def _hover(comparison: Comparison, entry: Entry, look: Look) -> str:
    cost = share(entry.cost) if comparison.reference is not None else f"{entry.samples or 0:,.0f} samples"
    lines = [
        f"<b>{look.text}</b>",
        f"budget {share(entry.budget)}, cost {cost}, {duration(entry.seconds)}",
        f"final {percent(entry.final)} %",
    ]
    if len(comparison.chunks) > 1:
        lines.append(f"average over the stream {percent(entry.average)} %")
    found = entry.to(FROM_SCRATCH, FULL) or entry.to(FROM_SCRATCH)
    if found is not None:
        lines.append(f"final against from scratch {points(found.final)} points")
    return "<br>".join(lines)


def _broken(look: Look) -> str:
    """Break a long name after its first part, so that it leaves room for the figure on a phone."""
    return look.text.replace(" + ", " +<br>", 1) if len(look.label) > 22 else look.text
