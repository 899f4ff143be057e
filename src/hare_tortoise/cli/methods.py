"""`hare-tortoise methods`: what can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Methods:
    """List the methods, and the schedules that their settings take."""

    def run(self, written: Sequence[str]) -> int:
        """Print the lists."""
        from hare_tortoise import methods
        from hare_tortoise.cli.show import first_line, listing, with_settings
        from hare_tortoise.lab.registry import METHODS
        from hare_tortoise.lab.spec import kebab

        exported = [getattr(methods, name) for name in methods.__all__]
        schedules = {
            kebab(kind.__name__): kind
            for kind in exported
            if isinstance(kind, type) and issubclass(kind, methods.Schedule) and kind is not methods.Schedule
        }
        given = ("self", "model", "optimizer", "fresh", "seed", "tortoise")
        for title, table in (
            ("Methods (--methods a,b,c+d; your own: package.module:Class)", METHODS),
            ("Schedules, as values of settings: ema(decay=warmup(decay=0.99))", schedules),
        ):
            listing(
                title,
                [
                    (with_settings(name, kind, given), first_line(kind))
                    for name, kind in sorted(table.items())
                ],
            )
        return 0
