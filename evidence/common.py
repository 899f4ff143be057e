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


def references(decay: float, reset_every: int, *others: tuple[float, int]) -> tuple[str, ...]:
    """From scratch, and the controls that say what averaging is worth without continuing.

    Their decay is warmed up, so that they are no straw men at few steps.

    Args:
        decay: of the averages that they are the controls of.
        reset_every: steps between resets of the same.
        others: decay and interval of further ones, where a table has Hare & Tortoise at several.
    """
    settings = ((decay, reset_every), *others)
    averaged = [f"from-scratch+ema(decay=warmup({decay}))" for decay, _ in settings]
    reset = [f"from-scratch+hare-tortoise(decay=warmup({decay}), reset_every={k})" for decay, k in settings]
    return ("from-scratch", *dict.fromkeys((*averaged, *reset)))


def two_speeds(decay: float, *, anew: bool = False) -> str:
    """A slow tortoise to reset to every 100 steps, and a quick average (0.99) that is deployed.

    Args:
        decay: of the slow one.
        anew: from scratch at each chunk, both averages warmed up: what it is worth without continuing.
    """
    slow, quick = (f"warmup({decay})", "warmup(0.99)") if anew else (f"{decay}", "0.99")
    first = "from-scratch+" if anew else ""
    return f"{first}hare-tortoise(decay={slow}, reset_every=100, optimizer_state=reset)+ema(decay={quick})"
