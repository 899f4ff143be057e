"""Results that look like those of the demo, drawn from known numbers instead of training."""

from __future__ import annotations

import dataclasses
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


def task_recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "tasks",
        "description": "one task after the other; nothing of the earlier ones is kept",
        "scenario": "growing(chunks=6)",
        "methods": ("from-scratch", "warm-start", "ema(decay=0.99)"),
        "epochs": 1,
        "seeds": 3,
        "scale": "desk",
    }
    return Recipe(**{**values, **changes})


def task_results(recipe: Recipe, *, tasks: int = 6, all_at_once: bool = True) -> list[Result]:
    """Task j after task i: 0.9 less what the method loses with each later task, plus a wobble of the seed.

    Before it is trained on a task stands at 0.1, where the rows have it (`all_at_once`). The hare of EMA has 0.02 less.
    """
    losses = dict(zip(recipe.methods, (0.08, 0.04, 0.02), strict=False))
    results = []
    for seed in range(recipe.seeds):
        for method in recipe.methods:
            rows = []
            for i in range(tasks):
                wobble = 0.01 * seed + 0.002 * seed * recipe.methods.index(method)
                known = {f"task {j + 1}": 0.9 - losses[method] * (i - j) + wobble for j in range(i + 1)}
                coming = {f"task {j + 1}": 0.1 for j in range(i + 1, tasks)} if all_at_once else {}
                # the current one first, and the order of the rest is not that of the tasks
                own = f"task {i + 1}"
                tests = {own: known[own], **dict(sorted((known | coming).items()))}
                more: dict[str, Any] = {"chunk_name": own, "tests": tests}
                if method.startswith("ema") and len(tests) > 1:
                    more["hare_tests"] = {name: value - 0.02 for name, value in tests.items()}
                    more["hare_test_accuracy"] = tests[own] - 0.02
                rows.append(row(i, tests[own], samples=1000 * (i + 1), **more))
            results.append(Result(recipe.name, method, 1.0, seed, tuple(rows), None, f"{seed:016x}"))
    return results


def with_baselines(results: Sequence[Result], accuracies: Mapping[str, float]) -> list[Result]:
    """The same trials beside predictors that learn nothing, of these accuracies on every chunk."""
    return [
        dataclasses.replace(r, rows=tuple({**line, "baselines": dict(accuracies)} for line in r.rows))
        for r in results
    ]


def of_numbers(results: Sequence[Result]) -> list[Result]:
    """The same trials as if numbers had been predicted."""
    return [
        dataclasses.replace(
            r, rows=tuple({**line, "test_error": 1 - line["test_accuracy"]} for line in r.rows)
        )
        for r in results
    ]


def judged_online(results: Sequence[Result], *, less: float = 0.2) -> list[Result]:
    """The same trials with online accuracies so far below those on the test sets."""
    return [
        dataclasses.replace(
            r,
            rows=tuple(
                {
                    **line,
                    "online_accuracy": line["test_accuracy"] - less,
                    "hare_online_accuracy": line["test_accuracy"] - less - 0.05,
                }
                for line in r.rows
            ),
        )
        for r in results
    ]
