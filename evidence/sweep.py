"""How slow the tortoise, how often to reset: decay, interval and learning rate on growing data."""

from __future__ import annotations

from evidence.common import references
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.streams.scenarios import PAPER_NOISE

DECAYS = (0.9, 0.97, 0.99, 0.997, 0.999)
INTERVALS = (10, 30, 100, 300, 1000, None)
RATES = (3e-4, 1e-3, 3e-3)
# chosen on what is set aside of each part, never on the test set
VALIDATION = 0.1


def cell(decay: float, reset_every: int | None) -> str:
    """Hare & Tortoise at a setting; without resets it is an EMA."""
    if reset_every is None:
        return f"ema(decay={decay})"
    return f"hare-tortoise(decay={decay}, reset_every={reset_every})"


_METHODS = (
    *references(0.99, 100),
    "warm-start",
    *(cell(decay, interval) for decay in DECAYS for interval in INTERVALS),
)


def digits() -> list[Recipe]:
    """Digits at three learning rates."""
    return [
        Recipe(
            name=f"sweep-digits-{lr:g}",
            description=f"1,400 digits, growing, learning rate {lr:g}",
            scenario=f"growing(chunks=10, label_noise={PAPER_NOISE})",
            methods=_METHODS,
            epochs=50,
            seeds=3,
            lr=lr,
            validation=VALIDATION,
        )
        for lr in RATES
    ]


def mnist() -> list[Recipe]:
    """MNIST at one learning rate."""
    return [
        Recipe(
            name="sweep-mnist",
            description="10,000 images of MNIST, growing",
            source="mnist(rows=10000)",
            scenario=f"growing(chunks=10, label_noise={PAPER_NOISE})",
            network="mlp(hidden=(512, 256))",
            methods=_METHODS,
            epochs=20,
            batch_size=128,
            weight_decay=1e-4,
            seeds=3,
            validation=VALIDATION,
        )
    ]
