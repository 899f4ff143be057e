"""How each method looks: one colour, mark and line for it in every figure, distinct for colour-blind readers too."""

from __future__ import annotations

import html
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.recipe import FROM_SCRATCH
from hare_tortoise.lab.wording import added, is_control, labels

# From the palette of Okabe and Ito, darkened where it is too pale for lines on white.
_KNOWN = {
    FROM_SCRATCH: ("#1f2430", "circle"),
    "nothing": ("#1f2430", "circle"),  # among agents
    "hare-tortoise": ("#d55e00", "diamond"),
    "ema": ("#0072b2", "square"),
    "warm-start": ("#c99700", "triangle-down"),
    "shrink-perturb": ("#009e73", "triangle-up"),
    "head-reset": ("#b7559a", "pentagon"),
    "l2-init": ("#56b4e9", "x"),
    "switch-ema": ("#5b4ea3", "hexagon"),
    "optimizer-reset": ("#8a8f98", "cross"),
}
_OTHERS = [
    ("#8c564b", "star"),
    ("#17808f", "triangle-left"),
    ("#7a8b00", "triangle-right"),
    ("#a83248", "hourglass"),
    ("#4c6fff", "bowtie"),
    ("#6b4226", "star-square"),
]


# of predictors that learn nothing
BASELINE = "#6d737e"


@dataclass(frozen=True)
class Look:
    """What a method looks like.

    Args:
        label: its name in words.
        colour: of its lines and marks, as ``#rrggbb``.
        symbol: of its marks, as plotly names it, without ``-open``.
        control: whether it is from scratch with something added: hollow marks and dashed lines.
    """

    label: str
    colour: str
    symbol: str
    control: bool

    @property
    def dash(self) -> str:
        """Dash of its lines, as plotly names it."""
        return "dash" if self.control else "solid"

    @property
    def mark(self) -> str:
        """Symbol of its marks, as plotly names it, hollow for a control."""
        return f"{self.symbol}-open" if self.control else self.symbol

    @property
    def text(self) -> str:
        """Its label, escaped: plotly reads a little markup in texts."""
        return html.escape(self.label, quote=False)

    def marker(self, size: int) -> dict[str, Any]:
        """Give its marks as plotly takes them."""
        return {
            "color": self.colour,
            "symbol": self.mark,
            "size": size,
            "line": {"color": self.colour, "width": 1.5},
        }

    def shade(self, opacity: float) -> str:
        """Give the colour, see-through."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity:g})"


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Give each method its look; a control has the colour and mark of what it adds to from scratch.

    Args:
        methods: of all comparisons that are shown together.

    Example:
        >>> found = looks(["from-scratch", "ema", "from-scratch+ema"])
        >>> found["ema"].colour == found["from-scratch+ema"].colour, found["from-scratch+ema"].mark
        (True, 'square-open')
    """
    names = labels(methods)
    given: dict[tuple[str, int], tuple[str, str]] = {(base, 0): look for base, look in _KNOWN.items()}
    seen: Counter[tuple[str, bool]] = Counter()
    others = itertools.cycle(_OTHERS)
    found = {}
    for method, label in names.items():
        base, control = added(method), is_control(method)
        # the first EMA and the first control with EMA share a look, the second ones another
        key = (base, seen[base, control])
        seen[base, control] += 1
        if key not in given:
            given[key] = next(others)
        found[method] = Look(label, *given[key], control)
    return found
