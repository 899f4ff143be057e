"""What a command came to: comparisons, failures, and the files that show them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hare_tortoise._version import __version__
from hare_tortoise.lab import files
from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.picture import picture
from hare_tortoise.lab.plan import ChunkPlan, advice, values_at
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.report import write_report
from hare_tortoise.lab.report_tasks import task_picture
from hare_tortoise.lab.sentence import sentence
from hare_tortoise.lab.table import markdown
from hare_tortoise.lab.trial import Result, Trial

Plans = dict[float, tuple[ChunkPlan, ...]]

UNFINISHED = "not finished; the same command goes on with it"


@dataclass(frozen=True)
class Outcome:
    """What a command came to.

    Args:
        comparisons: one for each recipe.
        failures: a line for each trial without a whole result.
        advice: a line for each setting that the steps of a recipe are too few for.
        report: the HTML file; None if there is nothing to report.
    """

    comparisons: tuple[Comparison, ...]
    failures: tuple[str, ...]
    advice: tuple[str, ...]
    report: Path | None


def conclude(
    recipes: Sequence[Recipe],
    plans: Mapping[str, Plans],
    outcomes: Sequence[tuple[Trial, Result | str]],
    *,
    out: Path,
    margin: float,
    command: str,
    made_with: dict[str, str],
) -> Outcome:
    """Compare; write the report and beside it tables as Markdown, figures as JSON, pictures as SVG.

    Args:
        recipes: what was run.
        plans: of each recipe by name, at each budget.
        outcomes: each trial with its result, or with the reason why there is none.
        out: folder of the files.
        margin: what may be lost where a method reaches from scratch.
        command: what the user wrote.
        made_with: versions.
    """
    results = [result for _, result in outcomes if isinstance(result, Result)]
    of = {recipe.name: [result for result in results if result.recipe == recipe.name] for recipe in recipes}
    shown = [recipe for recipe in recipes if of[recipe.name]]
    hints = tuple(line for recipe in recipes for line in advice(recipe, plans[recipe.name]))
    failures = tuple(_failures(outcomes))
    report = out / "report.html"
    if not shown:
        report.unlink(missing_ok=True)  # an older one would pass for this command's
        return Outcome((), failures, hints, None)
    comparisons = tuple(compare(recipe, of[recipe.name], margin=margin) for recipe in shown)
    figures = [comparison.to_json() for comparison in comparisons]
    files.write_atomic(out / "comparison.json", (json.dumps(figures, indent=1) + "\n").encode())
    files.write_atomic(out / "comparison.md", "\n".join(map(_section, comparisons)).encode())
    for comparison in comparisons:
        if any(entry.seeds for entry in comparison.entries):  # else every trial failed: nothing to draw
            files.write_atomic(out / f"{comparison.recipe}.svg", picture(comparison).encode())
        tasks = task_picture(comparison, results)
        if tasks is not None:
            files.write_atomic(out / f"{comparison.recipe}-tasks.svg", tasks.encode())

    def values(recipe: Recipe, budget: float) -> dict[str, str]:
        return values_at(recipe, budget, plans[recipe.name][budget])

    write_report(comparisons, shown, results, report, command=command, versions=made_with, values=values)
    return Outcome(comparisons, failures, hints, report)


def versions() -> dict[str, str]:
    """Name what the results were made with."""
    return {
        "hare-tortoise": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _section(comparison: Comparison) -> str:
    return f"## {comparison.recipe}\n\n{sentence(comparison)}\n\n{markdown(comparison)}"


def _failures(outcomes: Sequence[tuple[Trial, Result | str]]) -> Iterator[str]:
    for trial, result in outcomes:
        reason = result if isinstance(result, str) else result.failure
        if reason is not None:
            yield f"{trial.label}: {reason}"
