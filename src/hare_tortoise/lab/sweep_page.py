"""What a sweep came to, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.search import Search
from hare_tortoise.lab.sweep_cells import Cell, Figure, Ranked, opponents, ranking
from hare_tortoise.lab.sweep_rule import Rule
from hare_tortoise.lab.sweep_unit import parent_of, show_value
from hare_tortoise.lab.wording import capital, labels, listing, percent, points


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to.

    Args:
        recipe: the experiment, with the values that no axis changes.
        method: the composition whose settings were swept.
        axes: names of what was swept.
        search: how settings were taken.
        figure: the validation accuracy that is chosen by.
        cells: all settings, parents, controls and references.
        rule: how decay, interval and chunk length relate; None where that cannot be said.
        notes: what a reader should know.
        failures: a line for each trial without a whole result.
        command: what the user wrote.
        made_with: versions.
    """

    recipe: Recipe
    method: str
    axes: tuple[str, ...]
    search: Search
    figure: Figure
    cells: tuple[Cell, ...]
    rule: Rule | None
    notes: tuple[str, ...]
    failures: tuple[str, ...]
    command: str
    made_with: dict[str, str]

    def at(self, budget: float) -> tuple[Cell, ...]:
        """Give the cells of a budget."""
        return tuple(cell for cell in self.cells if cell.unit.budget == budget)

    def ranking(self, budget: float) -> tuple[Ranked, ...]:
        """Rank the settings of a budget on validation data."""
        return ranking(self.at(budget), self.figure)

    def chosen(self, budget: float) -> Cell | None:
        """Give the setting that is first on validation data; None where none ended."""
        return next((ranked.cell for ranked in self.ranking(budget) if ranked.place == 1), None)

    def to_json(self) -> dict[str, Any]:
        """Give the sweep as a JSON value."""
        chosen = {f"{budget:g}": self.chosen(budget) for budget in self.recipe.budgets}
        return {
            "recipe": self.recipe.to_json(),
            "method": self.method,
            "axes": list(self.axes),
            "search": self.search,
            "chosen_by": f"validation, {self.figure}",
            "chosen": {budget: None if cell is None else cell.to_json() for budget, cell in chosen.items()},
            "cells": [cell.to_json() for cell in self.cells],
            "rule": None if self.rule is None else self.rule.to_json() | {"sentence": str(self.rule)},
            "notes": list(self.notes),
            "failures": list(self.failures),
            "command": self.command,
            "versions": self.made_with,
        }


def said(sweep: Sweep, budget: float) -> str:
    """Say which setting is chosen at a budget, how sure that is, and how it does on test data."""
    ranked = sweep.ranking(budget)
    ended = [each for each in ranked if each.place is not None]
    where = sweep.recipe.name + (f" at budget {budget:g}" if len(sweep.recipe.budgets) > 1 else "")
    if not ended:
        return f"{where}: no setting ended on every seed; nothing is chosen."
    best, tied = ended[0], sum(each.tied for each in ended)
    accuracy = {"average": "average validation accuracy", "final": "final validation accuracy"}[sweep.figure]
    text = f"{where}: chosen of {len(ranked)} settings by {accuracy}: {best.cell.unit.label}, {percent(best.score)} %. "
    if best.score is not None and best.score.anecdotal:
        text += "Below 3 seeds the ranking is anecdotal. "
    elif len(ended) > 1:
        text += f"The validation data cannot tell {tied} of the {len(ended) - 1} others that ended from it. "
    if _without_resets(sweep, best.cell):
        text += "It is the average alone, without resets. "
    average, final = (percent(best.cell.estimate("test", figure)) for figure in ("average", "final"))
    text += f"On test data it reaches {average} % on average over the stream and {final} % at its end"
    against = _against(best.cell, sweep)
    return f"{text}; its {sweep.figure} against {listing(against)} points." if against else f"{text}."


def said_of_rule(sweep: Sweep) -> str:
    """Say the rule of thumb, and where what is chosen has no resets, which it is of; empty where there is none."""
    if sweep.rule is None:
        return ""
    chosen = {budget: sweep.chosen(budget) for budget in sweep.recipe.budgets}
    lost = [budget for budget, cell in chosen.items() if cell is not None and _without_resets(sweep, cell)]
    of = ""
    if lost:
        at = f" at budget {listing([f'{budget:g}' for budget in lost])}" if len(chosen) > 1 else ""
        of = f"what is chosen{at} has no resets; this is only of the settings that have them: "
    return f"rule of thumb, from this grid alone: {of}{sweep.rule}"


