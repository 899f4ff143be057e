"""`hare-tortoise methods`: what can be compared and composed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# what the laboratory passes itself
_GIVEN = (
    "self",
    "model",
    "network",
    "optimizer",
    "params",
    "fresh",
    "seed",
    "tortoise",
    "lr",
    "weight_decay",
)


@dataclass(frozen=True)
class Methods:
    """List the methods, what they compose with, and the schedules that their settings take."""

    def run(self, written: Sequence[str]) -> int:
        """Print the lists."""
        from hare_tortoise import methods
        from hare_tortoise.cli.show import first_line, listing, with_settings
        from hare_tortoise.lab.composition import OPTIMIZERS
        from hare_tortoise.lab.registry import METHODS
        from hare_tortoise.lab.spec import kebab
        from hare_tortoise.networks import TRANSFORMS

        exported = [getattr(methods, name) for name in methods.__all__]
        schedules = {
            kebab(kind.__name__): kind
            for kind in exported
            if isinstance(kind, type) and issubclass(kind, methods.Schedule) and kind is not methods.Schedule
        }
        optimizers = {name: entry.build for name, entry in OPTIMIZERS.items()}
        tables: tuple[tuple[str, Mapping[str, Callable[..., Any]]], ...] = (
            ("Methods (--methods a,b,c+d; your own: package.module:Class)", METHODS),
            (
                "Transforms of the network (crelu+hare-tortoise; your own: package.module:function)",
                TRANSFORMS,
            ),
            ("Optimizers, in place of the recipe's (upgd(lr=0.1)+hare-tortoise)", optimizers),
            ("Schedules, as values of settings: ema(decay=warmup(decay=0.99))", schedules),
        )
        for title, table in tables:
            listing(
                title,
                [
                    (with_settings(name, kind, _GIVEN), first_line(kind))
                    for name, kind in sorted(table.items())
                ],
            )
        return 0
