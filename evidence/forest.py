"""The picture of a comparison at one budget: what each method gains over from scratch, with its interval."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.names import LETTER, legend, short_labels
from hare_tortoise.lab.comparison import Comparison, Entry
from hare_tortoise.lab.recipe import FROM_SCRATCH
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import is_control, points, scale_note

_PANEL, _GAP, _LINE, _TOP = 250, 96, 19, 46
_INK, _PALE, _CONTROL, _CONTINUED = "#1f2430", "#5b6270", "#b45f06", "#0b7285"
_SCALED = "#6b5200"
_FONT = "font-family=\"'Segoe UI','Helvetica Neue',Roboto,'Liberation Sans',Arial,sans-serif\""


@dataclass(frozen=True)
class _Panel:
    """One of the two columns: where it lies, and what values it spans."""

    title: str
    left: float
    low: float
    high: float

    def x(self, value: float) -> float:
        return self.left + _PANEL * (value - self.low) / (self.high - self.low)


def forest(comparison: Comparison) -> str | None:
    """Draw the differences to from scratch in final and in average accuracy, the largest average first.

    Args:
        comparison: at one budget.

    Returns:
        An SVG; None where from scratch was not run, or nothing beside it.
    """
    found = [
        (entry, gain.final, gain.average)
        for entry in comparison.entries
        if entry.method != FROM_SCRATCH and (gain := entry.to(FROM_SCRATCH)) is not None
    ]
    if not found:
        return None
    found.sort(key=lambda item: -item[2].mean)
    names = short_labels(comparison.methods)
    left = round(24 + LETTER * max(len(names[entry.method]) for entry, _, _ in found))
    scale = scale_note(comparison.scale)
    top = _TOP + (18 if scale else 0)
    panels = (
        _panel("final accuracy, points over from scratch", left, [final for _, final, _ in found]),
        _panel("average over the stream", left + _PANEL + _GAP, [average for _, _, average in found]),
    )
    foot = top + _LINE * len(found) + 30
    parts = [part for panel in panels for part in _frame(panel, top, foot)]
    if scale:
        parts.append(_text(12, 18, scale, colour=_SCALED))
    for place, (entry, final, average) in enumerate(found):
        y = top + _LINE * (place + 0.5)
        colour = _CONTROL if is_control(entry.method) else _CONTINUED
        parts.append(_text(left - 12, y + 4, names[entry.method], "end", colour=_name(entry)))
        parts += [
            part
            for panel, estimate in zip(panels, (final, average), strict=True)
            for part in _mark(panel, estimate, y, colour)
        ]
    said = legend(comparison.methods)
    if said:
        parts.append(_text(12, foot + 12, said, size=11))
    width, height = left + 2 * _PANEL + 2 * _GAP, foot + (22 if said else 0)
    title = html.escape(f"{comparison.recipe}: differences to from scratch")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" {_FONT} font-size="12"><title>{title}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _panel(title: str, left: float, values: Sequence[Estimate]) -> _Panel:
    ends = [0.0, *(end for v in values for end in (v.low, v.high, v.mean) if end is not None)]
    # one that fell far down would press the others together
    low, high = max(min(ends), -0.25), max(ends)
    pad = 0.04 * (high - low) or 0.01
    return _Panel(title, left, low - pad, high + pad)


def _frame(panel: _Panel, top: float, foot: float) -> list[str]:
    step = next(s for s in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5) if (panel.high - panel.low) / s <= 6)
    parts = [_text(panel.left, top - 28, panel.title, colour=_INK)]
    for number in range(math.ceil(panel.low / step), math.floor(panel.high / step) + 1):
        x = panel.x(number * step)
        stroke = _INK if number == 0 else "#e6e8ed"
        parts.append(f'<path d="M{x:.1f} {top - 8}V{foot - 26}" stroke="{stroke}"/>')
        tick = f"{100 * number * step:+g}".replace("-", "−") if number else "0"
        parts.append(_text(x, foot - 10, tick, "middle"))
    return parts


def _mark(panel: _Panel, estimate: Estimate, y: float, colour: str) -> list[str]:
    outside = estimate.mean < panel.low
    x = panel.x(max(estimate.mean, panel.low))
    parts = []
    if estimate.low is not None and estimate.high is not None and not outside:
        low, high = panel.x(max(estimate.low, panel.low)), panel.x(estimate.high)
        parts.append(f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{colour}" stroke-width="1.5"/>')
    shape = (
        f'<path d="M{x:.1f} {y:.1f}l8 -4v8z" fill="{colour}"/>'
        if outside
        else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    )
    at = panel.left + _PANEL + 6
    return [*parts, shape, _text(at, y + 4, points(estimate), size=11)]


def _name(entry: Entry) -> str:
    return _CONTROL if is_control(entry.method) else _INK


def _text(
    x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, colour: str = _PALE
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {place}>{html.escape(text, quote=False)}</text>"
