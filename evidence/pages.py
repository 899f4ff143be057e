"""Tables and pictures of docs/results, made again from the metrics that are kept; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evidence import agent_pages, records
from evidence.controls import against_controls
from evidence.lines import LINES, Line
from hare_tortoise.lab import files
from hare_tortoise.lab.comparison import Comparison, compare
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.sentence import sentence
from hare_tortoise.lab.table import markdown
from hare_tortoise.lab.trial import Result, trials

MADE = Path(__file__).parent.parent / "docs" / "results" / "made"


def main() -> int:
    """Make all tables and pictures, and say what they are made of."""
    MADE.mkdir(parents=True, exist_ok=True)
    kept = records.read_all()
    progress = ["| line | trials | core-hours of the whole |", "| --- | ---: | ---: |"]
    everything: list[Result] = []
    for line in LINES.values():
        results = [result for recipe in line.recipes() for result in _make(recipe, line, kept)]
        for name, text in (line.summary(results) if results else {}).items():
            files.write_atomic(MADE / name, text.encode())
        everything += results
        done = f"{len(results)} of {sum(len(trials(recipe)) for recipe in line.recipes())}"
        progress.append(f"| `{line.name}` | {done} | {line.hours:g} |")
        print(f"{line.name}: {done} trials")
    files.write_atomic(MADE / "against-controls.md", against_controls(everything).encode())
    files.write_atomic(MADE / "progress.md", ("\n".join(progress) + "\n").encode())
    for name, text in agent_pages.contents().items():
        files.write_atomic(MADE / name, text.encode())
    return 0


def _make(recipe: Recipe, line: Line, kept: Mapping[str, records.Record]) -> list[Result]:
    """Write what is known of a recipe; give the results of its trials."""
    found = [(trial, kept[key]) for trial in trials(recipe) if (key := records.key(trial)) in kept]
    if not found:
        return []
    results = [record.result(trial) for trial, record in found]
    comparison = compare(recipe, results)
    text = "\n\n".join((_heading(comparison, line, [record for _, record in found]), sentence(comparison)))
    files.write_atomic(MADE / f"{recipe.name}.md", f"{text}\n\n{markdown(comparison)}".encode())
    drawn = line.picture(comparison, results)
    if drawn is not None:
        files.write_atomic(MADE / f"{recipe.name}.svg", drawn.encode())
    return results


def _heading(comparison: Comparison, line: Line, found: Sequence[records.Record]) -> str:
    """Say what was run, how much of it, with what, and what it cost."""
    hours = sum(record.seconds for record in found) / 3600
    made_with = sorted({f"torch {r.made_with['torch']}, python {r.made_with['python']}" for r in found})
    processors = sorted({r.made_with["processor"] for r in found if r.made_with.get("processor")})
    whole = len(comparison.methods) * len(comparison.budgets) * comparison.seeds
    some = "" if len(found) == whole else f" **{whole - len(found)} of {whole} trials are not finished yet.**"
    scale = f" Scaled: {comparison.scale}." if comparison.scaled_down else ""
    return (
        f"`{comparison.recipe}`: {comparison.description}.{scale} Seeds 0 to {comparison.seeds - 1}; "
        f"{len(found)} trials, {hours:.2f} core-hours of training ({'; '.join(made_with)}; {'; '.join(processors)}; "
        "other work ran on the machine, times are no measure of a method), "
        f"`python -m evidence run {line.name}`.{some}"
    )
