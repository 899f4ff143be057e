"""`hare-tortoise recipes`: experiments that have a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipes:
    """List the recipes that `hare-tortoise compare` knows by name."""

    def run(self, written: Sequence[str]) -> int:
        """Print the list."""
        from hare_tortoise.cli.show import listing
        from hare_tortoise.lab.recipes import RECIPES

        recipes = [build() for build in RECIPES.values()]
        listing(
            "Recipes (hare-tortoise compare RECIPE)",
            [(recipe.name, recipe.description) for recipe in recipes],
        )
        return 0
