"""Results of a sweep with known accuracies, instead of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.sweep_unit import Unit, units_of
from hare_tortoise.lab.trial import Result

OVER = ("decay", "reset_every", "lr")
SCRATCH_EMA = "from-scratch+ema(decay=warmup(0.9))"
SCRATCH_PAIR = "from-scratch+hare-tortoise(decay=warmup(0.9), reset_every=10)"
BESIDE = ("warm-start", "from-scratch", SCRATCH_EMA, SCRATCH_PAIR)


def pair(decay: float, every: int | None) -> str:
    return f"ema(decay={decay})" if every is None else f"hare-tortoise(decay={decay}, reset_every={every})"


def grid_recipe(
    decays: Sequence[float], intervals: Sequence[int | None], lr: float = 1e-3, seeds: int = 3
) -> Recipe:
    methods = tuple(pair(decay, every) for decay in decays for every in intervals)
    return Recipe(name=f"grid lr={lr:g}", methods=(*methods, *BESIDE), epochs=1, lr=lr, seeds=seeds)


def curves(
    recipe: Recipe, accuracies: Mapping[str, Sequence[Sequence[float]]], *, shift: float = 0.0
) -> list[Result]:
    """Results from test accuracies by method and seed at the ends of the chunks; on validation data `shift` more."""
    results = []
    for method, by_seed in accuracies.items():
        for seed, curve in enumerate(by_seed):
            rows = tuple(
                {
                    "chunk": chunk,
                    "chunk_name": f"chunk {chunk + 1}",
                    "last": True,
                    "samples": 10 * (chunk + 1),
                    "seconds": 1.0,
                    "test_accuracy": value,
                    "validation_accuracy": value + shift,
                }
                for chunk, value in enumerate(curve)
            )
            results.append(Result(recipe.name, method, 1.0, seed, rows))
    return results


def by_method(units: Sequence[Unit]) -> dict[str, Unit]:
    return {unit.method: unit for unit in units}


def grid_units(*recipes: Recipe) -> tuple[Unit, ...]:
    return units_of(recipes, OVER)
