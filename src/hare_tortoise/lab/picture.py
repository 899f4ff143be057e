"""The picture of a comparison as a small static SVG: accuracy against cost, for a README or a paper."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hare_tortoise.lab.comparison import Comparison
from hare_tortoise.lab.drawing import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, names, svg, upwards, words
from hare_tortoise.lab.report_charts import around_reference, cost_of
from hare_tortoise.lab.report_looks import BASELINE, Look, looks
from hare_tortoise.lab.report_marks import mark
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import share


@dataclass(frozen=True)
class _Frame:
    """Where data lie on the drawing: cost is logarithmic, accuracy linear."""

    costs: tuple[float, float]
    accuracies: tuple[float, float]

    def x(self, cost: float) -> float:
        low, high = (math.log(value) for value in self.costs)
        return LEFT + (RIGHT - LEFT) * (math.log(cost) - low) / (high - low)

    def y(self, accuracy: float) -> float:
        low, high = self.accuracies
        return BOTTOM - (BOTTOM - TOP) * (accuracy - low) / (high - low)


Point = tuple[float, Estimate]


def picture(comparison: Comparison) -> str:
    """Draw accuracy against cost as an SVG, one curve per method over its budgets.

    A bar is the 95 % interval of the paired difference to from scratch at budget 1; where it lies wholly above the
    dotted line, one margin lower, the method reaches from scratch.

    Args:
        comparison: as `compare` gives it.

    Raises:
        ValueError: No trial of the comparison finished.
    """
    looked = looks(comparison.methods)
    lines = {method: points for method in comparison.methods if (points := _points(comparison, method))}
    if not lines:
        raise ValueError(f"comparison: {comparison.recipe} has no finished trial, expected one at least")
    frame = _frame(comparison, [point for points in lines.values() for point in points])
    # marks of one cost would hide each other; the only cost there is leaves them more room
    spread = 26 if len({cost for points in lines.values() for cost, _ in points}) > 1 else 320
    levels, level_names = _levels(comparison, frame)
    parts = [*_axes(comparison, frame), *levels]
    for place, (method, points) in enumerate(lines.items()):
        shift = spread * (place / max(1, len(lines) - 1) - 0.5)
        parts += _curve(frame, looked[method], points, shift)
    parts += [*level_names, *_scale(comparison)]
    parts += names(frame.y, [(looked[method], points[-1][1].mean) for method, points in lines.items()])
    scale = f", scaled down ({comparison.scale})" if comparison.scaled_down else ""
    title = f"{comparison.recipe}{scale}: {comparison.score} against cost"
    return svg(title, parts)


def _points(comparison: Comparison, method: str) -> list[Point]:
    entries = sorted((e for e in comparison.entries if e.method == method), key=lambda e: e.budget)
    return [
        (cost, placed)
        for entry in entries
        if (placed := around_reference(comparison, entry)) and (cost := cost_of(comparison, entry))
    ]


def _frame(comparison: Comparison, points: Sequence[Point]) -> _Frame:
    costs = [cost for cost, _ in points]
    ends = [value for _, p in points for value in (p.mean, p.low, p.high) if value is not None]
    reference = comparison.reference
    if reference is not None and reference.final is not None:
        ends.append(reference.final.mean - comparison.margin)
    if (best := comparison.best_baseline(average=False)) is not None:
        ends.append(best.final.mean)
    pad = 0.06 * (max(ends) - min(ends)) or 0.01
    low, high = min(costs) / 1.15, max(costs) * 1.15
    # the names of the lines stand at the left, clear of the marks
    return _Frame((low * (low / high) ** 0.16, high), (min(ends) - pad, max(ends) + pad))


def _axes(comparison: Comparison, frame: _Frame) -> list[str]:
    parts = []
    low, high = frame.accuracies
    steps = (
        base * 10.0**power for power in itertools.count(-3) for base in (2, 5, 10)
    )  # R² knows no bound below
    step = next(s for s in steps if (high - low) / s <= 8)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = frame.y(number * step)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#e6e8ed"/>')
        text = f"{100 * number * step:.{1 if step < 0.01 else 0}f} %".replace("-", "−")
        parts.append(words(LEFT - 8, y + 4.5, text, "end"))
    relative = comparison.reference is not None
    for cost in sorted({float(f"{c:.2g}") for e in comparison.entries if (c := cost_of(comparison, e))}):
        x = frame.x(cost)
        parts.append(f'<path d="M{x:.1f} {TOP}V{BOTTOM}" stroke="#e6e8ed"/>')
        parts.append(words(x, BOTTOM + 20, share(cost) if relative else f"{cost:,.0f}", "middle"))
    below = (
        "cost: samples processed, as a share of from scratch at full budget"
        if relative
        else "samples processed"
    )
    parts.append(words((LEFT + RIGHT) / 2, HEIGHT - 12, below, "middle"))
    parts.append(upwards(f"final {_judged(comparison)}"))
    return parts


def _judged(comparison: Comparison) -> str:
    return comparison.score if comparison.score.startswith("online") else f"test {comparison.score}"


def _scale(comparison: Comparison) -> list[str]:
    if not comparison.scaled_down:
        return []
    text = f"scaled down ({comparison.scale})"
    return [words(WIDTH - 12, HEIGHT - 12, text, "end", colour="#6b5200")]


def _levels(comparison: Comparison, frame: _Frame) -> tuple[list[str], list[str]]:
    """Draw from scratch and the margin below it; their names apart, to stand over the curves."""
    lines, names = _baseline(comparison, frame)
    if comparison.reference is None or comparison.reference.final is None:
        return lines, names
    level = comparison.reference.final.mean
    whole, below = frame.y(level), frame.y(level - comparison.margin)
    margin = f"{100 * comparison.margin:g}"
    lines += [
        f'<path d="M{LEFT} {whole:.1f}H{RIGHT}" stroke="#1f2430"/>',
        f'<path d="M{LEFT} {below:.1f}H{RIGHT}" stroke="#1f2430" stroke-dasharray="2 3"/>',
    ]
    return lines, [
        *names,
        words(LEFT + 4, whole - 5, "from scratch", size=11),
        words(LEFT + 4, below + 13, f"{margin} point{'' if margin == '1' else 's'} lower", size=11),
    ]


def _baseline(comparison: Comparison, frame: _Frame) -> tuple[list[str], list[str]]:
    best = comparison.best_baseline(average=False)
    if best is None:
        return [], []
    y = frame.y(best.final.mean)
    line = f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="{BASELINE}" stroke-width="1.5" stroke-dasharray="8 3 2 3"/>'
    return [line], [words(RIGHT - 4, y - 5, best.label, "end", size=11)]


def _curve(frame: _Frame, look: Look, points: Sequence[Point], shift: float) -> list[str]:
    places = [(frame.x(cost) + shift, estimate) for cost, estimate in points]
    dash = ' stroke-dasharray="7 4"' if look.control else ""
    path = "L".join(f"{x:.1f} {frame.y(p.mean):.1f}" for x, p in places)
    parts = [f'<path d="M{path}" fill="none" stroke="{look.colour}" stroke-width="2"{dash}/>']
    for x, p in places:
        if p.low is not None and p.high is not None:
            low, high = frame.y(p.low), frame.y(p.high)
            bar = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 3:.1f} {low:.1f}h6M{x - 3:.1f} {high:.1f}h6"
            parts.append(f'<path d="{bar}" stroke="{look.colour}" stroke-width="1.2"/>')
        parts.append(mark(look, round(x, 1), round(frame.y(p.mean), 1)))
    return parts
