"""The two recipes of the demo: the paper's two questions, on digits, in minutes."""

from __future__ import annotations

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.streams.scenarios import PAPER_NOISE

# The two controls say what averaging is worth without continuing; their decay starts low, so that they are no straw
# men at few steps.
METHODS = (
    "from-scratch",
    "from-scratch+ema(decay=warmup(0.99))",
    "from-scratch+hare-tortoise(decay=warmup(0.99), reset_every=100)",
    "warm-start",
    "ema(decay=0.99)",
    "shrink-perturb(shrink=0.2, perturb=0.8, noise=initial)",
    "head-reset",
    "l2-init(strength=0.001)",
    "hare-tortoise(decay=0.99, reset_every=100)",
)


def demo_warm_start() -> Recipe:
    """Half of the data with half of the labels wrong, then all of it, clean; at three budgets."""
    return Recipe(
        name="demo-warm-start",
        description="digits: half of the data with half of the labels wrong, then all of it with clean labels",
        scenario="warm-start(first=0.5, label_noise=0.5)",
        methods=METHODS,
        budgets=(0.1, 0.3, 1.0),
        epochs=50,
    )


def demo_growing() -> Recipe:
    """Ten chunks of data that add up, with label noise that falls from 0.5 to 0."""
    return Recipe(
        name="demo-growing",
        description="digits: a tenth of the data at a time, kept, with label noise that falls from 0.5 to 0",
        scenario=f"growing(chunks=10, label_noise={PAPER_NOISE})",
        methods=METHODS,
        epochs=50,
    )
