"""`hare-tortoise methods`: what can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Methods:
    """List the methods, and the schedules that their settings take."""

    def run(self, written: Sequence[str]) -> int:
        """Print the lists."""
        from hare_tortoise.cli.show import first_line, listing, with_settings
        from hare_tortoise.lab.registry import METHODS, SCHEDULES

        given = ("self", "model", "optimizer", "fresh", "seed", "tortoise")
        listing(
            "Methods (--methods a,b,c+d; your own: package.module:Class)",
            [(with_settings(name, kind, given), first_line(kind)) for name, kind in sorted(METHODS.items())],
        )
        listing(
            "Schedules, as values of settings: ema(decay=warmup(0.99))",
            [
                (with_settings(name, kind, given), first_line(kind))
                for name, kind in sorted(SCHEDULES.items())
            ],
        )
        return 0
