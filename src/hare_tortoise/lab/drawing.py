"""Parts of small static SVG pictures: the whole, words, ticks, and names at the ends of curves."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from hare_tortoise.lab.report_looks import Look
from hare_tortoise.lab.report_marks import mark

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 78, 610, 22, 384
"""Edges of the field of a picture of curves; the names of these stand at its right."""
INK, PALE, GRID = "#1f2430", "#5b6270", "#e6e8ed"
FONT = "font-family=\"'Segoe UI','Helvetica Neue',Roboto,'Liberation Sans',Arial,sans-serif\""


def svg(title: str, parts: Sequence[str], *, width: float = WIDTH, height: float = HEIGHT) -> str:
    """Put a picture together on white.

    Args:
        title: what it shows, for those who do not see it.
        parts: elements, the last on top.
        width: in pixels.
        height: in pixels.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" {FONT} font-size="13">'
        f'<title>{html.escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def words(x: float, y: float, text: str, anchor: str = "start", *, size: int = 13, colour: str = PALE) -> str:
    """Write a text; a small one is written over curves, and has a white edge.

    Args:
        x: where it begins, is in the middle or ends, as `anchor` says.
        y: of its foot.
        text: as it is read.
        anchor: start, middle or end.
        size: in pixels.
        colour: as ``#rrggbb``.
    """
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    if size < 13:
        place += ' stroke="#fff" stroke-width="3" paint-order="stroke"'
    return f"<text {place}>{html.escape(text, quote=False)}</text>"


def upwards(text: str) -> str:
    """Write the name of the upward axis, turned."""
    turned = f'transform="translate(15 {(TOP + BOTTOM) / 2:g}) rotate(-90)" text-anchor="middle"'
    return f'<text {turned} fill="{PALE}">{html.escape(text, quote=False)}</text>'


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Choose round numbers of a span: the multiples of the least of 1, 2 or 5 times a power of ten.

    Args:
        low: end of the span.
        high: other end, above `low`.
        most: parts that they divide the span into at most.

    Example:
        >>> ticks(-0.3, 1.2, most=4)
        [0.0, 0.5, 1.0]
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= most)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def names(height: Callable[[float], float], ends: Sequence[tuple[Look, float]]) -> list[str]:
    """Write the names beside the ends of curves, in their order, pushed apart where they would overlap.

    Args:
        height: gives the place of a value on the drawing.
        ends: looks with the last values.
    """
    ordered = sorted(ends, key=lambda end: -end[1])
    gap, lowest = 20.0, BOTTOM + 4.0
    places: list[float] = []
    for _, value in ordered:
        places.append(max(height(value), places[-1] + gap if places else TOP + 4.0))
    for number in reversed(range(len(places))):
        places[number] = min(places[number], lowest)
        lowest = places[number] - gap
    parts = []
    for (look, value), y in zip(ordered, places, strict=True):
        leader = f"M{RIGHT + 2} {height(value):.1f}L{RIGHT + 16} {y:.1f}"
        parts.append(f'<path d="{leader}" fill="none" stroke="{look.colour}" opacity="0.6"/>')
        parts.append(mark(look, RIGHT + 24, round(y, 1), 4))
        parts.append(words(RIGHT + 36, y + 4.5, look.label, colour=INK))
    return parts
