"""Real tables in the order of time: Electricity and INSECTS."""

from __future__ import annotations

from evidence.common import SHRINK_PERTURB, references, two_speeds
from hare_tortoise.lab.recipe import Recipe

_IN_TIME = Recipe(
    name="in-time",
    # from scratch trains on all that came, the others on the new rows and 5,000 remembered ones
    scenario="in-time-order(rows=1000, memory=5000)",
    network="mlp(hidden=(64, 64))",
    methods=(
        *references(0.99, 100),
        two_speeds(0.997, anew=True),
        "warm-start",
        "ema(decay=0.99)",
        "l2-init(strength=0.001)",
        SHRINK_PERTURB,
        "head-reset",
        "hare-tortoise(decay=0.99, reset_every=100)",
        two_speeds(0.997),
    ),
    epochs=10,
    batch_size=128,
)


def elec2() -> list[Recipe]:
    """Electricity, 45 parts of 1,000 rows."""
    return [
        _IN_TIME.replace(
            name="elec2",
            source="elec2",
            description="Electricity in the order of time, 1,000 rows a chunk, judged on the next 1,000",
        )
    ]


def insects() -> list[Recipe]:
    """INSECTS with gradual drift, 24 parts of 1,000 rows."""
    return [
        _IN_TIME.replace(
            name="insects",
            source="insects",
            description="INSECTS (gradual drift) in the order of time, 1,000 rows a chunk, judged on the next",
        )
    ]
