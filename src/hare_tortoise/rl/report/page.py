"""The report of agents: one HTML file that opens anywhere, offline, with the differences first."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from hare_tortoise.lab.files import write_atomic
from hare_tortoise.lab.report_charts import Looks
from hare_tortoise.lab.report_looks import looks
from hare_tortoise.lab.report_page import Figures, keys, lay_page, note_list, results_table, safe
from hare_tortoise.lab.table import Columns
from hare_tortoise.lab.trial import Result
from hare_tortoise.rl.report.charts import answers, over_games
from hare_tortoise.rl.report.charts_along import learning, measured
from hare_tortoise.rl.report.charts_sequence import matrices
from hare_tortoise.rl.report.entries import AgentComparison
from hare_tortoise.rl.report.figures import finished_of
from hare_tortoise.rl.report.notes import notes
from hare_tortoise.rl.report.sentence import sentences
from hare_tortoise.rl.report.table import (
    READING,
    bootstrap_notes,
    lay_out_across,
    lay_out_games,
    lay_out_published,
    lay_out_revisits,
    lay_out_sequence,
)
from hare_tortoise.rl.report.wording import games_in

_HEADING = "Which method makes agents play better?"
_QUESTION = (
    "What return does each method reach with the same steps, paired with the plain agent on the same seeds?"
)
_VIDEOS = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}


def write_report(
    comparison: AgentComparison,
    results: Sequence[Result],
    path: Path,
    *,
    command: str,
    versions: Mapping[str, str],
    protocol: str = "",
    videos: Mapping[str, Path] | None = None,
) -> None:
    """Write a comparison of agents as one HTML file without any outside reference.

    Args:
        comparison: as `compare_agents` gives it.
        results: what it was made from.
        path: of the file; it is written beside and renamed.
        command: the exact command that made it.
        versions: of the package, torch, python and the libraries of the games.
        protocol: what the agents are made of and how they are trained, in words; empty: not shown.
        videos: by their title, mp4, webm or gif; they are put into the file.

    Raises:
        ValueError: A video is of another kind.
        OSError: The file cannot be written, or a video not read.
    """
    figures = Figures()
    text = lay_page(
        title=f"{_HEADING} {comparison.recipe}",
        heading=_HEADING,
        question=_QUESTION,
        links={},
        sections=[_section(comparison, results, figures, protocol, videos or {})],
        figures=figures,
        command=command,
        versions=versions,
    )
    write_atomic(path, text.encode())


def _section(
    comparison: AgentComparison,
    results: Sequence[Result],
    figures: Figures,
    protocol: str,
    videos: Mapping[str, Path],
) -> str:
    looked, methods = looks(comparison.methods), comparison.methods
    finished = finished_of(comparison.recipe, comparison.steps, comparison.games, methods, results)
    warnings = [note.text for note in notes(comparison) if note.warning]
    parts = [
        '<section data-comparison="0" id="comparison-0">',
        f"<h2>{safe(comparison.recipe)}</h2>",
        f'<p class="about">{safe(_about(comparison))}</p>',
        f'<p class="sentence">{"<br>".join(safe(text) for text in sentences(comparison))}</p>',
        note_list(warnings, warnings=True),
        keys(methods, methods, looked),
        _charts(figures.draw(answers(comparison, looked))),
        *_across(comparison, figures, looked),
    ]
    for title, charts in (
        ("While they learn", learning(comparison, finished, looked)),
        ("Measures of plasticity", measured(comparison, finished, looked)),
    ):
        if charts:
            parts += [f"<h3>{title}</h3>", _charts(figures.draw(charts))]
    for games in comparison.games:
        parts += _sequence(comparison, games, figures) if len(games) > 1 else []
    parts += [_games(comparison), _published(comparison), *_videos(videos)]
    told = [note.text for note in notes(comparison) if not note.warning]
    parts += ["<h3>What must be known beside them</h3>", note_list(told, warnings=False)]
    if protocol:
        text = f'<pre class="scroller"><code>{safe(protocol)}</code></pre>'
        parts.append(f"<details><summary>The agents and their protocol</summary>{text}</details>")
    return "\n".join(part for part in (*parts, "</section>") if part)


def _about(comparison: AgentComparison) -> str:
    games = list(dict.fromkeys(game for sequence in comparison.games for game in sequence))
    seeds = f"{comparison.seeds} seed{'s' * (comparison.seeds != 1)}"
    phases = " a game" if any(len(sequence) > 1 for sequence in comparison.games) else ""
    text = f"{games_in(games)}; {comparison.steps:,} steps{phases}, {seeds}."
    return f"{comparison.description}. {text}" if comparison.description else text


def _across(comparison: AgentComparison, figures: Figures, looked: Looks) -> list[str]:
    if comparison.across is None:
        return []
    theirs = "Lines that are marked as published are others', not ours. " if comparison.published else ""
    below = " ".join([*bootstrap_notes(comparison)])
    return [
        "<h3>Over the games</h3>",
        _table(lay_out_across(comparison), f"In brackets the ends of the 95 % interval. {theirs}{below}"),
        _charts(figures.draw(over_games(comparison, looked))),
    ]


def _games(comparison: AgentComparison) -> str:
    columns = lay_out_games(comparison)
    return f"<h3>All figures</h3>{_table(columns, READING)}" if columns.lines else ""


def _sequence(comparison: AgentComparison, games: tuple[str, ...], figures: Figures) -> list[str]:
    parts = [f"<h3>In sequence: {safe(', '.join(games))}</h3>"]
    parts.append(_charts(figures.draw(matrices(comparison, games))))
    revisits = lay_out_revisits(comparison, games)
    if revisits.lines:
        parts.append(_table(revisits, "A game that comes back: the last visit minus the first."))
    parts.append(_table(lay_out_sequence(comparison, games), READING))
    return parts


def _published(comparison: AgentComparison) -> str:
    columns = lay_out_published(comparison)
    if not columns.lines:
        return ""
    sources = [f"{each.label}: {each.source}" for each in comparison.published if each.scores]
    hint = "Returns. What is not marked as ours was published by others, with their agents and their runs."
    table = _table(columns, hint)
    return f"<h3>Published scores of the same games</h3>{table}{note_list(sources, warnings=False)}"


def _videos(videos: Mapping[str, Path]) -> list[str]:
    parts = ["<h3>At play</h3>"] if videos else []
    for title, path in videos.items():
        kind = _VIDEOS.get(path.suffix.lower())
        if kind is None:
            raise ValueError(f"videos: got {path}, expected a file that ends in {', '.join(_VIDEOS)}")
        data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        shown = (
            f'<img src="{data}" alt="{safe(title)}">'
            if kind.startswith("image")
            else f'<video controls loop muted playsinline src="{data}"></video>'
        )
        parts.append(f'<figure class="played"><h3>{safe(title)}</h3>{shown}</figure>')
    return parts


def _table(columns: Columns, hint: str) -> str:
    lines = [(line[0], line) for line in (*columns.lines, *columns.baselines)]
    return f'<p class="hint">{safe(hint)}</p>{results_table(columns.header, lines)}'


def _charts(drawn: str) -> str:
    return f'<div class="charts">{drawn}</div>' if drawn else ""
