"""A comparison of agents as tables: for the terminal, as Markdown, and for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from hare_tortoise.lab import bootstrap
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.table import Columns, write_markdown
from hare_tortoise.lab.wording import duration, labels
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.report.entries import (
    NORMALISED,
    RETURN,
    TRAINING,
    Across,
    AcrossDifference,
    AcrossEntry,
    Against,
    AgentComparison,
    AgentEntry,
    Figure,
)
from hare_tortoise.rl.report.figures import score_name
from hare_tortoise.rl.report.notes import notes
from hare_tortoise.rl.report.sentence import sentences
from hare_tortoise.rl.report.wording import AGGREGATE_NAMES, SCORE, amount, change, span
from hare_tortoise.rl.scores import human_score, random_score

READING = (
    "In brackets the ends of the 95 % interval; * excludes zero. P better: share of the seeds above the reference. No "
    "reset: the same method with its average never put back."
)

_Cell = Callable[[AgentEntry], str]
_REFERENCES = (("plain\nagent", True), ("no\nreset", False))


class _Builder:
    """Puts columns together; one that is empty in every line is left out."""

    def __init__(self, entries: Sequence[AgentEntry]) -> None:
        self.entries = entries
        self.columns: list[tuple[str, list[str]]] = []

    def add(self, name: str, cell: _Cell, wanted: bool = True) -> None:
        cells = [cell(entry) for entry in self.entries]
        if wanted and any(text != "–" for text in cells):
            self.columns.append((name, cells))

    @property
    def laid_out(self) -> Columns:
        if not self.columns:
            return Columns((), ())
        header, cells = zip(*self.columns, strict=True)
        return Columns(header, tuple(zip(*cells, strict=True)))


def lay_out_games(comparison: AgentComparison, *, complete: bool = True) -> Columns:
    """Give a line for each single game and method; no line where there is none.

    Args:
        comparison: as `compare_agents` gives it.
        complete: whether to give all columns, or those that fit a terminal.
    """
    entries = [entry for entry in comparison.entries if len(entry.games) == 1]
    names, built = labels(comparison.methods), _Builder(entries)
    built.add("game", lambda e: e.game, len({entry.games for entry in entries}) > 1)
    built.add("method", lambda e: names[e.method])
    built.add("return", lambda e: _value(e, RETURN))
    built.add("human-\nnormalised", lambda e: _value(e, NORMALISED, SCORE))
    _add_references(built, complete)
    built.add("training\nreturn", lambda e: _value(e, TRAINING), complete)
    built.add("training\nvs plain agent", lambda e: _change(e.figure(TRAINING), True), complete)
    built.add("training\nvs no reset", lambda e: _change(e.figure(TRAINING), False), complete)
    built.add("time", lambda e: duration(e.seconds))
    _add_failures(built, comparison)
    return built.laid_out


def lay_out_sequence(comparison: AgentComparison, games: Sequence[str], *, complete: bool = True) -> Columns:
    """Give a line for each method on a sequence.

    Args:
        comparison: as `compare_agents` gives it.
        games: the sequence, as the comparison has it.
        complete: whether to give all columns, or those that fit a terminal.
    """
    entries = [entry for entry in comparison.entries if entry.games == tuple(games)]
    names, built = labels(comparison.methods), _Builder(entries)
    built.add("method", lambda e: names[e.method])
    built.add("return\nat the end", lambda e: _value(e, RETURN))
    _add_references(built, complete)
    for name in dict.fromkeys(figure.name for entry in entries for figure in entry.sequence):
        written = span if name == "average return" else change
        built.add(name, _shown(name, written))
        built.add(f"{name}\nvs plain agent", _compared(name, True), complete)
        built.add(f"{name}\nvs no reset", _compared(name, False), complete)
    built.add("time", lambda e: duration(e.seconds))
    _add_failures(built, comparison)
    return built.laid_out


def lay_out_revisits(comparison: AgentComparison, games: Sequence[str]) -> Columns:
    """Give a line for each game that a sequence comes back to and each method: the last visit minus the first.

    Args:
        comparison: as `compare_agents` gives it.
        games: the sequence, as the comparison has it.
    """
    names, lines = labels(comparison.methods), []
    entries = [entry for entry in comparison.entries if entry.games == tuple(games)]
    header = ("game", "method", *(f"{name}\n{what}" for name in (RETURN, TRAINING) for what in _OF_REVISIT))
    for place in range(max((len(entry.revisits) for entry in entries), default=0)):
        for entry in entries:
            if not entry.revisits:
                continue
            visit = entry.revisits[place]
            by_name = {figure.name: figure for figure in visit.figures}
            line = [f"{visit.game}, phase {visit.last + 1} − phase {visit.first + 1}", names[entry.method]]
            for name in (RETURN, TRAINING):
                figure = by_name.get(name)
                line += [
                    change(None if figure is None else figure.value),
                    _change(figure, True),
                    _change(figure, False),
                ]
            lines.append(tuple(line))
    return Columns(header, tuple(lines))


_OF_REVISIT = ("last − first", "vs plain agent", "vs no reset")


def lay_out_matrix(comparison: AgentComparison, games: Sequence[str]) -> Columns:
    """Give the returns on the game of each phase after each phase, method by method.

    Args:
        comparison: as `compare_agents` gives it.
        games: the sequence, as the comparison has it.
    """
    names = labels(comparison.methods)
    header = ("method", "after", *(f"{phase}: {game}" for phase, game in enumerate(games, 1)))
    lines = [
        (names[entry.method], f"phase {phase}", *(span(value) for value in row))
        for entry in comparison.entries
        if entry.games == tuple(games)
        for phase, row in enumerate(entry.matrix, 1)
    ]
    return Columns(header, tuple(lines))


def lay_out_across(comparison: AgentComparison) -> Columns:
    """Give a line for each method over several games, and one for each published agent that has aggregates of them.

    Args:
        comparison: as `compare_agents` gives it.
    """
    across = comparison.across
    if across is None:
        return Columns((), ())
    names = labels(comparison.methods)
    figures = AGGREGATE_NAMES if across.normalised else {}
    header = ["method", "seeds", *figures.values()]
    for name, _ in _REFERENCES:
        header += [f"IQM vs\n{_flat(name)}", f"smallest\nvs {_flat(name)}"] if across.normalised else []
        header.append(f"P better than\n{_flat(name)}")
    lines = [(names[entry.method], *_across_cells(across, entry)) for entry in across.entries]
    theirs = []
    for each in comparison.published:
        if each.aggregates:
            known = {found.name: found.value for found in each.aggregates}
            cells = [span(known.get(name), decimals=SCORE) for name in figures]
            theirs.append((each.label, *cells))
    empty = [place for place in range(len(header)) if all(line[place] == "–" for line in lines)]
    kept = [place for place in range(len(header)) if place not in empty]
    return Columns(
        tuple(header[place] for place in kept),
        tuple(tuple(line[place] for place in kept) for line in lines),
        tuple(
            tuple([label, "–", *cells, *["–"] * len(header)][place] for place in kept)
            for label, *cells in theirs
        ),
    )


def lay_out_published(comparison: AgentComparison) -> Columns:
    """Give random, human and published scores of our games of Atari-100k, with ours between; no line where none is.

    Args:
        comparison: as `compare_agents` gives it.
    """
    names = labels(comparison.methods)
    theirs = [each for each in comparison.published if each.scores]
    lines = []
    for games in comparison.games:
        name = score_name(games[0]) if len(games) == 1 else None
        if name is None:
            continue
        ours = [comparison.entry(games, method).figure(RETURN) for method in comparison.methods]
        scores = [{found.name: found.value.mean for found in each.scores}.get(name) for each in theirs]
        values = [random_score(name), human_score(name)]
        values_ours = [None if figure is None else figure.value.mean for figure in ours]
        lines.append((name, *("–" if v is None else amount(v) for v in (*values, *values_ours, *scores))))
    ours_header = [f"{names[method]}\n(ours)" for method in comparison.methods]
    header = ["game", "random play", "human play", *ours_header, *(_broken(each.label) for each in theirs)]
    return Columns(tuple(header), tuple(lines))


def bootstrap_notes(comparison: AgentComparison) -> list[str]:
    """Say beside the table over games that its intervals are too narrow; nothing from 10 seeds on."""
    across = comparison.across
    counts = {len(entry.seeds) for entry in across.entries if entry.seeds} if across is not None else set()
    return [text for count in sorted(counts) if (text := bootstrap.note(count))]


def markdown(comparison: AgentComparison) -> str:
    """Write a comparison as Markdown: what it shows, its tables, what must be known beside them.

    Args:
        comparison: as `compare_agents` gives it.
    """
    parts = [f"## {comparison.recipe}", *sentences(comparison)]
    across = lay_out_across(comparison)
    if across.lines:
        parts += ["### Over the games", write_markdown(across).rstrip(), *bootstrap_notes(comparison)]
    single = lay_out_games(comparison)
    if single.lines:
        parts += [
            "### Games" if across.lines else "### All figures",
            write_markdown(single).rstrip(),
            _plain(READING),
        ]
    for games in comparison.games:
        if len(games) > 1:
            tables = (lay_out_sequence, lay_out_revisits, lay_out_matrix)
            laid = [lay_out(comparison, games) for lay_out in tables]
            parts.append(f"### In sequence: {', '.join(games)}")
            parts += [write_markdown(columns).rstrip() for columns in laid if columns.lines]
            parts.append(_plain(READING))
    published = lay_out_published(comparison)
    if published.lines:
        parts += ["### Published scores of the same games, not ours", write_markdown(published).rstrip()]
    parts.append("\n".join(f"- {note.text}" for note in notes(comparison)))
    return "\n\n".join(parts) + "\n"


def tables(comparison: AgentComparison) -> list[Table]:
    """Lay a comparison out for the terminal.

    Args:
        comparison: as `compare_agents` gives it.

    Returns:
        Tables to print with rich: over the games, of the games, of each sequence; those that there are.
    """
    across = replace(lay_out_across(comparison), baselines=())  # what others published stands in the report
    found = [("over the games", across), ("", lay_out_games(comparison, complete=False))]
    found += [
        (f"in sequence: {', '.join(games)}", lay_out_sequence(comparison, games, complete=False))
        for games in comparison.games
        if len(games) > 1
    ]
    return [
        _rich(comparison, title, columns, bootstrap_notes(comparison) if place == 0 else ())
        for place, (title, columns) in enumerate(found)
        if columns.lines
    ]


def _rich(comparison: AgentComparison, title: str, columns: Columns, below: Sequence[str]) -> Table:
    laid = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        title=Text(", ".join(part for part in (comparison.recipe, title) if part), style="bold"),
        title_justify="left",
        caption=Text("\n".join(["in brackets the 95 % interval; * excludes 0", *below]), style="dim"),
        caption_justify="left",
    )
    for number, name in enumerate(columns.header):
        side: JustifyMethod = "right" if number else "left"
        laid.add_column(Text(name), justify=side, vertical="bottom", overflow="fold")  # no digit is cut off
    for line in (*columns.lines, *columns.baselines):
        laid.add_row(*(Text(cell, style="bold" if cell.endswith("*") else "") for cell in line))
    return laid


def _add_references(built: _Builder, complete: bool) -> None:
    for name, plain in _REFERENCES:
        built.add(f"vs {name}", partial(_of_return, _change, plain))
        built.add(f"P better\n{_flat(name)}", partial(_of_return, _odds, plain))
        built.add(f"smallest\nvs {_flat(name)}", partial(_of_return, _smallest, plain), complete)


def _of_return(write: Callable[[Figure | None, bool], str], plain: bool, entry: AgentEntry) -> str:
    return write(entry.figure(RETURN), plain)


def _add_failures(built: _Builder, comparison: AgentComparison) -> None:
    built.add("failed", lambda e: f"{len(e.failures)} of {comparison.seeds}" if e.failures else "–")


def _value(entry: AgentEntry, name: str, decimals: int | None = None) -> str:
    figure = entry.figure(name)
    return span(None if figure is None else figure.value, decimals=decimals)


def _shown(name: str, written: Callable[[Estimate | None], str]) -> _Cell:
    def cell(entry: AgentEntry) -> str:
        figure = entry.figure(name)
        return written(None if figure is None else figure.value)

    return cell


def _compared(name: str, plain: bool) -> _Cell:
    return lambda entry: _change(entry.figure(name), plain)


def _against(figure: Figure | None, plain: bool) -> Against | None:
    """The difference to the plain agent, or to the other reference, the arm without resets."""
    found = () if figure is None else figure.differences
    return next((each for each in found if (each.reference == NOTHING) == plain), None)


def _change(figure: Figure | None, plain: bool) -> str:
    found = _against(figure, plain)
    return change(None if found is None else found.difference)


def _odds(figure: Figure | None, plain: bool) -> str:
    found = _against(figure, plain)
    return "–" if found is None or found.difference.anecdotal else f"{found.improvement:.2f}"


def _smallest(figure: Figure | None, plain: bool) -> str:
    found = _against(figure, plain)
    return "–" if found is None or found.smallest is None else amount(found.smallest)


def _across_cells(across: Across, entry: AcrossEntry) -> list[str]:
    cells = [str(len(entry.seeds))]
    cells += [
        span(entry.aggregate(name), decimals=SCORE) for name in (AGGREGATE_NAMES if across.normalised else ())
    ]
    for _, plain in _REFERENCES:
        found = next((each for each in entry.differences if (each.reference == NOTHING) == plain), None)
        cells += _across_difference(across, found)
    return cells


def _across_difference(across: Across, found: AcrossDifference | None) -> list[str]:
    if found is None:
        return ["–"] * (3 if across.normalised else 1)
    gain = found.aggregate("iqm")
    smallest = "–" if found.smallest is None else f"{found.smallest:.{SCORE}f}"
    return [
        *([change(gain, decimals=SCORE), smallest] if across.normalised else []),
        span(found.improvement, decimals=2),
    ]


def _flat(name: str) -> str:
    return name.replace("\n", " ")


def _broken(label: str) -> str:
    return label.replace(" (", "\n(", 1)


def _plain(text: str) -> str:
    return text.replace("*", "\\*")
