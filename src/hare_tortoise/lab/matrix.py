"""Matrices of accuracies, task by time, as one small static SVG: heat maps side by side on one scale of colours."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from hare_tortoise.lab.sequence import Matrix

# from viridis: as light rises so does the accuracy, also in grey and for colour-blind readers
COLOURS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
_ACROSS, _SIDE, _GAP, _LEFT, _TOP, _BAR = 3, 232, 34, 52, 46, 78
# of a letter as a share of its height, in a wide font, such as a reader may have in place of the one that is named
_WIDE = 0.62
_LINE, _TITLE = 14, 12
_FONT = "font-family=\"'Segoe UI','Helvetica Neue',Roboto,'Liberation Sans',Arial,sans-serif\""


@dataclass(frozen=True)
class Panel:
    """One heat map.

    Args:
        title: what stands above it.
        values: ``[task][time]``; None where nothing was measured: left white.
    """

    title: str
    values: Matrix


def draw_matrices(
    panels: Sequence[Panel],
    *,
    title: str,
    down: str = "task",
    across: str = "after chunk",
    unit: str = "accuracy",
    note: str = "",
) -> str:
    """Draw matrices as heat maps on one scale of colours, three in a row.

    Args:
        panels: one or more, of one shape.
        title: of the whole.
        down: what the lines count, the first at the top.
        across: what the columns count, from the left.
        unit: what the values are; they are written in percent.
        note: below the title, such as what the trainings were scaled down to.

    Raises:
        ValueError: There is no panel, no value, or the shapes differ.

    Example:
        >>> svg = draw_matrices([Panel("warm start", ((0.9, 0.5), (None, 0.8)))], title="mine")
        >>> svg.count("<rect class")
        3
    """
    shapes = {(len(panel.values), *{len(line) for line in panel.values}) for panel in panels}
    if len(shapes) != 1 or len(shape := min(shapes)) != 2:
        raise ValueError(
            f"panels: got matrices of {sorted(shapes)} lines and columns, expected one shape for all"
        )
    found = [value for panel in panels for line in panel.values for value in line if value is not None]
    if not found:
        raise ValueError("panels: got no value, expected one at least")
    low, high = min(found), max(found)
    titles = [_lines(panel.title) for panel in panels]
    top = _TOP + 4 + (18 if note else 0) + _LINE * max(map(len, titles))
    pitch = _SIDE + _GAP + 6 + _LINE * max(map(len, titles))
    rows, columns = -(-len(panels) // _ACROSS), min(len(panels), _ACROSS)
    drawn = _LEFT + columns * (_SIDE + _GAP)
    width = max(drawn + _BAR, round(_LEFT + _WIDE * max(15 * len(title), 13 * len(note))) + 12)
    height = top + rows * pitch
    parts = [_text(_LEFT, 20, title, size=15, colour="#1f2430")]
    if note:
        parts.append(_text(_LEFT, 40, note, colour="#6b5200"))
    for number, (panel, lines) in enumerate(zip(panels, titles, strict=True)):
        row, column = divmod(number, _ACROSS)
        x, y = _LEFT + column * (_SIDE + _GAP), top + row * pitch
        parts += _title(lines, x, y) + _panel(panel, x, y, low, high)
        last = number + _ACROSS >= len(panels)
        parts += _numbers(x, y, *shape, beside=column == 0, below=last)
    parts += _axes(_LEFT + (columns * (_SIDE + _GAP) - _GAP) / 2, top + _SIDE / 2, height, across, down)
    parts += _bar(drawn, top, low, high, unit)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" {_FONT} font-size="13"><title>{html.escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def colour(share: float) -> str:
    """Give the colour at a place of the scale, 0 … 1.

    Example:
        >>> colour(0.0), colour(1.0)
        ('#440154', '#fde725')
    """
    place = min(max(share, 0.0), 1.0) * (len(COLOURS) - 1)
    first = min(int(place), len(COLOURS) - 2)
    ends = [[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in COLOURS[first : first + 2]]
    mixed = [round(a + (place - first) * (b - a)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _lines(title: str) -> list[str]:
    """Break a name, so that it does not run into the next."""
    return textwrap.wrap(title, int(_SIDE / (_WIDE * _TITLE))) or [""]


def _title(lines: Sequence[str], x: float, y: float) -> list[str]:
    above = y - 7 - _LINE * (len(lines) - 1)
    return [
        _text(x, above + _LINE * place, line, size=_TITLE, colour="#1f2430")
        for place, line in enumerate(lines)
    ]


def _panel(panel: Panel, x: float, y: float, low: float, high: float) -> list[str]:
    tall, wide = _SIDE / len(panel.values), _SIDE / len(panel.values[0])
    parts = []
    for task, line in enumerate(panel.values):
        for time, value in enumerate(line):
            if value is not None:
                # a little larger than its place: neighbours leave no white seam between them
                place = f'x="{x + time * wide:.2f}" y="{y + task * tall:.2f}" width="{wide + 0.3:.2f}" '
                fill = colour((value - low) / (high - low) if high > low else 0.5)
                parts.append(f'<rect class="cell" {place}height="{tall + 0.3:.2f}" fill="{fill}"/>')
    frame = f'<rect x="{x}" y="{y}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#9aa1ad"/>'
    return [*parts, frame]


def _axes(middle: float, centre: float, height: float, across: str, down: str) -> list[str]:
    turned = f'transform="translate(15 {centre:g}) rotate(-90)" text-anchor="middle" fill="#5b6270"'
    return [
        _text(middle, height - 8, across, "middle"),
        f"<text {turned}>{html.escape(down)}</text>",
    ]


def _numbers(x: float, y: float, tasks: int, times: int, *, beside: bool, below: bool) -> list[str]:
    """Number the lines and columns: the first, the last, and some between."""
    parts = []
    if beside:
        places = [(n, y + (n - 0.5) * _SIDE / tasks + 4) for n in _some(tasks)]
        parts += [_text(x - 6, place, str(n), "end", size=11) for n, place in places]
    if below:
        places = [(n, x + (n - 0.5) * _SIDE / times) for n in _some(times)]
        parts += [_text(place, y + _SIDE + 15, str(n), "middle", size=11) for n, place in places]
    return parts


def _some(count: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, count) if count / s <= 8)
    return sorted({1, *range(step, count + 1, step)} - ({1} if step == 2 else set()))


def _bar(x: float, y: float, low: float, high: float, unit: str) -> list[str]:
    stops = "".join(
        f'<stop offset="{100 * place / (len(COLOURS) - 1):g}%" stop-color="{shade}"/>'
        for place, shade in enumerate(reversed(COLOURS))
    )
    parts = [
        f'<defs><linearGradient id="scale" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient></defs>',
        f'<rect x="{x}" y="{y}" width="14" height="{_SIDE}" fill="url(#scale)"/>',
        _text(x, y - 7, unit, size=11),
    ]
    for number in range(5):
        value = high - (high - low) * number / 4
        text = f"{100 * value:.0f} %".replace("-", "−")
        parts.append(_text(x + 20, y + _SIDE * number / 4 + 4, text, size=11))
    return parts


def _text(
    x: float, y: float, text: str, anchor: str = "start", *, size: int = 13, colour: str = "#5b6270"
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {place}>{html.escape(text, quote=False)}</text>"
