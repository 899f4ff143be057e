"""Results that look like those of the demo, drawn from known numbers instead of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.trial import Result

METHODS = (
    "from-scratch",
    "from-scratch+ema(decay=warmup(0.99))",
    "from-scratch+hare-tortoise(decay=warmup(0.99), reset_every=100)",
    "warm-start",
    "ema(decay=warmup(0.99))",
    "shrink-perturb(shrink=0.2, perturb=0.8)",
    "head-reset",
    "l2-init(strength=0.001)",
    "hare-tortoise(decay=0.99, reset_every=100)",
)
# final accuracy in points against from scratch (98.2 %), and the average over the stream, as in the prototype
FINAL = dict(zip(METHODS, (0.0, -0.1, -0.4, -0.5, -0.7, -0.1, 0.4, -0.2, 0.3), strict=True))
AVERAGE = dict(zip(METHODS, (83.6, 87.4, 89.6, 82.1, 85.1, 83.4, 83.2, 83.0, 89.7), strict=True))
WARM = dict(zip(METHODS, (0.0, 0.1, -0.2, -1.31, -0.9, 0.25, -0.4, -1.0, -0.25), strict=True))


def growing_recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "demo-growing",
        "description": "digits arrive in ten chunks, half of the first labels wrong, none of the last",
        "scenario": "growing(chunks=10)",
        "methods": METHODS,
        "epochs": 50,
        "seeds": 5,
        "scale": "desk",
    }
    return Recipe(**{**values, **changes})


def warm_recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "demo-warm-start",
        "description": "digits: half of the data with half of its labels wrong, then all of it",
        "scenario": "warm-start(first=0.5, label_noise=0.5)",
        "methods": METHODS,
        "budgets": (0.1, 0.3, 1.0),
        "epochs": 50,
        "seeds": 5,
        "scale": "desk",
    }
    return Recipe(**{**values, **changes})


def row(chunk: int, accuracy: float, *, samples: int, last: bool = True, **more: Any) -> dict[str, Any]:
    """One evaluation with the fields that the laboratory writes."""
    content: dict[str, Any] = {
        "chunk": chunk,
        "chunk_name": f"chunk {chunk + 1}",
        "epoch": 50,
        "step": 100,
        "samples": samples,
        "seconds": samples / 200_000,
        "last": last,
        "test_accuracy": accuracy,
        "hare_test_accuracy": accuracy - 0.01,
        "tortoise_test_accuracy": None,
        "train_accuracy": min(1.0, accuracy + 0.015),
        "hare_train_accuracy": min(1.0, accuracy + 0.015),
        "train_loss": 1 - accuracy,
        "tests": {},
        "measures": {},
    }
    return content | more


def result(
    recipe: Recipe,
    method: str,
    budget: float,
    seed: int,
    accuracies: Sequence[float],
    *,
    failure: str | None = None,
    samples: int = 1000,
    measures: Mapping[str, float] | None = None,
) -> Result:
    """A trial with the given accuracies at the ends of its chunks; cost grows with the budget."""
    rows = tuple(
        row(i, a, samples=round(samples * budget) * (i + 1), measures=dict(measures or {}))
        for i, a in enumerate(accuracies)
    )
    return Result(recipe.name, method, budget, seed, rows, failure, f"{seed:016x}")


def growing_results(recipe: Recipe, *, measures: bool = False) -> list[Result]:
    rng = np.random.default_rng(0)
    results = []
    for seed in range(recipe.seeds):
        shared = rng.normal(0, 0.005, 10)
        for method in recipe.methods:
            shape = np.linspace(-1, 1, 10) ** 3 * 0.5 + np.linspace(-0.5, 0.5, 10)
            final = 0.982 + FINAL[method] / 100
            curve = AVERAGE[method] / 100 + shape * 2 * (final - AVERAGE[method] / 100) * 0.5
            noisy = curve + shared + rng.normal(0, 0.004, 10)
            found = {"dormant-ratio": 0.1 + 0.02 * seed} if measures else None
            values = [float(min(v, 0.995)) for v in noisy]
            results.append(result(recipe, method, 1.0, seed, values, samples=38_500, measures=found))
    return results


def warm_results(recipe: Recipe) -> list[Result]:
    rng = np.random.default_rng(1)
    loss = {0.1: -3.0, 0.3: -0.9, 1.0: 0.0}
    results = []
    for seed in range(recipe.seeds):
        shared = rng.normal(0, 0.004)
        for budget in recipe.budgets:
            for method in recipe.methods:
                drop = loss[budget] * (0.2 if "scratch" not in method else 1.0)
                final = 0.978 + (WARM[method] + drop) / 100 + shared + rng.normal(0, 0.0025)
                values = [final - 0.16, final]
                results.append(result(recipe, method, budget, seed, values, samples=52_500))
    return results