def _without_resets(sweep: Sweep, cell: Cell) -> bool:
    return "hare-tortoise" in sweep.method and parent_of(cell.unit.method) is None


def _against(cell: Cell, sweep: Sweep) -> list[str]:
    found = opponents(cell, sweep.cells)
    scratch = [c for c in sweep.cells if c.unit.panel == cell.unit.panel and c.unit.method == "from-scratch"]
    others = [*found["parent"], *scratch, *found["control"]]
    names = labels([other.unit.method for other in others])
    return [
        f"{names[other.unit.method]} {points(difference)}"
        for other in others
        if other.state == "complete" and (difference := cell.minus(other, "test", sweep.figure)) is not None
    ]


def ranked_lines(sweep: Sweep, budget: float) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Lay the ranking of a budget out: header and lines."""
    header = (
        "",
        *sweep.axes,
        f"validation {sweep.figure}",
        "behind the first",
        "test average",
        "test final",
        "state",
    )
    lines = []
    for ranked in sweep.ranking(budget):
        cell, values = ranked.cell, [show_value(value) for _, value in ranked.cell.unit.values]
        whole = cell.state == "complete"
        state = {"pruned": f"pruned after chunk {cell.chunks}", "complete": "complete"}.get(
            cell.state, cell.state
        )
        tie = " (tie)" if ranked.tied and ranked.behind is not None and not ranked.behind.anecdotal else ""
        lines.append(
            (
                "" if ranked.place is None else str(ranked.place),
                *values,
                percent(ranked.score),
                points(ranked.behind) + tie if ranked.behind is not None else "–",
                percent(cell.estimate("test", "average")) if whole else "–",
                percent(cell.estimate("test", "final")) if whole else "–",
                state,
            )
        )
    return header, lines


def beside_lines(sweep: Sweep, budget: float) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Lay the parents, controls and references of a budget out: header and lines."""
    header = ("recipe", "method", "role", "validation", "test average", "test final", "state")
    lines: list[tuple[str, ...]] = [
        (
            cell.unit.recipe.name,
            cell.unit.method,
            cell.unit.role,
            percent(cell.estimate("validation", sweep.figure)),
            percent(cell.estimate("test", "average")),
            percent(cell.estimate("test", "final")),
            cell.state,
        )
        for cell in sweep.at(budget)
        if cell.unit.role != "setting"
    ]
    return header, lines


def page(sweep: Sweep, pictures: Sequence[str] = ()) -> str:
    """Write the page of a sweep in Markdown.

    Args:
        sweep: what is told.
        pictures: names of files beside the page.
    """
    recipe = sweep.recipe
    parts = [f"# Sweep: {recipe.name}", recipe.description]
    if recipe.scale not in ("paper", "own"):
        parts.append(f"**Scaled: {recipe.scale}.** These are not the figures of the published setting.")
    parts += [said(sweep, budget) for budget in recipe.budgets]
    parts.append(capital(said_of_rule(sweep)))
    parts += [f"![{name}]({name})" for name in pictures]
    for budget in recipe.budgets:
        at = f" at budget {budget:g}" if len(recipe.budgets) > 1 else ""
        parts.append(f"## Settings{at}, ranked on validation data")
        parts.append(_table(*ranked_lines(sweep, budget)))
        parts.append(f"## Parents, controls and references{at}")
        parts.append(_table(*beside_lines(sweep, budget)))
    parts.append(
        f"Accuracies in percent, differences in points, ± half the 95 % interval over {recipe.seeds} seeds. "
        f"Validation is the {sweep.figure} accuracy on validation data, behind the paired difference to the first. "
        "Test data have no part in the ranking. Values of settings are those at budget 1; a smaller one scales what is "
        "counted in steps. "
        "Settings that were pruned have figures over the chunks that they saw, and no place."
    )
    parts += [f"Note: {note}." for note in sweep.notes]
    if sweep.failures:
        parts.append("Not ended:\n\n" + "\n".join(f"- {failure}" for failure in sweep.failures))
    versions = ", ".join(f"{name} {version}" for name, version in sweep.made_with.items())
    parts.append(f"Made by `{sweep.command}` with {versions}." if sweep.command else f"Made with {versions}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows)
