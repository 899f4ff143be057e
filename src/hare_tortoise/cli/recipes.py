"""`hare-tortoise recipes`: experiments that have a name."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hare_tortoise.lab.recipe import Recipe


@dataclass(frozen=True)
class Recipes:
    """List the recipes that `hare-tortoise compare` knows by name, with what each would cost."""

    def run(self, written: Sequence[str]) -> int:
        """Print the list."""
        from hare_tortoise.lab.recipes import RECIPES

        width = max(60, shutil.get_terminal_size((100, 24)).columns)
        print("Recipes (hare-tortoise compare RECIPE --scale paper, desk or smoke)")
        print("Estimated core-hours of a trial and, in brackets, of all methods and seeds")
        for build in RECIPES.values():
            recipe = build()
            print(f"  {recipe.name}")
            for line in (recipe.description, *details(recipe)):
                print(textwrap.fill(line, width, initial_indent="      ", subsequent_indent="      "))
        print()
        return 0


def details(recipe: Recipe) -> list[str]:
    """Say what data a recipe takes, and what each scale would cost."""
    from hare_tortoise.lab.costs import cost
    from hare_tortoise.lab.recipes import NARROW, find_recipe
    from hare_tortoise.lab.scale import SCALES
    from hare_tortoise.lab.stand_in import published

    size = published(recipe.source)
    lines = [f"data: {recipe.source}" + (f", {size}" if size else "")]
    one = recipe.name not in NARROW
    costs = {scale: cost(find_recipe(recipe.name, scale)) for scale in (SCALES[:1] if one else SCALES)}
    told = [
        f"{'any scale' if one else scale} {_hours(each.trial)} ({_hours(each.all)})"
        for scale, each in costs.items()
        if each is not None
    ]
    return [*lines, "core-hours: " + "; ".join(told)] if told else lines


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
