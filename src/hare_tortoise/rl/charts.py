"""The first figures of an agents' report, as plotly.js takes them: differences, performance profiles, the IQM."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from hare_tortoise.lab.report_charts import Chart, Looks, Trace, bars, ruled
from hare_tortoise.lab.report_curves import curve
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import labels
from hare_tortoise.rl.entries import NORMALISED, RETURN, Across, AgentComparison
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.sentence import FEW_GAMES
from hare_tortoise.rl.wording import SCORE, change, span

_ANSWER = (
    "A method minus its reference on the same seeds, by itself the plain agent; bars are 95 % intervals, and one that "
    "crosses the line shows no difference."
)
_Row = tuple[str, str, Estimate]
"""Name of a line, method, difference."""


def answers(comparison: AgentComparison, looks: Looks) -> list[Chart]:
    """Draw what comes first: the differences to the references, over the games and on each.

    Args:
        comparison: as `compare_agents` gives it.
        looks: of its methods.
    """
    found, across = [], comparison.across
    if across is not None:
        found.append(_over_games(comparison, across, looks))
    if across is not None and across.normalised and len(across.games) > FEW_GAMES:
        title = "Human-normalised score on each game"
        rows = [
            (f"{games[0].partition(':')[2]}: {name}", method, estimate)
            for games in comparison.games
            if len(games) == 1
            for name, method, estimate in differences(comparison, games, NORMALISED)
        ]
        found.append(_forest(title, _ANSWER, rows, looks, decimals=SCORE))
        singles = [games for games in comparison.games if len(games) > 1]
    else:
        singles = list(comparison.games)
    for games in singles:
        where = games[0] if len(games) == 1 else f"{games[-1]}, the last of the sequence"
        found.append(_forest(f"Return on {where}", _ANSWER, differences(comparison, games, RETURN), looks))
    return [chart for chart in found if chart.traces]


def differences(comparison: AgentComparison, games: tuple[str, ...], name: str) -> list[_Row]:
    """Give the differences of a figure on a game, method by method, each with the words for its line."""
    names, found = labels(comparison.methods), []
    for method in comparison.methods:
        figure = comparison.entry(games, method).figure(name)
        for against in () if figure is None else figure.differences:
            text = names[method]
            text += "" if against.reference == NOTHING else f" − {names[against.reference]}"
            found.append((text, method, against.difference))
    return found


def _over_games(comparison: AgentComparison, across: Across, looks: Looks) -> Chart:
    names, rows = labels(comparison.methods), []
    for entry in across.entries:
        for each in entry.differences:
            text = names[entry.method]
            text += "" if each.reference == NOTHING else f" − {names[each.reference]}"
            values = {found.name: found.value for found in each.aggregates}
            rows.append((text, entry.method, values["iqm"] if across.normalised else each.improvement))
    if across.normalised:
        title = f"IQM of human-normalised scores over {len(across.games)} games"
        return _forest(title, _ANSWER, rows, looks, decimals=SCORE, wide=True)
    caption = (
        "Share of pairs of runs on the same game in which the method's is better; at the line both are alike."
    )
    title = f"Probability of improvement over {len(across.games)} games"
    return _forest(title, caption, rows, looks, decimals=2, wide=True, line=0.5)


def _forest(
    title: str,
    caption: str,
    rows: Sequence[_Row],
    looks: Looks,
    *,
    decimals: int | None = None,
    wide: bool = False,
    line: float = 0.0,
) -> Chart:
    names = [safe(name) for name, _, _ in rows][::-1]  # plotly counts upwards, people read downwards
    traces: list[Trace] = []
    for name, method, estimate in reversed(rows):
        written = span(estimate, decimals=decimals) if line else change(estimate, decimals=decimals)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": looks[method].text,
                "x": [estimate.mean],
                "y": [safe(name)],
                "error_x": bars([estimate], looks[method]),
                "text": [f"<b>{safe(name)}</b><br>{written}, {estimate.count} seeds"],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": looks[method].marker(11),
                "meta": {"method": method, "budget": None},
            }
        )
    layout: dict[str, Any] = {
        "xaxis": {"nticks": 6},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names, "automargin": True},
        "shapes": [ruled("x", line, "solid")],
    }
    return Chart(title, caption, traces, layout, height=110 + 30 * len(rows), wide=wide)


def over_games(comparison: AgentComparison, looks: Looks) -> list[Chart]:
    """Draw performance profiles, and the IQM along the steps; nothing without a common scale.

    Args:
        comparison: as `compare_agents` gives it.
        looks: of its methods.
    """
    across = comparison.across
    if across is None or not across.normalised:
        return []
    profiles: list[Trace] = []
    curves: list[Trace] = []
    for entry in across.entries:
        meta = {"method": entry.method, "budget": None}
        if entry.profile:
            places = dict(zip(across.thresholds, entry.profile, strict=True))
            profiles += curve(places, looks[entry.method], meta)
        if entry.curve:
            curves += curve({float(p.step): p.value for p in entry.curve}, looks[entry.method], meta)
    share = "Share of all runs and games with a score above; the higher, the better."
    profile = Chart(
        "Performance profile",
        f"{share} Bands are 95 % intervals of the stratified bootstrap.",
        profiles,
        {"xaxis": {"title": {"text": "human-normalised score"}}, "yaxis": {"tickformat": ".0%"}},
        crowded=True,
    )
    of = {"evaluation": "whole games on the way", "training": "the episodes of training"}[across.curve_of]
    steps = Chart(
        "IQM along the steps",
        f"Of human-normalised scores of {of}; bands are 95 % intervals of the stratified bootstrap.",
        curves,
        {"xaxis": {"title": {"text": "steps of the agent"}, "tickformat": ","}},
        crowded=True,
    )
    return [chart for chart in (profile, steps) if chart.traces]


def safe(text: str) -> str:
    """Write a text as plotly shows it: it reads a little markup."""
    return html.escape(text, quote=False)
