"""The pictures of a comparison of agents as small static SVGs: learning curves, differences, performance profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hare_tortoise.lab.drawing import (
    BOTTOM,
    GRID,
    HEIGHT,
    INK,
    LEFT,
    RIGHT,
    TOP,
    names,
    svg,
    ticks,
    upwards,
    words,
)
from hare_tortoise.lab.report_looks import Look, looks
from hare_tortoise.lab.report_marks import mark
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import labels
from hare_tortoise.rl.report.charts import Panel, panels
from hare_tortoise.rl.report.charts_along import averaged, training_curves
from hare_tortoise.rl.report.entries import AgentComparison
from hare_tortoise.rl.report.figures import BySeed, Key
from hare_tortoise.rl.report.wording import in_words

_LETTER = 7.4  # width of one, in a wide font
_ROW, _PANEL, _FIELD = 24, 64, 380
Curve = Sequence[tuple[float, Estimate]]


def learning_picture(
    comparison: AgentComparison, games: tuple[str, ...], finished: Mapping[Key, BySeed]
) -> str | None:
    """Draw the training return along the steps, the mean over the seeds with a band; None where no episode ended.

    Args:
        comparison: as `compare_agents` gives it.
        games: one of its games, or sequences.
        finished: the trials that it was made from.
    """
    looked, along = looks(comparison.methods), training_curves(comparison, games, finished)
    curves = {
        method: tuple(averaged(finished[games, method], along).items()) for method in comparison.methods
    }
    found = {looked[method]: points for method, points in curves.items() if points}
    if not found:
        return None
    title = f"{comparison.recipe} on {', '.join(games)}: training return"
    phases = [phase * comparison.steps for phase in range(1, len(games))]
    return draw_curves(title, "steps of the agent", "training return", found, rules=phases)


def profile_picture(comparison: AgentComparison) -> str | None:
    """Draw the performance profiles; None without a common scale.

    Args:
        comparison: as `compare_agents` gives it.
    """
    across, looked = comparison.across, looks(comparison.methods)
    if across is None or not across.normalised:
        return None
    found = {
        looked[entry.method]: tuple(zip(across.thresholds, entry.profile, strict=True))
        for entry in across.entries
        if entry.profile
    }
    if not found:
        return None
    title = f"{comparison.recipe}: performance profiles over {len(across.games)} games"
    return draw_curves(title, "human-normalised score", "share of runs and games above", found)


def differences_picture(comparison: AgentComparison) -> str | None:
    """Draw the differences to the references, over the games and on each; None where there is none.

    Args:
        comparison: as `compare_agents` gives it.
    """
    found = panels(comparison)
    return draw_forest(comparison, found) if found else None


def draw_curves(
    title: str, across: str, up: str, curves: Mapping[Look, Curve], *, rules: Sequence[float] = ()
) -> str:
    """Draw curves with bands, each with its name at its end.

    Args:
        title: what they are.
        across: name of the axis to the right.
        up: name of the upward axis.
        curves: places with estimates of each method, at least one.
        rules: places with a dotted line through the whole picture.
    """
    places = [place for points in curves.values() for place, _ in points]
    ends = [
        v for points in curves.values() for _, e in points for v in (e.mean, e.low, e.high) if v is not None
    ]
    pad = 0.05 * (max(ends) - min(ends)) or 0.5
    first, last, low, high = min(0.0, *places), max(places), min(ends) - pad, max(ends) + pad
    last = last if last > first else first + 1.0

    def x(place: float) -> float:
        return LEFT + (RIGHT - LEFT) * (place - first) / (last - first)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    parts = []
    for value in ticks(low, high):
        parts += [f'<path d="M{LEFT} {y(value):.1f}H{RIGHT}" stroke="{GRID}"/>']
        parts += [words(LEFT - 8, y(value) + 4.5, _tick(value), "end")]
    for value in ticks(first, last):
        parts += [f'<path d="M{x(value):.1f} {TOP}V{BOTTOM}" stroke="{GRID}"/>']
        parts += [words(x(value), BOTTOM + 20, _tick(value), "middle")]
    parts += [
        f'<path d="M{x(place):.1f} {TOP}V{BOTTOM}" stroke="{INK}" stroke-dasharray="2 3"/>' for place in rules
    ]
    for look, points in curves.items():
        banded = [(x(p), y(e.low), y(e.high)) for p, e in points if e.low is not None and e.high is not None]
        if banded:
            edge = [f"{p:.1f} {top:.1f}" for p, _, top in banded]
            edge += [f"{p:.1f} {foot:.1f}" for p, foot, _ in reversed(banded)]
            parts.append(f'<path d="M{"L".join(edge)}Z" fill="{look.colour}" opacity="0.13"/>')
    for look, points in curves.items():
        path = "L".join(f"{x(place):.1f} {y(e.mean):.1f}" for place, e in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{look.colour}" stroke-width="2"/>')
        parts.append(mark(look, round(x(points[-1][0]), 1), round(y(points[-1][1].mean), 1)))
    parts += [words((LEFT + RIGHT) / 2, HEIGHT - 12, across, "middle"), upwards(up)]
    parts += names(y, [(look, points[-1][1].mean) for look, points in curves.items()])
    return svg(title, parts)


def draw_forest(comparison: AgentComparison, found: Sequence[Panel]) -> str:
    """Draw differences below each other, each panel on a scale of its own.

    Args:
        comparison: that they are of.
        found: one or more, with a line at least.
    """
    looked = looks(comparison.methods)
    left = 24 + _LETTER * max(len(name) for panel in found for name, _, _ in panel.rows)
    parts, top = [], 12.0
    for panel in found:
        parts += _panel(panel, looked, left, top)
        top += _PANEL + _ROW * len(panel.rows)
    title = f"{comparison.recipe}: {', '.join(labels(comparison.methods).values())}; differences"
    return svg(title, parts, width=left + _FIELD + 250, height=top)


def _panel(panel: Panel, looked: Mapping[str, Look], left: float, top: float) -> list[str]:
    values = [v for _, _, e in panel.rows for v in (e.mean, e.low, e.high) if v is not None]
    low, high = min(panel.line, *values), max(panel.line, *values)
    pad = 0.05 * (high - low) or 0.5
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return left + _FIELD * (value - low) / (high - low)

    head, foot = top + 26, top + 26 + _ROW * len(panel.rows)
    parts = [words(12, top + 12, panel.title, colour=INK)]
    for value in ticks(low, high, 6):
        parts.append(f'<path d="M{x(value):.1f} {head:.1f}V{foot:.1f}" stroke="{GRID}"/>')
        parts.append(words(x(value), foot + 16, _tick(value), "middle"))
    parts.append(f'<path d="M{x(panel.line):.1f} {head:.1f}V{foot:.1f}" stroke="{INK}"/>')
    for place, (name, method, estimate) in enumerate(panel.rows):
        y, look = head + _ROW * (place + 0.5), looked[method]
        parts.append(words(left - 12, y + 4.5, name, "end", colour=INK))
        if estimate.low is not None and estimate.high is not None:
            bar = f"M{x(estimate.low):.1f} {y:.1f}H{x(estimate.high):.1f}"
            parts.append(f'<path d="{bar}" stroke="{look.colour}" stroke-width="1.5"/>')
        parts.append(mark(look, round(x(estimate.mean), 1), round(y, 1)))
        parts.append(words(left + _FIELD + 12, y + 4.5, in_words(panel.written(estimate))))
    return parts


def _tick(value: float) -> str:
    return f"{value:,.10g}".replace("-", "−")
