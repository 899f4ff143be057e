"""`hare-tortoise streams`: where data comes from, how it arrives, what learns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Streams:
    """List the sources, the scenarios, the networks and the augmentations."""

    def run(self, written: Sequence[str]) -> int:
        """Print the lists."""
        from hare_tortoise.cli.show import first_line, listing, with_settings
        from hare_tortoise.networks import NETWORKS
        from hare_tortoise.streams import AUGMENTATIONS, SCENARIOS, SOURCES

        given = ("source", "root", "mirror", "seed", "input_shape", "outputs", "inputs", "generator")
        tables = (
            ("Sources (--source; also the path of an .npz file, a table or a folder of images)", SOURCES),
            ("Scenarios (--scenario)", SCENARIOS),
            ("Networks (--network; your own: package.module:function)", NETWORKS),
            ("Augmentations (--set augment=…)", AUGMENTATIONS),
        )
        for title, table in tables:
            listing(
                title, [(with_settings(name, item, given), first_line(item)) for name, item in table.items()]
            )
        return 0
