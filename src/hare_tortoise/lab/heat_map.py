"""The grid of a sweep as a small static SVG: accuracy by colour, and the region that beats parents and controls."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hare_tortoise.lab.spec import Value
from hare_tortoise.lab.sweep_cells import Cell, Data, Figure, Verdict, beats
from hare_tortoise.lab.sweep_unit import show_value
from hare_tortoise.lab.wording import labels, percent, scale_note

CELL_WIDTH, CELL_HEIGHT = 58, 38
_LEFT, _TOP, _GAP, _FOOT = 84, 74, 34, 50
_LINE = 15
_UNITS = {"reset_every": "optimizer steps"}
_IN_A_LINE = 3
_FONT = "font-family=\"'Segoe UI','Helvetica Neue',Roboto,'Liberation Sans',Arial,sans-serif\""
# One hue from pale to dark: the order is seen without colours too.
_SCALE = ((237, 244, 250), (186, 214, 235), (107, 174, 214), (49, 130, 189), (8, 69, 132))
_STYLE = """
.page{fill:#fff}.ink{fill:#1f2430}.soft{fill:#5b6270}.hatch{stroke:#8a8f98}.region{stroke:#d55e00}.dot{fill:#d55e00}
.frame{stroke:#c9ced8}
@media (prefers-color-scheme:dark){.page{fill:#1c1f26}.ink{fill:#e8eaf0}.soft{fill:#aab1bf}.hatch{stroke:#777e8c}
.region{stroke:#ff9a4d}.dot{fill:#ff9a4d}.frame{stroke:#4a5060}}
"""


@dataclass(frozen=True)
class Panel:
    """One grid of a heat map.

    Args:
        title: the values that all its cells share.
        rows: values down its side.
        columns: values along its foot.
        cells: by row and column.
        notes: the parents and controls beside the grid, in words.
    """

    title: str
    rows: tuple[Value, ...]
    columns: tuple[Value, ...]
    cells: Mapping[tuple[Value, Value], Cell]
    notes: tuple[str, ...]


def heat_map(
    cells: Sequence[Cell],
    *,
    rows: str = "decay",
    columns: str = "reset_every",
    data: Data = "test",
    figure: Figure = "average",
    title: str | None = None,
) -> str:
    """Draw the grid of a sweep as an SVG: a panel for each combination of the other values.

    A cell that ended has its accuracy as colour and number. One that was pruned is hatched, never filled; one that
    failed or has not ended is blank. A thick line is drawn around the cells that beat both parents and the controls
    of their panel clearly, a dot in those that do so on average; see `beats`.

    Args:
        cells: of the sweep, parents and controls among them.
        rows: the value down the side.
        columns: the value along the foot.
        data: that the accuracies are of.
        figure: ``final``, or ``average`` over the stream.
        title: above the drawing; None: the name of the recipe.

    Raises:
        ValueError: There are no settings with these two values.
    """
    drawn = panels(cells, rows=rows, columns=columns, data=data, figure=figure)
    means = [
        estimate.mean
        for panel in drawn
        for cell in panel.cells.values()
        if cell.state == "complete" and (estimate := cell.estimate(data, figure)) is not None
    ]
    span = (min(means, default=0.0), max(means, default=1.0))
    wide = max(_panel_width(panel) for panel in drawn) + _GAP
    notes = max(len(panel.notes) for panel in drawn)
    high = _TOP - 30 + max(len(panel.rows) for panel in drawn) * CELL_HEIGHT + _FOOT + notes * _LINE
    across = min(_IN_A_LINE, len(drawn))
    scales = [note for note in dict.fromkeys(scale_note(cell.unit.recipe.scale) for cell in cells) if note]
    width = max(_GAP + across * wide, 680, _GAP + 7 * max(map(len, scales), default=0))
    parts = [_text(_GAP, 26, title or drawn_name(cells), size=16, kind="ink", weight="600")]
    what = {"final": "final accuracy", "average": "accuracy, average over the stream"}[figure]
    parts.append(_text(_GAP, 46, f"{what}, on {data} data, in %; means over the seeds"))
    parts += [_text(_GAP, 62 + 16 * place, note) for place, note in enumerate(scales)]
    head = 56 + 16 * len(scales)
    for place, panel in enumerate(drawn):
        x, y = _GAP + (place % across) * wide, head + (place // across) * high
        parts += _panel(panel, cells, x, y, (rows, columns), span, data, figure)
    foot = head + ((len(drawn) - 1) // across + 1) * high
    parts += _legend(foot, span)
    height = foot + 119
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" {_FONT} font-size="12">'
        f"<title>{html.escape(title or drawn_name(cells))}</title><style>{_STYLE}</style>"
        '<defs><pattern id="pruned" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><path class="hatch" d="M0 0V7" stroke-width="1.6"/></pattern></defs>'
        f'<rect class="page" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )


def drawn_name(cells: Sequence[Cell]) -> str:
    """Name a drawing after the recipes of its cells: what their names have in common."""
    names = list(dict.fromkeys(cell.unit.recipe.name for cell in cells))
    return names[0] if len(names) == 1 else names[0].split(" ")[0]


def panels(
    cells: Sequence[Cell], *, rows: str, columns: str, data: Data, figure: Figure
) -> tuple[Panel, ...]:
    """Sort cells into panels; see `heat_map`.

    Raises:
        ValueError: There are no settings with these two values.
    """
    settings = [
        (dict(cell.unit.values), cell)
        for cell in cells
        if cell.unit.role == "setting" and {rows, columns} <= dict(cell.unit.values).keys()
    ]
    if not settings or rows == columns:
        raise ValueError(
            f"cells: got none with values of {rows} and {columns}, expected settings of a sweep over both"
        )
    several = len({cell.unit.budget for _, cell in settings}) > 1
    grouped: dict[tuple[tuple[str, Value], ...], dict[tuple[Value, Value], Cell]] = {}
    for values, cell in settings:
        rest = [(name, value) for name, value in values.items() if name not in (rows, columns)]
        rest += [("budget", cell.unit.budget)] if several else []
        grouped.setdefault(tuple(rest), {})[values[rows], values[columns]] = cell
    sides = (
        ordered(values[rows] for values, _ in settings),
        ordered(values[columns] for values, _ in settings),
    )
    return tuple(
        Panel(
            ", ".join(f"{name}={show_value(value)}" for name, value in rest),
            *sides,
            grid,
            _notes(next(iter(grid.values())), cells, data, figure),
        )
        for rest, grid in grouped.items()
    )


def ordered(values: Iterable[Value]) -> tuple[Value, ...]:
    """Order the values of an axis: numbers rise, then words as they come, then none.

    Example:
        >>> ordered([None, 100, 10, 100])
        (10, 100, None)
    """
    distinct = list(dict.fromkeys(values))
    numbers = [value for value in distinct if isinstance(value, int | float)]
    words = [value for value in distinct if value is not None and not isinstance(value, int | float)]
    return (*sorted(numbers), *words, *([None] if None in distinct else []))


def colour(share: float) -> str:
    """Give the colour of a cell: 0 the palest, 1 the darkest.

    Example:
        >>> colour(0.0), colour(1.0)
        ('#edf4fa', '#084584')
    """
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    low = min(int(place), len(_SCALE) - 2)
    mixed = (round(a + (place - low) * (b - a)) for a, b in zip(_SCALE[low], _SCALE[low + 1], strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _notes(cell: Cell, cells: Sequence[Cell], data: Data, figure: Figure) -> tuple[str, ...]:
    """Say what the parents and controls of a panel reached that stand in no cell of it."""
    beside = {
        other.unit.method: other
        for other in cells
        if other.unit.panel == cell.unit.panel and other.unit.role != "setting"
    }
    averages = [m for m in beside if beside[m].unit.role == "parent" and m != "warm-start"]
    names = labels([*beside])
    return tuple(
        f"{names[method]}: {percent(other.estimate(data, figure)) if other.state == 'complete' else other.state}"
        for method, other in beside.items()
        if method not in averages or len(averages) == 1
    )


def _panel_width(panel: Panel) -> int:
    return max(_LEFT + len(panel.columns) * CELL_WIDTH, _LEFT + 7 * max(map(len, panel.notes), default=0))


def _panel(
    panel: Panel,
    cells: Sequence[Cell],
    x: int,
    y: int,
    names: tuple[str, str],
    span: tuple[float, float],
    data: Data,
    figure: Figure,
) -> list[str]:
    """Draw a panel with its upper left corner at (x, y)."""
    left, top = x + _LEFT, y + _TOP - 44
    bottom = top + len(panel.rows) * CELL_HEIGHT
    parts = [_text(left, top - 10, panel.title, kind="ink", weight="600")]
    region: set[tuple[int, int]] = set()
    for i, row in enumerate(panel.rows):
        parts.append(_text(left - 8, top + (i + 0.5) * CELL_HEIGHT + 4, show_value(row), "end"))
        for j, column in enumerate(panel.columns):
            cell = panel.cells.get((row, column))
            verdict = "unknown" if cell is None else beats(cell, cells, data, figure)
            corner = left + j * CELL_WIDTH, top + i * CELL_HEIGHT
            parts.append(_cell(cell, verdict, corner, span, data, figure))
            if verdict == "clearly":
                region.add((i, j))
    for j, column in enumerate(panel.columns):
        parts.append(_text(left + (j + 0.5) * CELL_WIDTH, bottom + 17, show_value(column), "middle"))
    parts.append(_outline(region, left, top))
    centre = left + len(panel.columns) * CELL_WIDTH / 2
    parts.append(_text(centre, bottom + 35, _axis(names[1]), "middle"))
    middle = (top + bottom) / 2
    parts.append(
        f'<text class="soft" transform="translate({x + 14} {middle:g}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(_axis(names[0]))}</text>"
    )
    for number, note in enumerate(panel.notes):
        parts.append(_text(left, bottom + 40 + (number + 1) * _LINE, note, size=11))
    return parts


def _axis(name: str) -> str:
    return f"{name} ({_UNITS[name]})" if name in _UNITS else name


def _cell(
    cell: Cell | None,
    verdict: Verdict,
    corner: tuple[int, int],
    span: tuple[float, float],
    data: Data,
    figure: Figure,
) -> str:
    """Draw a cell: filled, hatched or blank."""
    x, y = corner
    box = f'x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}"'
    state = "missing" if cell is None else cell.state
    inside = f'<rect class="frame" {box} fill="none"/>'
    middle = x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2 + 4.5
    label = "not run" if cell is None else f"{cell.unit.label}: {state}"
    estimate = cell.estimate(data, figure) if cell is not None else None
    if cell is not None and state == "complete" and estimate is not None:
        share = (estimate.mean - span[0]) / (span[1] - span[0]) if span[1] > span[0] else 0.5
        ink = "#ffffff" if share > 0.7 else "#14202e"
        number = f'<text x="{middle[0]:g}" y="{middle[1]:g}" text-anchor="middle" fill="{ink}">'
        inside = f'<rect {box} fill="{colour(share)}"/>{number}{percent(estimate, interval=False)}</text>'
        label = f"{cell.unit.label}: {percent(estimate)}; beats parents and controls: {verdict}"
    elif cell is not None and state == "pruned":
        inside += f'<rect {box} fill="url(#pruned)"/>'
        label = f"{cell.unit.label}: pruned after chunk {cell.chunks}"
    elif state == "failed":
        inside += _text(middle[0], middle[1], "failed", "middle", size=11)
    if verdict == "on average":
        inside += f'<circle class="dot" cx="{x + CELL_WIDTH - 8}" cy="{y + 8}" r="3.2" stroke="#fff"/>'
    told = f"<title>{html.escape(label)}</title>"
    return f'<g class="cell" data-state="{state}" data-beats="{verdict}">{told}{inside}</g>'


def _outline(region: set[tuple[int, int]], left: int, top: int) -> str:
    """Draw the edges between the cells of a region and those that are not of it."""
    edges = []
    for i, j in sorted(region):
        x, y = left + j * CELL_WIDTH, top + i * CELL_HEIGHT
        if (i - 1, j) not in region:
            edges.append(f"M{x} {y}h{CELL_WIDTH}")
        if (i + 1, j) not in region:
            edges.append(f"M{x} {y + CELL_HEIGHT}h{CELL_WIDTH}")
        if (i, j - 1) not in region:
            edges.append(f"M{x} {y}v{CELL_HEIGHT}")
        if (i, j + 1) not in region:
            edges.append(f"M{x + CELL_WIDTH} {y}v{CELL_HEIGHT}")
    if not edges:
        return ""
    return f'<path class="region" d="{"".join(edges)}" fill="none" stroke-width="3" stroke-linecap="square"/>'


def _legend(y: int, span: tuple[float, float]) -> list[str]:
    steps = 24
    parts = [
        f'<rect x="{_GAP + 5 * n}" y="{y}" width="5" height="14" fill="{colour(n / (steps - 1))}"/>'
        for n in range(steps)
    ]
    parts.append(_text(_GAP + 5 * steps + 8, y + 11, f"{100 * span[0]:.1f} to {100 * span[1]:.1f} %"))
    parts.append(f'<rect class="frame" x="330" y="{y}" width="22" height="14" fill="url(#pruned)"/>')
    parts.append(_text(358, y + 11, "pruned"))
    parts.append(f'<rect class="frame" x="430" y="{y}" width="22" height="14" fill="none"/>')
    parts.append(_text(458, y + 11, "not run, not ended or failed"))
    parts.append(
        f'<rect class="region" x="{_GAP + 2}" y="{y + 26}" width="22" height="14" fill="none" stroke-width="3"/>'
    )
    said = (
        "better than warm start, the EMA of the same decay without resets, and every",
        "control: each paired difference has its 95 % interval above zero",
        "(cell by cell; not corrected for their number)",
    )
    parts += [_text(_GAP + 34, y + 38 + _LINE * place, line) for place, line in enumerate(said)]
    parts.append(f'<circle class="dot" cx="{_GAP + 13}" cy="{y + 87}" r="3.2"/>')
    parts.append(_text(_GAP + 34, y + 91, "better than each of them on average only"))
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    *,
    size: int = 12,
    kind: str = "soft",
    weight: str = "400",
) -> str:
    place = (
        f'class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    )
    return f"<text {place}>{html.escape(text, quote=False)}</text>"
