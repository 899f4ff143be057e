"""The curves of an agents' report: returns and measures of plasticity along the steps, with bands over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hare_tortoise.lab.report_charts import Chart, Looks, Trace, ruled
from hare_tortoise.lab.report_curves import curve
from hare_tortoise.lab.statistics import Estimate, mean_interval
from hare_tortoise.rl.report.charts import safe
from hare_tortoise.rl.report.entries import AgentComparison
from hare_tortoise.rl.report.figures import BySeed, Finished, Key
from hare_tortoise.rl.report.sentence import FEW_GAMES

_BINS = (50, 25, 20, 10, 5)
_MEASURES: Mapping[str, str] = {
    "dormant_ratio": "Share of the hidden units that are silent on observations of the replay; it grows as plasticity "
    "is lost.",
    "effective_rank": "Of what the last layer reads of observations of the replay: how many directions they use.",
    "hare_tortoise_distance": "Between the network that is trained and the average that plays, over all weights; a "
    "reset makes it 0.",
    "decision_churn": "Share of the observations whose best action one update changes.",
}


def learning(comparison: AgentComparison, finished: Mapping[Key, BySeed], looks: Looks) -> list[Chart]:
    """Draw the returns along the steps, of training and of whole games on the way, game by game.

    Args:
        comparison: as `compare_agents` gives it.
        finished: the trials that it was made from.
        looks: of its methods.
    """
    charts = []
    for games in comparison.games:
        where = games[0] if len(games) == 1 else "the sequence"
        layout, along = _steps_layout(comparison, games), training_curves(comparison, games, finished)
        caption = "Mean of the episodes that ended around each step, over the seeds, with its 95 % interval."
        traces = _curves(comparison, games, finished, looks, along)
        charts.append(
            Chart(f"Training return on {where}", caption, traces, layout, crowded=True, wide=len(games) > 1)
        )
        for game in dict.fromkeys(games):
            judged = _curves(comparison, games, finished, looks, partial(_judged, game))
            if any(len(trace["x"]) > 1 for trace in judged if "hovertemplate" in trace):
                caption = "Whole games of the network that plays, mean over the seeds with its 95 % interval."
                charts.append(Chart(f"Whole games of {game}", caption, judged, layout, crowded=True))
    return [chart for chart in charts if chart.traces]


def measured(comparison: AgentComparison, finished: Mapping[Key, BySeed], looks: Looks) -> list[Chart]:
    """Draw the measures of plasticity along the steps; of many games the mean over them.

    Args:
        comparison: as `compare_agents` gives it.
        finished: the trials that it was made from.
        looks: of its methods.
    """
    taken = {
        name
        for done in finished.values()
        for t in done.values()
        for r in t.rows
        for name in r.get("measures", {})
    }
    single = [games for games in comparison.games if len(games) == 1]
    groups: list[list[tuple[str, ...]]] = [[games] for games in comparison.games if len(games) > 1]
    groups += [[games] for games in single] if len(single) <= FEW_GAMES else [list(single)]
    charts = []
    for group in groups:
        where = f"mean over {len(group)} games" if len(group) > 1 else " > ".join(group[0])
        for name in sorted(taken):
            traces: list[Trace] = []
            for method in comparison.methods:
                estimates = _mean_over(group, method, finished, name)
                traces += (
                    curve(estimates, looks[method], {"method": method, "budget": None}) if estimates else []
                )
            title = name.replace("_", " ").capitalize()
            title += f", {where}" if len(groups) > 1 or len(group) > 1 else ""
            charts.append(
                Chart(
                    title, _MEASURES.get(name, ""), traces, _steps_layout(comparison, group[0]), crowded=True
                )
            )
    return [chart for chart in charts if chart.traces]


def training_curves(
    comparison: AgentComparison, games: tuple[str, ...], finished: Mapping[Key, BySeed]
) -> Callable[[Finished], dict[int, float]]:
    """Choose bins of the steps that are wide enough for an episode to end in each; gives what makes a trial's curve.

    Args:
        comparison: as `compare_agents` gives it.
        games: one of its games, or sequences.
        finished: the trials that it was made from.
    """
    trials = [trial for method in comparison.methods for trial in finished[games, method].values()]
    bins = next((b for b in _BINS if not any(trial.has_gaps(b) for trial in trials)), _BINS[-1])
    return lambda trial: trial.training_curve(bins)


def averaged(done: BySeed, along: Callable[[Finished], Mapping[int, float]]) -> dict[float, Estimate]:
    """Average a curve over seeds, at the steps where every one of them has a value."""
    curves = [along(trial) for trial in done.values()]
    if not curves:
        return {}
    steps = sorted(set.intersection(*(set(each) for each in curves)))
    return {float(step): mean_interval([each[step] for each in curves]) for step in steps}


def _curves(
    comparison: AgentComparison,
    games: tuple[str, ...],
    finished: Mapping[Key, BySeed],
    looks: Looks,
    along: Callable[[Finished], Mapping[int, float]],
) -> list[Trace]:
    traces: list[Trace] = []
    for method in comparison.methods:
        estimates = averaged(finished.get((games, method), {}), along)
        if estimates:
            traces += curve(estimates, looks[method], {"method": method, "budget": None})
    return traces


def _judged(game: str, trial: Finished) -> dict[int, float]:
    return trial.evaluation_curve(game)


def _mean_over(
    group: Sequence[tuple[str, ...]], method: str, finished: Mapping[Key, BySeed], name: str
) -> dict[float, Estimate]:
    """Average a measure over games, seed by seed, then over the seeds that finished on all of them."""
    done = [finished.get((games, method), {}) for games in group]
    seeds = set.intersection(*(set(each) for each in done))
    curves: dict[int, dict[int, float]] = {}
    for seed in sorted(seeds):
        each = [trials[seed].measure_curve(name) for trials in done]
        steps = set.intersection(*(set(found) for found in each))
        curves[seed] = {step: sum(found[step] for found in each) / len(each) for step in steps}
    if not curves:
        return {}
    shared = sorted(set.intersection(*(set(found) for found in curves.values())))
    return {float(step): mean_interval([found[step] for found in curves.values()]) for step in shared}


def _steps_layout(comparison: AgentComparison, games: Sequence[str]) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "steps of the agent"}, "tickformat": ",", "rangemode": "tozero"},
        "shapes": [ruled("x", phase * comparison.steps, "dot") for phase in range(1, len(games))],
    }
    if len(games) > 1:
        layout["annotations"] = [
            {
                "text": safe(game.rpartition(":")[2]),
                "showarrow": False,
                "font": {"size": 11, "color": "#5b6270"},
                "x": (phase + 0.5) * comparison.steps,
                "yref": "paper",
                "y": 1.0,
                "yanchor": "bottom",
            }
            for phase, game in enumerate(games)
        ]
    return layout
