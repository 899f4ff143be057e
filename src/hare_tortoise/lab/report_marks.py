"""Marks of methods as SVG, for legends and pictures: the shapes that plotly draws for the same names."""

from __future__ import annotations

import math

from hare_tortoise.lab.report_looks import Look


def _regular(corners: int, turned: float = 0.0, inner: float = 1.0) -> list[tuple[float, float]]:
    """Corners of a regular polygon, the first at the top; with `inner` every second one is drawn in: a star."""
    found = []
    for corner in range(corners):
        angle, radius = 2 * math.pi * corner / corners + turned, inner if corner % 2 else 1.0
        found.append((radius * math.sin(angle), -radius * math.cos(angle)))
    return found


_CROSS = [(-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35)]
_PLUS = [*_CROSS, *((-x, -y) for x, y in _CROSS)]
_SHAPES = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
    "triangle-up": [(0, -1.1), (1.1, 0.8), (-1.1, 0.8)],
    "triangle-down": [(0, 1.1), (1.1, -0.8), (-1.1, -0.8)],
    "triangle-left": [(-1.1, 0), (0.8, -1.1), (0.8, 1.1)],
    "triangle-right": [(1.1, 0), (-0.8, -1.1), (-0.8, 1.1)],
    "pentagon": _regular(5),
    "hexagon": _regular(6),
    "cross": _PLUS,
    "x": [((x - y) * math.sqrt(0.5), (x + y) * math.sqrt(0.5)) for x, y in _PLUS],
    "star": [(1.3 * x, 1.3 * y) for x, y in _regular(10, inner=0.5)],
    "star-square": [(1.3 * x, 1.3 * y) for x, y in _regular(8, math.pi / 4, inner=0.55)],
    "hourglass": [(-0.9, -0.9), (0.9, -0.9), (-0.9, 0.9), (0.9, 0.9)],
    "bowtie": [(-0.9, -0.9), (-0.9, 0.9), (0.9, -0.9), (0.9, 0.9)],
}


def mark(look: Look, x: float, y: float, radius: float = 4.5) -> str:
    """Draw the mark of a method as an SVG element.

    Args:
        look: of the method.
        x: of its centre, in the units of the drawing.
        y: of its centre.
        radius: of the circle that it about fills.

    Example:
        >>> from hare_tortoise.lab.report_looks import looks
        >>> mark(looks(["from-scratch"])["from-scratch"], 1, 2)
        '<circle cx="1" cy="2" r="4.5" fill="#1f2430" stroke="#1f2430" stroke-width="1.5"/>'
    """
    paint = f'fill="{"#fff" if look.control else look.colour}" stroke="{look.colour}" stroke-width="1.5"'
    if look.symbol == "circle":
        return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" {paint}/>'
    corners = " ".join(f"{x + radius * dx:.2f},{y + radius * dy:.2f}" for dx, dy in _SHAPES[look.symbol])
    return f'<polygon points="{corners}" {paint}/>'


def swatch(look: Look) -> str:
    """Draw a short line with the mark of a method on it, as a whole SVG for a legend.

    Args:
        look: of the method.
    """
    dash = ' stroke-dasharray="5 3"' if look.control else ""
    line = f'<line x1="0" y1="8" x2="30" y2="8" stroke="{look.colour}" stroke-width="2"{dash}/>'
    return (
        f'<svg width="30" height="16" viewBox="0 0 30 16" aria-hidden="true">{line}{mark(look, 15, 8)}</svg>'
    )
