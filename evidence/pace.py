"""The pace of the tortoise: fixed decays, schedules, intervals, the optimizer's state, two speeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from evidence import drift, images
from evidence.common import DIGITS, MNIST, SHRINK_PERTURB, references, two_speeds
from hare_tortoise.lab.recipe import Recipe

VALIDATION = 0.1


def slow(decay: object, reset_every: object = 100, state: str = "reset") -> str:
    """Hare & Tortoise with the tortoise deployed."""
    return f"hare-tortoise(decay={decay}, reset_every={reset_every}, optimizer_state={state})"


def share(of: float, first: int) -> str:
    """A decay whose horizon is a share of the chunk's steps, warmed up; `first` are the steps of the first chunk."""
    return f"horizon(share={of}, steps={first}, warm=True)"


def _shares(first: int, horizons: Sequence[float], portions: Sequence[float]) -> tuple[str, ...]:
    """Horizon and reset interval as shares of the chunk's steps; the horizon warmed up."""
    grid = itertools.product(horizons, portions)
    methods = (slow(share(of, first), f"portion(share={every}, steps={first})") for of, every in grid)
    return tuple(methods)


# Of the schedules and of the optimizer's state, on MNIST and Electricity: what digits have more of.
_RISEN_AND_KEPT = (
    *(slow(decay) for decay in ("warmup(0.997)", "power_law(max_decay=0.997)")),
    slow(0.997, state="keep"),
)


def mnist() -> list[Recipe]:
    """What is left to tell apart, on 10,000 images of MNIST, five seeds."""
    first = 8 * 20  # 900 of 1,000 images in batches of 128, 20 epochs
    return [
        MNIST.replace(
            name="pace-mnist",
            description="10,000 images of MNIST, growing; label noise falls from 0.5 to 0",
            methods=(
                *references(0.99, 100, (0.997, 100)),
                two_speeds(0.997, anew=True),
                "warm-start",
                "ema(decay=0.99)",
                *(slow(decay) for decay in (0.97, 0.99, 0.997, 0.999)),
                *_RISEN_AND_KEPT,
                *_shares(first, (0.1, 0.2, 0.4), (0.05,)),
                *_shares(first, (0.2,), (0.02, 0.1)),
                *(two_speeds(decay) for decay in (0.997, 0.999)),
            ),
            validation=VALIDATION,
        )
    ]


def cifar10_short() -> list[Recipe]:
    """CIFAR-10 at 5 and at 2 epochs a chunk: whether the ranking turns with the budget. Settings are not scaled."""
    base = images.cifar10()[0]
    slower = {5: 0.997, 2: 0.99}
    return [
        base.replace(
            name=f"pace-cifar10-{epochs}-epochs",
            description=f"CIFAR-10 as above, {epochs} epochs a chunk; the settings are those of 15",
            methods=(
                *references(0.99, 100),
                two_speeds(decay, anew=True),
                "warm-start",
                "ema(decay=0.99)",
                "ema(decay=warmup(0.99))",
                SHRINK_PERTURB,
                f"{SHRINK_PERTURB}+ema(decay=0.99)",
                slow(0.999),
                two_speeds(0.999),
                two_speeds(decay),
                slow("horizon(share=1.0)"),
                f"{slow('horizon(share=1.0)')}+ema(decay=0.99)",
                _share_of(0.2, 0.02),
            ),
            epochs=epochs,
            scale=f"10,000 of 50,000 training images, a narrow ResNet, {epochs} epochs of 100",
        )
        for epochs, decay in slower.items()
    ]


def cifar10() -> list[Recipe]:
    """Eight settings on the CIFAR-10 of the evidence, whose other methods are the same trials."""
    base = images.cifar10()[0]
    methods = (
        *references(0.99, 100),
        two_speeds(0.999, anew=True),
        "warm-start",
        "ema(decay=0.99)",
        f"{SHRINK_PERTURB}+ema(decay=0.99)",
        *(slow(decay) for decay in (0.99, 0.997, 0.999)),
        *(_share_of(horizon, portion) for horizon, portion in ((0.2, 0.02), (0.2, 0.05), (0.4, 0.05))),
        two_speeds(0.997),
        two_speeds(0.999),
    )
    return [base.replace(name="pace-cifar10", methods=methods)]


def elec2() -> list[Recipe]:
    """The same on Electricity."""
    base = drift.elec2()[0]
    methods = (
        *references(0.99, 100),
        two_speeds(0.997, anew=True),
        "warm-start",
        "ema(decay=0.99)",
        *(slow(decay) for decay in (0.97, 0.99, 0.997, 0.999)),
        *_RISEN_AND_KEPT,
        *(_share_of(horizon, portion) for horizon, portion in ((0.2, 0.02), (0.2, 0.05), (0.4, 0.05))),
        two_speeds(0.997),
    )
    return [base.replace(name="pace-elec2", methods=methods)]


def _share_of(horizon: float, portion: float) -> str:
    return slow(f"horizon(share={horizon}, warm=True)", f"portion(share={portion})")


def digits() -> list[Recipe]:
    """All of it on digits, five seeds."""
    first = 100
    fixed = (slow(decay) for decay in (0.97, 0.99, 0.997, 0.999))
    kept = (slow(decay, state="keep") for decay in (0.99, 0.997))
    risen = (
        "warmup(0.99)",
        "warmup(0.997)",
        "warmup(0.999)",
        "power_law(max_decay=0.997)",
        "karras(width=0.1)",
    )
    shares = (0.05, 0.1, 0.2, 0.4, 0.8)
    intervals = (f"portion(share={of}, steps={first})" for of in (0.2, 0.5))
    grown = "geometric(first=30, factor=2.0, period=1000)"
    quick = (
        *(f"{slow(decay)}+ema(decay=0.99)" for decay in (0.997, 0.999, "warmup(0.997)")),
        *(f"{slow(share(of, first))}+ema(decay=0.99)" for of in (0.4, 0.8)),
        *(f"{slow(share(of, first))}+ema(decay={share(0.05, first)})" for of in (0.4, 0.8)),
    )
    methods = (
        *references(0.99, 100, (0.997, 100)),
        two_speeds(0.997, anew=True),
        "warm-start",
        *(f"ema(decay={decay})" for decay in (0.99, "warmup(0.99)", share(0.1, first))),
        *fixed,
        *kept,
        *(slow(decay) for decay in risen),
        *(slow(share(of, first)) for of in shares),
        *(slow(share(0.2, first), interval) for interval in (*intervals, grown)),
        *quick,
        *_shares(first, (0.1, 0.2, 0.4, 0.8), (0.02, 0.05, 0.1)),
    )
    return [
        DIGITS.replace(
            name="pace-digits",
            description="1,400 digits, growing; label noise falls from 0.5 to 0",
            methods=methods,
            validation=VALIDATION,
        )
    ]
