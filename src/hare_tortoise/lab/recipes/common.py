"""What recipes of several papers share: the controls and Hare & Tortoise, cut to the length of a task."""

from __future__ import annotations

ADDED = (
    "From scratch, the two controls and Hare & Tortoise are added. Chosen here: an average over a twentieth of the "
    "steps of a mean chunk, about as in the warm start of Lee et al., and a reset every tenth of them, as in the "
    "continual runs there."
)


def tortoise(steps: int) -> str:
    """Write Hare & Tortoise with a horizon of a twentieth of a chunk's steps, and resets every tenth.

    Example:
        >>> tortoise(3000)
        'hare-tortoise(decay=0.993333, reset_every=300)'
    """
    return f"hare-tortoise(decay={_decay(steps)}, reset_every={max(1, steps // 10)})"


def controls(steps: int) -> tuple[str, ...]:
    """Write from scratch, with an average, and with Hare & Tortoise, both averages warmed up.

    Example:
        >>> controls(3000)[1]
        'from-scratch+ema(decay=warmup(0.993333))'
    """
    warmed = f"warmup({_decay(steps)})"
    resetting = f"hare-tortoise(decay={warmed}, reset_every={max(1, steps // 10)})"
    return ("from-scratch", f"from-scratch+ema(decay={warmed})", f"from-scratch+{resetting}")


def _decay(steps: int) -> float:
    return round(1 - 20 / steps, 6)
