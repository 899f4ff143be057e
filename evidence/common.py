"""References and settings that the lines share."""

from __future__ import annotations

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
