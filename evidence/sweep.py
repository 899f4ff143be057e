"""How slow the tortoise, how often to reset: decay, interval and learning rate on growing data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evidence.common import DIGITS, MNIST, references
from hare_tortoise.lab.heat_map import heat_map
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.sweep_cells import Figure, cells_from
from hare_tortoise.lab.sweep_rule import rule_of_thumb
from hare_tortoise.lab.sweep_unit import units_of
from hare_tortoise.lab.trial import Result

DECAYS = (0.9, 0.97, 0.99, 0.997, 0.999)
INTERVALS = (10, 30, 100, 300, 1000, None)
RATES = (3e-4, 1e-3, 3e-3)
# chosen on what is set aside of each part, never on the test set
VALIDATION = 0.1
_FIGURES: Mapping[Figure, str] = {"average": "accuracy, mean over the stream", "final": "final accuracy"}


def cell(decay: float, reset_every: int | None) -> str:
    """Hare & Tortoise at a setting; without resets it is an EMA."""
    if reset_every is None:
        return f"ema(decay={decay})"
    return f"hare-tortoise(decay={decay}, reset_every={reset_every})"


# The best cell of each recipe on validation data, in average accuracy: its controls are among those that it is held
# against; so are those of 0.99/100. Of MNIST also the cell that is best on the test set.
CHOSEN: Mapping[str, tuple[tuple[float, int], ...]] = {
    "sweep-digits-0.0003": ((0.97, 100),),
    "sweep-digits-0.001": ((0.997, 100),),
    "sweep-digits-0.003": ((0.99, 10),),
    "sweep-mnist": ((0.99, 30), (0.997, 100)),
}


def _methods(name: str) -> tuple[str, ...]:
    """References, the controls of the chosen cells, and all cells."""
    cells = (cell(decay, interval) for decay in DECAYS for interval in INTERVALS)
    return (*references(0.99, 100, *CHOSEN[name]), "warm-start", *cells)


def digits() -> list[Recipe]:
    """Digits at three learning rates."""
    return [
        DIGITS.replace(
            name=f"sweep-digits-{lr:g}",
            description=f"1,400 digits, growing, learning rate {lr:g}",
            methods=_methods(f"sweep-digits-{lr:g}"),
            seeds=3,
            lr=lr,
            validation=VALIDATION,
        )
        for lr in RATES
    ]


def mnist() -> list[Recipe]:
    """MNIST at one learning rate."""
    return [
        MNIST.replace(
            name="sweep-mnist",
            description="10,000 images of MNIST, growing",
            methods=_methods("sweep-mnist"),
            seeds=3,
            validation=VALIDATION,
        )
    ]


def digits_summary(results: Sequence[Result]) -> Mapping[str, str]:
    """Heat maps over the three learning rates, and the rule of thumb."""
    # 126 of 140 images of each part are trained on: in the last chunk 1,260, in batches of 64
    return _summary("sweep-digits", digits(), ("decay", "reset_every", "lr"), results, steps=20 * 50)


def mnist_summary(results: Sequence[Result]) -> Mapping[str, str]:
    """Heat maps, and the rule of thumb."""
    return _summary("sweep-mnist", mnist(), ("decay", "reset_every"), results, steps=71 * 20)


def _summary(
    name: str, recipes: Sequence[Recipe], over: Sequence[str], results: Sequence[Result], *, steps: int
) -> Mapping[str, str]:
    cells = cells_from(results, units_of(recipes, over))
    drawn = {
        f"{name}-{figure}.svg": heat_map(cells, data="test", figure=figure, title=f"{name}: {what} (test)")
        for figure, what in _FIGURES.items()
    }
    last = {(recipe.name, 1.0): steps for recipe in recipes}
    rules = [rule_of_thumb(cells, last, figure=figure) for figure in _FIGURES]
    said = [f"- {rule}" for rule in rules if rule is not None]
    return drawn | {f"{name}-rule.md": "\n".join(said) + "\n"}
