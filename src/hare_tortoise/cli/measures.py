"""`hare-tortoise measures`: what can be measured of a network that keeps learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measures:
    """List the measures of plasticity, how each is read and what it costs."""

    def run(self, written: Sequence[str]) -> int:
        """Print the list."""
        from hare_tortoise.cli.show import listing
        from hare_tortoise.measures import MEASURES

        rows = [
            (name, f"{measure.description}. {measure.reading} Cost: {measure.cost}.")
            for name, measure in sorted(MEASURES.items())
        ]
        listing("Measures (--measures a,b)", rows)
        return 0
