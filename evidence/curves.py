"""Curves with intervals as a small static SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.names import LETTER
from hare_tortoise.lab.statistics import Estimate

_HEIGHT = 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 580, 44, 376
_INK, _PALE, _GRID, _SCALED = "#1f2430", "#5b6270", "#e6e8ed", "#6b5200"
_COLOURS = (
    "#0b7285",
    "#b45f06",
    "#6a3d9a",
    "#2b8a3e",
    "#c2255c",
    "#1864ab",
    "#868e96",
    "#5c940d",
    "#a61e4d",
    "#495057",
)
_FONT = "font-family=\"'Segoe UI','Helvetica Neue',Roboto,'Liberation Sans',Arial,sans-serif\""


@dataclass(frozen=True)
class Curve:
    """One line of the picture.

    Args:
        name: stands beside its end.
        points: pairs of place and estimate, places rising.
        dashed: for references and controls.
        joined: False where the points stand for themselves.
    """

    name: str
    points: Sequence[tuple[float, Estimate]]
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Axes:
    """What the picture shows.

    Args:
        title: above it.
        x: name of the horizontal axis.
        y: name of the vertical axis.
        percent: whether values are shares, shown in percent.
        logarithmic: whether places are; they are shares of a whole then.
        note: below the title: what the trainings were scaled down to.
    """

    title: str
    x: str
    y: str
    percent: bool = True
    logarithmic: bool = False
    note: str = ""


def curves(axes: Axes, shown: Sequence[Curve]) -> str:
    """Draw curves, each with its name at its end.

    Args:
        axes: what they are.
        shown: one or more with at least one point each.

    Returns:
        An SVG.
    """
    places = [_place(axes, x) for curve in shown for x, _ in curve.points]
    ends = [v for c in shown for _, e in c.points for v in (e.mean, e.low, e.high) if v is not None]
    pad = 0.05 * (max(ends) - min(ends)) or 0.01
    spans = (min(places), max(places)), (min(ends) - pad, max(ends) + pad)

    def at(x: float, y: float) -> tuple[float, float]:
        (left, right), (low, high) = spans
        along = (_place(axes, x) - left) / (right - left or 1.0)
        return _LEFT + (_RIGHT - _LEFT) * along, _BOTTOM - (_BOTTOM - _TOP) * (y - low) / (high - low)

    parts = [_text(_LEFT, 18, axes.title, colour=_INK), *_grid(axes, shown, spans, at)]
    if axes.note:
        parts.append(_text(_LEFT, 35, axes.note, colour=_SCALED))
    tails = []
    for number, curve in enumerate(shown):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = [(*at(x, e.mean), e, at) for x, e in curve.points]
        if curve.joined:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y, *_ in drawn)
            dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        for (x, estimate), (left, y, *_) in zip(curve.points, drawn, strict=True):
            if estimate.low is not None and estimate.high is not None:
                low, high = at(x, estimate.low)[1], at(x, estimate.high)[1]
                parts.append(f'<path d="M{left:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" opacity="0.45"/>')
            parts.append(f'<circle cx="{left:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>')
        tails.append((drawn[-1][1], drawn[-1][0], curve.name, colour))
    parts += _names(tails)
    begun = ((_LEFT, axes.title), (_LEFT, axes.note), *((_RIGHT + 18, curve.name) for curve in shown))
    width = round(max(left + LETTER * len(text) for left, text in begun)) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" '
        f'viewBox="0 0 {width} {_HEIGHT}" role="img" {_FONT} font-size="12">'
        f'<title>{html.escape(axes.title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _place(axes: Axes, x: float) -> float:
    return math.log(x) if axes.logarithmic else x


def _grid(
    axes: Axes, shown: Sequence[Curve], spans: tuple[tuple[float, float], ...], at: object
) -> list[str]:
    assert callable(at)
    (left, right), (low, high) = spans
    step = _step(high - low, 7)
    parts = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = at(shown[0].points[0][0], number * step)[1]
        text = f"{100 * number * step:g} %" if axes.percent else f"{number * step:g}"
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_RIGHT}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 8, y + 4, text.replace("-", "−"), "end"))
    if axes.logarithmic:
        whole = [s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if left <= math.log(s) <= right]
        ticks = [(share, f"{100 * share:g} %") for share in whole]
    else:
        step = _step(right - left, 10)
        ticks = [
            (n * step, f"{n * step:,.10g}")
            for n in range(math.ceil(left / step), math.floor(right / step) + 1)
        ]
    for place, text in ticks:
        x = at(place, low)[0]
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_BOTTOM}" stroke="{_GRID}"/>')
        parts.append(_text(x, _BOTTOM + 18, text, "middle"))
    parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 12, axes.x, "middle"))
    turned = f'transform="translate(14 {(_TOP + _BOTTOM) / 2:g}) rotate(-90)" text-anchor="middle"'
    return [*parts, f'<text {turned} fill="{_PALE}">{html.escape(axes.y)}</text>']


def _step(span: float, most: int) -> float:
    """The least of 1, 2, 5 times a power of ten that divides a span into so many parts at most."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)


def _names(tails: Sequence[tuple[float, float, str, str]]) -> list[str]:
    """Write the names in the order of the ends, pushed apart where they would overlap."""
    parts, lowest = [], 0.0
    gap = min(16.0, (_HEIGHT - 24) / max(1, len(tails)))
    ordered = sorted(tails)
    over = max(0.0, sum(1 for _ in ordered) * gap - (_BOTTOM - ordered[0][0]) - 20)
    lowest = ordered[0][0] - over - gap
    for y, x, name, colour in ordered:
        lowest = max(y if not over else lowest + gap, lowest + gap)
        parts.append(
            f'<path d="M{x + 5:.1f} {y:.1f}L{_RIGHT + 14} {lowest:.1f}" fill="none" stroke="{colour}" opacity="0.5"/>'
        )
        parts.append(_text(_RIGHT + 18, lowest + 4, name, colour=colour))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", *, colour: str = _PALE) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{html.escape(text, quote=False)}</text>"
