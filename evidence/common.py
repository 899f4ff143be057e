"""References and settings that the lines share."""

from __future__ import annotations

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.streams.scenarios import PAPER_NOISE

GROWING = f"growing(chunks=10, label_noise={PAPER_NOISE})"
SCALE = "10,000 of 60,000 training images, 20 epochs"
# The trainings of the demo, and their like on 10,000 images: lines replace names, methods, and what differs.
DIGITS = Recipe(name="digits", methods=("from-scratch",), scenario=GROWING, epochs=50)
MNIST = Recipe(
    name="mnist",
    source="mnist(rows=10000)",
    scenario=GROWING,
    network="mlp(hidden=(512, 256))",
    methods=("from-scratch",),
    epochs=20,
    batch_size=128,
    weight_decay=1e-4,
    scale=SCALE,
)

# as in the official code: every chunk starts from a fifth of the weights and four fifths of the first ones
SHRINK_PERTURB = "shrink-perturb(shrink=0.2, perturb=0.8, noise=initial)"


def references(decay: float, reset_every: int) -> tuple[str, ...]:
    """From scratch, and the two controls that say what averaging is worth without continuing.

    Their decay is warmed up, so that they are no straw men at few steps.

    Args:
        decay: of the averages that they are the controls of.
        reset_every: steps between resets of the same.
    """
    return (
        "from-scratch",
        f"from-scratch+ema(decay=warmup({decay}))",
        f"from-scratch+hare-tortoise(decay=warmup({decay}), reset_every={reset_every})",
    )
