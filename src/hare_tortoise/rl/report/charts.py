"""The first figures of an agents' report, as plotly.js takes them: differences, performance profiles, the IQM."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.report_charts import Chart, Looks, Trace, bars, ruled
from hare_tortoise.lab.report_curves import curve
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import labels
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.report.entries import NORMALISED, RETURN, Across, AgentComparison
from hare_tortoise.rl.report.sentence import FEW_GAMES
from hare_tortoise.rl.report.wording import SCORE, change, span

_ANSWER = (
    "A method minus its reference on the same seeds, by itself the plain agent; bars are 95 % intervals, and one that "
    "crosses the line shows no difference."
)
_MANY = 12  # lines, from which on they stand closer
_ODDS = "Share of pairs of runs on the same game in which the method's is better; at the line both are alike."
Row = tuple[str, str, Estimate]
"""Name of a line, method, difference."""


@dataclass(frozen=True)
class Panel:
    """Differences on one scale.

    Args:
        title: what they are of.
        rows: a line for each.
        line: the value that says that both are alike.
        decimals: of the figures; None: as many as each calls for.
        wide: whether it takes the whole width of the page.
    """

    title: str
    rows: Sequence[Row]
    line: float = 0.0
    decimals: int | None = None
    wide: bool = False

    def written(self, estimate: Estimate) -> str:
        """Write one of its differences."""
        return (span if self.line else change)(estimate, decimals=self.decimals)


def panels(comparison: AgentComparison) -> list[Panel]:
    """Give what comes first: the differences to the references, over the games and on each; those that there are.

    Of many games with a common scale there is one panel for all.

    Args:
        comparison: as `compare_agents` gives it.
    """
    found, across = [], comparison.across
    apart = list(comparison.games)
    if across is not None:
        found.append(_over_games(comparison, across))
        if across.normalised and len(across.games) > FEW_GAMES:
            apart = [games for games in apart if len(games) > 1]
            rows = [
                (f"{game.rpartition(':')[2]}: {name}", method, estimate)
                for game in across.games
                for name, method, estimate in _differences(comparison, (game,), NORMALISED)
            ]
            found.append(Panel("Human-normalised score on each game", rows, decimals=SCORE, wide=True))
    for games in apart:
        where = games[0] if len(games) == 1 else f"{games[-1]}, the last of the sequence"
        found.append(Panel(f"Return on {where}", _differences(comparison, games, RETURN)))
    return [panel for panel in found if panel.rows]


def answers(comparison: AgentComparison, looks: Looks) -> list[Chart]:
    """Draw the panels.

    Args:
        comparison: as `compare_agents` gives it.
        looks: of its methods.
    """
    return [_forest(panel, looks) for panel in panels(comparison)]


def _differences(comparison: AgentComparison, games: tuple[str, ...], name: str) -> list[Row]:
    names = labels(comparison.methods)
    figures = {method: comparison.entry(games, method).figure(name) for method in comparison.methods}
    return [
        (_against(names, method, against.reference), method, against.difference)
        for method, figure in figures.items()
        if figure is not None
        for against in figure.differences
    ]


def _over_games(comparison: AgentComparison, across: Across) -> Panel:
    """Differences of the IQM, or without a common scale the probabilities of improvement."""
    names, rows = labels(comparison.methods), []
    for entry in across.entries:
        for each in entry.differences:
            values = {found.name: found.value for found in each.aggregates}
            estimate = values["iqm"] if across.normalised else each.improvement
            rows.append((_against(names, entry.method, each.reference), entry.method, estimate))
    if across.normalised:
        title = f"IQM of human-normalised scores over {len(across.games)} games"
        return Panel(title, rows, decimals=SCORE, wide=True)
    title = f"Probability of improvement over {len(across.games)} games"
    return Panel(title, rows, line=0.5, decimals=2, wide=True)


def _against(names: Mapping[str, str], method: str, reference: str) -> str:
    """Name a difference; where nothing else is said it is to the plain agent."""
    return names[method] + ("" if reference == NOTHING else f" − {names[reference]}")


def _forest(panel: Panel, looks: Looks) -> Chart:
    names = [safe(name) for name, _, _ in panel.rows][::-1]  # plotly counts upwards, people read downwards
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": looks[method].text,
            "x": [estimate.mean],
            "y": [safe(name)],
            "error_x": bars([estimate], looks[method]),
            "text": [f"<b>{safe(name)}</b><br>{panel.written(estimate)}, {estimate.count} seeds"],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": looks[method].marker(11),
            "meta": {"method": method, "budget": None},
        }
        for name, method, estimate in reversed(panel.rows)
    ]
    layout: dict[str, Any] = {
        "xaxis": {"nticks": 6},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [-0.6, len(names) - 0.4],
            "automargin": True,
        },
        "shapes": [ruled("x", panel.line, "solid")],
    }
    caption = _ODDS if panel.line else _ANSWER
    return Chart(
        panel.title,
        caption,
        traces,
        layout,
        height=80 + (24 if len(panel.rows) > _MANY else 34) * len(panel.rows),
        wide=panel.wide,
    )


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
