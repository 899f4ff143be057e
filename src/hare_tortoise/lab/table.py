"""A comparison as a table: for the terminal, and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from rich.table import Table
from rich.text import Text

from hare_tortoise.lab.comparison import FULL, Baseline, Comparison, Entry
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START
from hare_tortoise.lab.sequence import SHARES
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import duration, labels, percent, points, score_unit, share


@dataclass(frozen=True)
class Columns:
    """Header and cells of a laid-out comparison.

    Args:
        header: names of the columns; a line break stands where the terminal breaks them.
        lines: the cells of each entry, in the comparison's order.
        baselines: the cells of each predictor that learns nothing.
    """

    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    baselines: tuple[tuple[str, ...], ...] = ()


def table(comparison: Comparison, *, width: int = 80) -> Table:
    """Lay a comparison out for a terminal of 80 columns or more.

    Accuracies are in percent, differences in points, both with half the width of their 95 % interval; ``*``
    marks a difference whose interval excludes zero.

    Args:
        comparison: as `compare` gives it.
        width: columns of the terminal; from 100 on the table is spaced more widely.

    Returns:
        A table to print with rich.
    """
    columns = lay_out(comparison)
    laid = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2 if width >= 100 else 1, 0, 0),
        header_style="bold",
        title=Text(comparison.recipe, style="bold") + Text(_scale(comparison), style="yellow"),
        title_justify="left",
        caption=Text(
            f"{score_unit(comparison.score)}, differences in points, ± half the 95 % interval; * excludes 0",
            style="dim",
        ),
        caption_justify="left",
    )
    for number, name in enumerate(columns.header):
        laid.add_column(
            Text(name), justify="right" if number else "left", no_wrap=number > 0, vertical="bottom"
        )
    for name, group in groupby((*columns.lines, *columns.baselines), key=lambda line: line[0]):
        lines = list(group)
        for part, line in zip(_spread(name, len(lines)), lines, strict=True):
            cells = [cell.replace(" ± ", "±") for cell in line[1:]]
            laid.add_row(
                Text(part), *(Text(cell, style="bold" if cell.endswith("*") else "") for cell in cells)
            )
    return laid


def markdown(comparison: Comparison) -> str:
    """Write a comparison as a Markdown table, with more columns than the terminal has room for.

    Where the stream is a sequence of tasks a second table follows: what is kept and gained over them.

    Args:
        comparison: as `compare` gives it.
    """
    first, second = lay_out(comparison, complete=True), lay_out_sequence(comparison)
    return "\n".join(
        write_markdown(columns, _scale(comparison)) for columns in (first, second) if columns.lines
    )


def lay_out(comparison: Comparison, *, complete: bool = False) -> Columns:
    """Give the columns that `table`, `markdown` and the report show.

    What would be empty in every line, or the same (the budget where there is but one), is left out. Predictors that
    learn nothing have lines of their own, with their accuracies alone.

    Args:
        comparison: as `compare` gives it.
        complete: whether to give all columns, or those that fit a terminal.
    """
    names = labels(comparison.methods)
    several, stream = len(comparison.budgets) > 1, len(comparison.chunks) > 1
    averages = stream and (complete or not several)
    full = FULL if several else None

    def head(of: str, name: str) -> str:
        # where there is room, and differences of two kinds stand, their names say of what
        return f"{of}\n{name.replace(chr(10), ' ')}" if complete and stream else name

    columns: list[tuple[str, list[str], list[str]]] = []

    def add(
        name: str,
        cell: Callable[[Entry], str],
        wanted: bool = True,
        of_baseline: Callable[[Baseline], str] = lambda _: "–",
    ) -> None:
        cells = [cell(entry) for entry in comparison.entries]
        if wanted and any(text != "–" for text in cells):
            columns.append((name, cells, [of_baseline(baseline) for baseline in comparison.baselines]))

    add("method", lambda e: names[e.method], of_baseline=lambda b: b.label)
    add("budget", lambda e: share(e.budget), several)
    add("cost", lambda e: _cost(comparison, e))
    add("time", lambda e: duration(e.seconds))
    add("final", lambda e: percent(e.final), of_baseline=lambda b: percent(b.final))
    add(head("final", "vs from\nscratch"), lambda e: _difference(e, FROM_SCRATCH, full))
    add(head("final", "vs same\nbudget"), lambda e: _difference(e, FROM_SCRATCH), several and complete)
    add(head("final", "vs warm\nstart"), lambda e: _difference(e, WARM_START), complete or several)
    add(head("final", "P\nbetter"), lambda e: _probability(e, full), complete or several)
    add("average", lambda e: percent(e.average), averages, lambda b: percent(b.average))
    add(
        head("average", "vs from\nscratch"),
        lambda e: _difference(e, FROM_SCRATCH, full, average=True),
        averages,
    )
    add(
        head("average", "vs warm\nstart"),
        lambda e: _difference(e, WARM_START, average=True),
        averages and complete,
    )
    add(head("average", "P\nbetter"), lambda e: _probability(e, full, average=True), averages)
    add("train", lambda e: percent(e.train), complete)
    add("hare", lambda e: percent(e.hare), complete and any(e.hare != e.final for e in comparison.entries))
    add("reached", lambda e: {True: "yes", False: "no", None: "–"}[e.reaches], several)
    add("failed", lambda e: f"{len(e.failures)} of {comparison.seeds}" if e.failures else "–")
    head_line, entries, baselines = zip(*columns, strict=True)
    return Columns(head_line, tuple(zip(*entries, strict=True)), tuple(zip(*baselines, strict=True)))


def lay_out_sequence(comparison: Comparison) -> Columns:
    """Give the columns of what is kept and gained over a sequence of tasks; no line where there is none.

    Args:
        comparison: as `compare` gives it.
    """
    labelled = labels(comparison.methods)
    entries = [entry for entry in comparison.entries if entry.sequence]
    known = {(entry.method, entry.budget): {f.name: f for f in entry.sequence} for entry in entries}
    names = list(dict.fromkeys(figure.name for entry in entries for figure in entry.sequence))
    several = len(comparison.budgets) > 1
    header = ["method", *(["budget"] if several else [])]
    header += [text for name in names for text in (name, f"{name}\nvs warm start")]
    lines = []
    for entry in entries:
        found = known[entry.method, entry.budget]
        line = [labelled[entry.method], *([share(entry.budget)] if several else [])]
        for name in names:
            figure = found.get(name)
            value = None if figure is None else figure.value
            difference = None if figure is None else figure.to_warm_start
            line += [percent(value) if name in SHARES else points(value), _marked(difference)]
        lines.append(tuple(line))
    return Columns(tuple(header), tuple(lines))


def write_markdown(columns: Columns, scale: str = "") -> str:
    r"""Write columns as a Markdown table.

    Args:
        columns: as they were laid out.
        scale: what was scaled down, to be told in the head of the first column; it stays with the table then.

    Example:
        >>> print(write_markdown(Columns(("method", "final"), (("EMA", "98.1*"),))))
        | method | final |
        | --- | ---: |
        | EMA | 98.1\* |
        <BLANKLINE>
    """
    head = [name.replace("\n", " ") for name in columns.header]
    head[0] += _escape(scale)
    ruler = ["---", *["---:"] * (len(head) - 1)]
    cells = ([_escape(cell) for cell in line] for line in (*columns.lines, *columns.baselines))
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ruler, *cells))


def _scale(comparison: Comparison) -> str:
    return f", scaled down ({comparison.scale})" if comparison.scaled_down else ""


def _marked(estimate: Estimate | None) -> str:
    return "–" if estimate is None else points(estimate) + ("*" if estimate.sign else "")


def _spread(name: str, lines: int) -> list[str]:
    """Break a name over the lines of its group, so that a narrow terminal need not make the lines taller."""
    parts = textwrap.wrap(name, 17) if lines > 1 else [name]
    return [*parts[: lines - 1], " ".join(parts[lines - 1 :]), *[""] * (lines - len(parts))][:lines]


def _cost(comparison: Comparison, entry: Entry) -> str:
    if comparison.reference is not None:
        return share(entry.cost)
    return "–" if entry.samples is None else f"{entry.samples:,.0f}"


def _difference(entry: Entry, reference: str, budget: float | None = None, *, average: bool = False) -> str:
    found = entry.to(reference, budget)
    if found is None:
        return "–"
    return _marked(found.average if average else found.final)


def _probability(entry: Entry, budget: float | None, *, average: bool = False) -> str:
    found = entry.to(FROM_SCRATCH, budget)
    if found is None or found.final.anecdotal:
        return "–"
    return f"{found.average_improvement if average else found.improvement:.2f}"


def _escape(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
