"""No paper's, but of the studies here: data that drift, in ways that no recipe of a paper has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.common import controls, tortoise
from hare_tortoise.lab.scale import Narrow


def _recipe(name: str, description: str, steps: int, **values: Any) -> Recipe:
    methods = (
        *controls(steps),
        "warm-start",
        "shrink-perturb(shrink=0.2, perturb=0.8, noise=initial)",
        "l2-init(strength=0.001)",
        tortoise(steps),
    )
    return Recipe(name=f"drifting-{name}", description=description, methods=methods, **values)


def rotated() -> Recipe:
    """Digits that turn."""
    return _recipe(
        "rotated-digits",
        "digits: ten tasks, each turned ten degrees further",
        220,
        scenario="rotated(tasks=10, degrees=90, shape=(1, 8, 8))",
        epochs=10,
    )


def gradual() -> Recipe:
    """Digits whose labels change little by little."""
    return _recipe(
        "gradual-digits",
        "digits: ten parts, in which more and more labels are those of another class; 200 earlier rows remembered",
        60,
        scenario="gradual(chunks=10, memory=200)",
        epochs=10,
    )


def shuffled() -> Recipe:
    """Digits whose classes are renamed."""
    return _recipe(
        "shuffled-labels-digits",
        "digits: 30 tasks, in each of which the classes are named anew; judged online",
        88,
        scenario="shuffled-labels(tasks=30)",
        epochs=1,
        batch_size=16,
        judge="online",
    )


def elec2() -> Recipe:
    """Electricity in the order of time."""
    return _in_time("elec2", "Electricity (New South Wales): parts of 1,000 half-hours")


def insects() -> Recipe:
    """Insects in the order of time."""
    return _in_time("insects", "INSECTS, gradual and balanced: parts of 1,000 flights past a sensor")


def _in_time(source: str, what: str) -> Recipe:
    return _recipe(
        source,
        f"{what} in the order of time, 5,000 earlier rows remembered; tested on the next part",
        940,
        source=source,
        scenario="in-time-order(rows=1000, memory=5000)",
        epochs=10,
    )


_MAKERS = (rotated, gradual, shuffled, elec2, insects)
RECIPES: Mapping[str, Callable[[], Recipe]] = {make().name: make for make in _MAKERS}
_WIDTH = "mlp(hidden=(32, 32))"
# At desk all rows stay: the drift is in them, and a trial ends in time.
NARROW: Mapping[str, Mapping[str, Narrow]] = {
    f"drifting-{source}": {
        "desk": Narrow(
            source=source,
            network="mlp(hidden=(64, 64))",
            batch_size=32,
            epochs=5,
            scenario={"rows": rows, "memory": 5 * rows},
        ),
        "smoke": Narrow(
            source=f"{source}(rows=1200)",
            network=_WIDTH,
            batch_size=6,
            epochs=1,
            scenario={"rows": 48, "memory": 240},
        ),
    }
    for source, rows in (("elec2", 1000), ("insects", 1000))
}
# a sixth of the tasks; the recipe itself ends within the time of the desk
NARROW = {
    **NARROW,
    "drifting-shuffled-labels-digits": {
        "smoke": Narrow(
            source="digits(rows=700)",
            network=_WIDTH,
            batch_size=8,
            epochs=1,
            scenario={"tasks": 5},
        )
    },
}
