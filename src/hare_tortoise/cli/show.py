"""How commands print: the outcome of a comparison, and lists of names with one line each."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from hare_tortoise.lab.outcome import Outcome
    from hare_tortoise.lab.sweep_page import Sweep
    from hare_tortoise.rl.run import AgentOutcome


def show(outcome: Outcome) -> int:
    """Print the tables, a sentence for each recipe, what failed, and last the path of the report, if there is one."""
    from rich.console import Console

    from hare_tortoise.lab.sentence import notes, sentence
    from hare_tortoise.lab.table import table

    console = Console()
    for comparison in outcome.comparisons:
        console.print(table(comparison, width=console.width))
        for note in notes(comparison):
            console.print(note.text, highlight=False, markup=False, style="yellow" if note.warning else "dim")
        console.print()
    for comparison in outcome.comparisons:
        console.print(sentence(comparison), highlight=False, markup=False)
    for line in outcome.advice:
        console.print(f"note: {line}", highlight=False, markup=False, style="yellow")
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if outcome.report is not None:
        print(outcome.report)
    return 1 if outcome.failures else 0


def show_agents(outcome: AgentOutcome) -> int:
    """Print the tables of agents, the sentences, what failed, and last the path of the report, if there is one."""
    from rich.console import Console

    from hare_tortoise.rl.report.notes import notes
    from hare_tortoise.rl.report.sentence import sentences
    from hare_tortoise.rl.report.table import tables

    console = Console()
    if outcome.comparison is not None:
        for laid in tables(outcome.comparison):
            console.print(laid)
            console.print()
        for note in notes(outcome.comparison):
            console.print(note.text, highlight=False, markup=False, style="yellow" if note.warning else "dim")
        console.print()
        for text in sentences(outcome.comparison):
            console.print(text, highlight=False, markup=False)
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if outcome.report is not None:
        print(outcome.report)
    return 1 if outcome.failures else 0


def show_sweep(sweep: Sweep, path: Path, most: int = 12) -> int:
    """Print the ranking of a sweep, what is chosen, the rule of thumb, what failed, and last the path of its page."""
    from rich.console import Console
    from rich.table import Table

    from hare_tortoise.lab.sweep_page import ranked_lines, said, said_of_rule

    console = Console()
    for budget in sweep.recipe.budgets:
        header, lines = ranked_lines(sweep, budget)
        laid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for name in header:
            laid.add_column(name, vertical="bottom")
        for line in lines[:most]:
            laid.add_row(*(cell.replace(" ± ", "±").replace("complete", "") for cell in line))
        console.print(laid)
        if len(lines) > most:
            print(f"… and {len(lines) - most} more in {path.name}")
        console.print()
        console.print(said(sweep, budget), highlight=False, markup=False)
    if rule := said_of_rule(sweep):
        console.print(rule, highlight=False, markup=False)
    for note in sweep.notes:
        console.print(f"note: {note}", highlight=False, markup=False, style="yellow")
    for failure in sweep.failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(path)
    return 1 if sweep.failures else 0


def listing(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names, each with its line, wrapped to the width of the terminal."""
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    print(title)
    for name, line in rows:
        print(
            textwrap.fill(
                name, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
            )
        )
        print(textwrap.fill(line, width, initial_indent="      ", subsequent_indent="      "))
    print()


def with_settings(name: str, target: Callable[..., Any], hidden: Collection[str] = ()) -> str:
    """Write a name with the settings that it takes and their defaults, as it is written in a comparison.

    >>> def growing(source, *, chunks=10, seed=0): ...
    >>> with_settings("growing", growing, hidden=("source", "seed"))
    'growing(chunks=10)'
    """
    taken = []
    for parameter in inspect.signature(target).parameters.values():
        if parameter.name in hidden or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        value = parameter.default
        written = (
            "…" if value is parameter.empty else f"{value:.6g}" if isinstance(value, float) else repr(value)
        )
        taken.append(f"{parameter.name}={written}")
    return f"{name}({', '.join(taken)})" if taken else name


def first_line(thing: object) -> str:
    """Give the first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]
