"""The measures by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .context import Take


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure as a Probe takes it and a report shows it.

    Args:
        take: computes it. A dict has the figure to show under the key "" and details under other keys (`"0.1"`,
            `"layer/body.1"`); a Probe records them as `name` and `name/key`.
        description: what it is, one line.
        reading: how to read it, one line: what a high or low value means.
        higher_is: whether a higher value is "better" or "worse" for plasticity; None: neither by itself.
        cost: of taking it once, in forwards of the probe's data and the like.
        needs: what of the context it cannot do without: "initial", "deployed", "targets".
    """

    take: Take
    description: str
    reading: str
    higher_is: Literal["better", "worse"] | None
    cost: str
    needs: frozenset[str] = frozenset()


MEASURES: dict[str, Measure] = {}
