"""A rule of thumb from a grid: how decay and reset interval relate to the steps of a chunk."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hare_tortoise.lab.composition import take_apart
from hare_tortoise.lab.plan import scaled_settings
from hare_tortoise.lab.sweep_cells import Cell, Data, Figure
from hare_tortoise.methods import HareTortoise

NEAR = 0.01
Steps = Mapping[tuple[str, float], int]


@dataclass(frozen=True)
class Pace:
    """How fast Hare & Tortoise is, in steps of the last chunk.

    Args:
        horizon: ``1 / (1 − decay)``, divided by the steps of the last chunk.
        interval: steps between resets, divided by the same.
        score: accuracy.
    """

    horizon: float
    interval: float
    score: float

    def distance(self, horizon: float, interval: float) -> float:
        """Give the distance to another pace in log space."""
        return math.hypot(math.log(self.horizon / horizon), math.log(self.interval / interval))


@dataclass(frozen=True)
class PanelRule:
    """What a panel of a grid says: one recipe with its values, at one budget.

    Args:
        recipe: its name.
        budget: share of the epochs.
        steps: optimizer steps of the last chunk.
        best: the best cell.
        horizon: geometric mean of the horizons of all cells within a point of the best, in steps of the last chunk.
        interval: the same of the reset intervals.
        horizons: the least and the greatest horizon of those cells.
        intervals: the least and the greatest interval.
        near: how many cells those are.
        cells: how many there are.
        edge: whether the best lies at the edge of the grid, so that a better one may lie beyond.
    """

    recipe: str
    budget: float
    steps: int
    best: Pace
    horizon: float
    interval: float
    horizons: tuple[float, float]
    intervals: tuple[float, float]
    near: int
    cells: int
    edge: bool


@dataclass(frozen=True)
class Rule:
    """What all panels say together.

    Args:
        panels: one for each.
        horizon: geometric mean over the panels of theirs, in steps of the last chunk.
        interval: likewise.
        losses: of each panel, the accuracy that its cell nearest to what the *other* panels say falls short of its
            best; empty with one panel.
        figure: what is best: ``final`` accuracy or its ``average`` over the stream.
        data: that the accuracies are of.
    """

    panels: tuple[PanelRule, ...]
    horizon: float
    interval: float
    losses: tuple[float, ...]
    figure: Figure
    data: Data

    def to_json(self) -> dict[str, Any]:
        """Give the rule as a JSON value."""
        return asdict(self)

    def __str__(self) -> str:
        return sentence(self)


def rule_of_thumb(
    cells: Sequence[Cell], steps: Steps, *, data: Data = "validation", figure: Figure = "average"
) -> Rule | None:
    """Relate decay, reset interval and chunk length, from the complete settings of Hare & Tortoise.

    In each panel the cells within a point of the best are taken together by the mean of the logarithms of
    ``1 / (1 − decay)`` and of ``reset_every``, both divided by the steps of the last chunk.

    Args:
        cells: of a sweep; those with schedules, without resets or not ended are passed over.
        steps: optimizer steps of the last chunk, by name of the recipe and budget.
        data: that the accuracies are of.
        figure: what is best.

    Returns:
        None where there are no two settings to choose between.
    """
    grouped: dict[tuple[str, float], list[Pace]] = {}
    for cell in cells:
        pace = _pace(cell, steps, data, figure)
        if pace is not None:
            grouped.setdefault(cell.unit.panel, []).append(pace)
    known = {key: paces for key, paces in grouped.items() if len(paces) > 1}
    if not known:
        return None
    found = {key: _panel(key, paces, steps[key]) for key, paces in known.items()}
    losses = []
    for key, paces in known.items():
        others = [panel for other, panel in found.items() if other != key]
        if others:
            horizon, interval = _middle([(panel.horizon, panel.interval) for panel in others])
            nearest = min(paces, key=lambda pace: pace.distance(horizon, interval))
            losses.append(found[key].best.score - nearest.score)
    horizon, interval = _middle([(panel.horizon, panel.interval) for panel in found.values()])
    return Rule(tuple(found.values()), horizon, interval, tuple(losses), figure, data)


def sentence(rule: Rule) -> str:
    """Say the rule, with what it is worth.

    Args:
        rule: as `rule_of_thumb` gives it.
    """
    panels = rule.panels
    many = len(panels) > 1
    best_h, best_i = [p.best.horizon for p in panels], [p.best.interval for p in panels]
    near, cells = sum(p.near for p in panels), sum(p.cells for p in panels)
    said = (
        f"best horizon 1/(1 − decay): {_span(best_h)} of the last chunk's steps; best reset interval: {_span(best_i)} "
        f"of them (by {rule.figure} {rule.data} accuracy{f', in {len(panels)} panels' if many else ''}). Within one "
        f"point of the best: {near} of the {cells} settings with resets, with horizons of "
        f"{_span([end for p in panels for end in p.horizons])} and resets every "
        f"{_span([end for p in panels for end in p.intervals])}; in the middle of them {rule.horizon:.2g} and "
        f"{rule.interval:.2g}."
    )
    if rule.losses:
        low, high = (f"{100 * loss:.1f}" for loss in (min(rule.losses), max(rule.losses)))
        lost = low if low == high else f"{low} to {high}"
        said += f" A panel set by what the other panels say loses {lost} points against its own best."
    edges = sum(p.edge for p in panels)
    if edges:
        where = f"In {edges} of {len(panels)} panels the" if many else "The"
        said += f" {where} best lies at the edge of the grid: a better one may lie beyond."
    return said


def _pace(cell: Cell, steps: Steps, data: Data, figure: Figure) -> Pace | None:
    unit = cell.unit
    if unit.role != "setting" or cell.state != "complete" or unit.panel not in steps:
        return None
    pairs = [call for call in take_apart(unit.method).methods if call.name == "hare-tortoise"]
    score = cell.estimate(data, figure)
    if len(pairs) != 1 or score is None:
        return None
    defaults = {name: taken.default for name, taken in inspect.signature(HareTortoise).parameters.items()}
    settings = defaults | scaled_settings(pairs[0], unit.budget)
    decay, interval, whole = settings["decay"], settings["reset_every"], steps[unit.panel]
    if not (isinstance(decay, float) and isinstance(interval, int)):
        return None
    return Pace(1 / (1 - decay) / whole, interval / whole, score.mean)


def _panel(key: tuple[str, float], paces: Sequence[Pace], steps: int) -> PanelRule:
    best = max(paces, key=lambda pace: pace.score)
    near = [pace for pace in paces if pace.score >= best.score - NEAR]
    horizons, intervals = [pace.horizon for pace in near], [pace.interval for pace in near]
    every_h, every_i = {pace.horizon for pace in paces}, {pace.interval for pace in paces}
    ends = (best.horizon, every_h), (best.interval, every_i)
    return PanelRule(
        *key,
        steps,
        best,
        *_middle(list(zip(horizons, intervals, strict=True))),
        (min(horizons), max(horizons)),
        (min(intervals), max(intervals)),
        len(near),
        len(paces),
        any(len(every) > 1 and value in (min(every), max(every)) for value, every in ends),
    )


def _middle(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Give the geometric means."""
    first, second = (math.exp(sum(map(math.log, side)) / len(side)) for side in zip(*pairs, strict=True))
    return first, second


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low}–{high}"
