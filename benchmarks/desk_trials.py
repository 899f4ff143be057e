"""Processor seconds of a trial of each recipe at desk, beside the estimate and the ten minutes that it may take.

    python -m benchmarks.desk_trials [RECIPE ...]

Of each recipe the control that trains on everything and averages, and Continual Backprop and LayerNorm where the
recipe has them: the costliest. One thread, on generated data where the source is one of images. An hour for all.
"""

from __future__ import annotations

import sys
import time

import torch

from hare_tortoise.lab.building import build
from hare_tortoise.lab.costs import seconds
from hare_tortoise.lab.recipes import NARROW, find_recipe
from hare_tortoise.lab.stand_in import layout, on_generated
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial

MOST = 600.0
COSTLY = ("from-scratch+hare-tortoise", "continual-backprop", "layer-norm+")


def measured(name: str) -> list[tuple[str, float, float]]:
    """Methods of a recipe with the seconds that were estimated and taken."""
    recipe = on_generated(find_recipe(name, "desk"))
    known = layout(recipe.source, recipe.scenario, recipe.validation)
    assert known is not None
    found = []
    for method in recipe.methods:
        if method.startswith(COSTLY):
            begun = time.process_time()
            Training(build(Trial(recipe, method, 1.0, 0))).finish()
            taken = time.process_time() - begun
            found.append((method.partition("(")[0], seconds(recipe, method, 1.0, known), taken))
    return found


def main(names: list[str]) -> int:
    """Print a row for each trial; 1 if one takes longer than it may."""
    torch.set_num_threads(1)
    print("| recipe | method | estimated | measured |\n| --- | --- | ---: | ---: |", flush=True)
    late = False
    for name in names or [each for each, scales in NARROW.items() if "desk" in scales]:
        for method, estimated, taken in measured(name):
            print(f"| `{name}` | {method} | {estimated:.0f} s | {taken:.0f} s |", flush=True)
            late |= taken > MOST
    return int(late)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
