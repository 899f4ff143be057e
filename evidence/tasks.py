"""Sequences of tasks: online permuted digits and shuffled labels, and forgetting over 50 permutations of MNIST."""

from __future__ import annotations

from evidence.common import SHRINK_PERTURB, references
from hare_tortoise.lab.recipe import Recipe

# A task of the online streams has 88 steps: the quick tortoise looks back over ten of them.
QUICK = "hare-tortoise(decay=0.9, reset_every=30)"
SLOW = "hare-tortoise(decay=0.99, reset_every=100)"


def online() -> list[Recipe]:
    """Digits, one pass, 100 tasks: the inputs are permuted anew, or the labels."""
    plain = Recipe(
        name="online",
        methods=(
            *references(0.9, 30, (0.99, 100)),
            "warm-start",
            "l2-init(strength=0.001)",
            SHRINK_PERTURB,
            "redo(every=100)",
            "continual-backprop(maturity=100)",
            "layer-norm",
            "ema(decay=0.9)",
            QUICK,
            SLOW,
            f"{QUICK}+l2-init(strength=0.001)",
        ),
        epochs=1,
        batch_size=16,
        optimizer="adam",
        weight_decay=0.0,
        clip_norm=None,
        warmup=0.0,
        judge="online",
        measures=("dormant-ratio", "effective-rank", "trainability"),
        measure_every=10,
    )
    return [
        plain.replace(
            name="online-permuted-digits",
            description="1,400 digits in one pass of batches of 16, 100 tasks; pixels permuted anew in each",
            scenario="permuted(tasks=100, order=independent)",
        ),
        plain.replace(
            name="online-shuffled-labels",
            description="1,400 digits in one pass of batches of 16, 100 tasks; classes renamed in each",
            scenario="shuffled-labels(tasks=100)",
        ),
    ]


def forgetting() -> list[Recipe]:
    """Permuted MNIST, 50 tasks, judged on all of them after each."""
    return [
        Recipe(
            name="forgetting-permuted-mnist",
            description="50 permutations of MNIST, 10,000 images each in one pass; every task judged after every task",
            source="mnist",
            scenario="permuted(tasks=50, rows_per_task=10000, order=independent, tests=all, test_rows=1000)",
            methods=(
                *references(0.99, 100, (0.999, 100)),
                "warm-start",
                "ema(decay=0.999)",
                "l2-init(strength=0.001)",
                SHRINK_PERTURB,
                SLOW,
                "hare-tortoise(decay=0.999, reset_every=100)",
                "hare-tortoise(decay=0.9999, reset_every=1000)",
            ),
            epochs=1,
            batch_size=16,
            optimizer="adam",
            weight_decay=0.0,
            clip_norm=None,
            warmup=0.0,
        )
    ]
