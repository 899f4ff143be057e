"""What the settings of a sweep came to: figures, the ranking, and which beat their parents and controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from hare_tortoise.lab.comparison import ends, judged
from hare_tortoise.lab.statistics import Estimate, mean_interval, paired_difference
from hare_tortoise.lab.sweep_unit import Role, Unit, parent_of, show_value
from hare_tortoise.lab.trial import Result

Data: TypeAlias = Literal["test", "validation"]
Figure: TypeAlias = Literal["final", "average"]
State: TypeAlias = Literal["complete", "pruned", "failed", "missing"]
Curves: TypeAlias = Mapping[int, tuple[float, ...]]


@dataclass(frozen=True)
class Cell:
    """What a setting came to.

    Args:
        unit: the setting.
        state: ``complete``: every seed went to the end; ``pruned``: it was given up after `chunks` chunks;
            ``failed``: a seed stopped before its end; ``missing``: a seed has no result (yet).
        chunks: of the stream that the figures are over.
        tests: accuracies at the ends of the chunks by seed, of the deployed network on test data.
        validations: the same on validation data; empty where none was held out.
        failures: why seeds stopped.
    """

    unit: Unit
    state: State
    chunks: int
    tests: Curves
    validations: Curves
    failures: tuple[str, ...] = ()

    def by_seed(self, data: Data, figure: Figure) -> dict[int, float]:
        """Give the final accuracy, or the average over the stream, of each seed."""
        curves = self.tests if data == "test" else self.validations
        return {seed: c[-1] if figure == "final" else sum(c) / len(c) for seed, c in curves.items() if c}

    def estimate(self, data: Data, figure: Figure) -> Estimate | None:
        """Give the mean over the seeds with its interval; None where there is no figure."""
        values = list(self.by_seed(data, figure).values())
        return mean_interval(values) if values else None

    def minus(self, other: Cell, data: Data, figure: Figure) -> Estimate | None:
        """Give the paired difference to another setting on the seeds of both; None where they share none."""
        ours, theirs = self.by_seed(data, figure), other.by_seed(data, figure)
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            return None
        return paired_difference([ours[seed] for seed in shared], [theirs[seed] for seed in shared])

    def to_json(self) -> dict[str, Any]:
        """Give the cell as a JSON value."""
        unit = self.unit
        return {
            "recipe": unit.recipe.name,
            "budget": unit.budget,
            "method": unit.method,
            "role": unit.role,
            "values": {name: show_value(value) for name, value in unit.values},
            "state": self.state,
            "chunks": self.chunks,
            "seeds": sorted(self.tests),
            "figures": {
                f"{data}_{figure}": None
                if (found := self.estimate(data, figure)) is None
                else found.to_json()
                for data in ("test", "validation")
                for figure in ("final", "average")
            },
            "test": {str(seed): list(curve) for seed, curve in self.tests.items()},
            "validation": {str(seed): list(curve) for seed, curve in self.validations.items()},
            "failures": list(self.failures),
        }


def cells_from(
    results: Iterable[Result], units: Sequence[Unit], pruned: Mapping[Unit, int] | None = None
) -> tuple[Cell, ...]:
    """Put results together by setting.

    Args:
        results: of trials, in any order; some may be missing, others are passed over.
        units: the settings; two of them may stand for the same trials.
        pruned: of each setting that was given up, after how many chunks.

    Raises:
        ValueError: A result has no row at the end of a chunk, or those of a setting are over different streams.
    """
    table: dict[tuple[str, str, float], dict[int, Result]] = {}
    for result in results:
        table.setdefault((result.recipe, result.method, result.budget), {})[result.seed] = result
    return tuple(_cell(unit, table.get(unit.key, {}), (pruned or {}).get(unit)) for unit in units)


def _cell(unit: Unit, results: Mapping[int, Result], pruned: int | None) -> Cell:
    wanted = {seed: results[seed] for seed in sorted(results) if seed < unit.recipe.seeds}
    failures = tuple(
        f"seed {seed}: {result.failure}" for seed, result in wanted.items() if result.failure is not None
    )
    whole = {seed: result for seed, result in wanted.items() if result.failure is None}
    tests = {seed: _curve(unit, result, "test", pruned) for seed, result in whole.items()}
    validations = {seed: _curve(unit, result, "validation", pruned) for seed, result in whole.items()}
    lengths = {len(curve) for curve in tests.values()}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(
            f"results: {unit.label} has {sorted(lengths)} chunks by seed, expected the same of all, 1 or more"
        )
    state: State = "complete" if len(whole) == unit.recipe.seeds else "missing"
    state = "failed" if failures else "pruned" if pruned is not None else state
    known = {seed: curve for seed, curve in validations.items() if curve}
    return Cell(unit, state, max(lengths, default=0), tests, known, failures)


def _curve(unit: Unit, result: Result, data: Data, chunks: int | None) -> tuple[float, ...]:
    rows = [row for row in ends(result) if chunks is None or row["chunk"] < chunks]
    if data == "validation":
        values = [row.get("validation_accuracy") for row in rows]
    else:
        values = [judged(row, online=unit.recipe.judge == "online") for row in rows]
    return () if any(value is None for value in values) else tuple(float(v) for v in values if v is not None)


@dataclass(frozen=True)
class Ranked:
    """A setting in the ranking.

    Args:
        cell: what it came to.
        place: from 1; None where it was pruned, failed or is missing.
        score: on validation data.
        behind: paired difference to the first on validation data; None for the first and for what has no place.
    """

    cell: Cell
    place: int | None
    score: Estimate | None
    behind: Estimate | None

    @property
    def tied(self) -> bool:
        """Whether the validation data cannot tell it from the first: the interval holds zero, or there is none."""
        return self.behind is not None and self.behind.sign == 0


def ranking(cells: Iterable[Cell], figure: Figure = "average") -> tuple[Ranked, ...]:
    """Rank the settings of one budget by their mean accuracy on validation data; the first is chosen.

    Only settings that ended on every seed have a place. Test data have no part in this.

    Args:
        cells: of one budget; parents and controls are passed over.
        figure: what is ranked by: ``average`` over the stream, or ``final``.

    Raises:
        ValueError: No validation data were held out, or the cells are of several budgets.
    """
    settings = [cell for cell in cells if cell.unit.role == "setting"]
    if len({cell.unit.budget for cell in settings}) > 1:
        raise ValueError(
            "cells: got several budgets, expected those of one; a larger budget is no better setting"
        )
    whole = [cell for cell in settings if cell.state == "complete"]
    if any(not cell.validations for cell in whole):
        raise ValueError("cells: got results without validation data; run the recipe with validation=0.1")
    scored = [(cell.estimate("validation", figure), cell) for cell in whole]
    ordered = sorted(scored, key=lambda pair: -(pair[0].mean if pair[0] is not None else 0.0))
    ranked = []
    for place, (score, cell) in enumerate(ordered, 1):
        behind = None if place == 1 else cell.minus(ordered[0][1], "validation", figure)
        ranked.append(Ranked(cell, place, score, behind))
    others = sorted((cell for cell in settings if cell.state != "complete"), key=lambda cell: -cell.chunks)
    return (*ranked, *(Ranked(cell, None, cell.estimate("validation", figure), None) for cell in others))


def opponents(cell: Cell, cells: Iterable[Cell]) -> dict[Role, list[Cell]]:
    """Give the parents and controls of a setting: those of its recipe values and budget.

    The parents are warm start and, of Hare & Tortoise, the same average without resets.
    """
    parent = parent_of(cell.unit.method)
    found: dict[Role, list[Cell]] = {"parent": [], "control": []}
    for other in cells:
        if other.unit.panel != cell.unit.panel or other.unit.method == cell.unit.method:
            continue
        if other.unit.method in (parent, "warm-start"):
            if all(other.unit.method != known.unit.method for known in found["parent"]):
                found["parent"].append(other)
        elif other.unit.role == "control":
            found["control"].append(other)
    return found


Verdict: TypeAlias = Literal["clearly", "on average", "no", "unknown"]


def beats(cell: Cell, cells: Sequence[Cell], data: Data = "test", figure: Figure = "average") -> Verdict:
    """Say whether Hare & Tortoise beats both its parents and its controls.

    ``clearly``: the lower 95 % bound of the paired difference to each of them is above zero; ``on average``: the mean
    of each is; ``unknown``: it is no Hare & Tortoise with resets, or it, a parent or a control has
    not ended or was not run.

    Args:
        cell: the setting.
        cells: all of the sweep.
        data: that the accuracies are of.
        figure: ``final``, or ``average`` over the stream.
    """
    against = opponents(cell, cells)
    everyone = [*against["parent"], *against["control"]]
    known = len(against["parent"]) == 2 and bool(against["control"])
    if not known or any(each.state != "complete" for each in (cell, *everyone)):
        return "unknown"
    differences = [cell.minus(other, data, figure) for other in everyone]
    found = [difference for difference in differences if difference is not None]
    if len(found) < len(everyone):
        return "unknown"
    if all(difference.sign > 0 for difference in found):
        return "clearly"
    return "on average" if all(difference.mean > 0 for difference in found) else "no"
