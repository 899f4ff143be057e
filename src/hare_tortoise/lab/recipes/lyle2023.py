"""Lyle et al. (2023), Understanding Plasticity in Neural Networks: random labels, again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.common import ADDED, controls, tortoise
from hare_tortoise.lab.scale import Narrow

STEPS = 100_000
DIFFERENCES = (
    "40 tasks of 100,000 steps are from notes on the publication, which we could not read. All else is chosen here: "
    "all of CIFAR-10, batches of 500, Adam at 1e-3, five seeds.",
    "The network is an MLP of two layers of 512, chosen here.",
    "Labels are drawn uniformly, once for each task: chosen here.",
    "What counts is the accuracy on the training set at the end of each task: random labels can only be memorised.",
    "L2 has the strength 1e-4, chosen here; that LayerNorm and L2 go together well is from later work of the authors.",
    ADDED,
)


def random_labels() -> Recipe:
    """Random labels of CIFAR-10."""
    return Recipe(
        name="lyle2023-random-labels-cifar10",
        description="40 tasks of CIFAR-10 with random labels, 100,000 steps each; judged on what was learned",
        source="cifar10",
        rows=50_000,
        scenario="random-labels(tasks=40, rows=50000)",
        network="mlp(hidden=(512, 512))",
        methods=(
            *controls(STEPS),
            "warm-start",
            "l2(strength=0.0001)",
            "layer-norm",
            "layer-norm+l2(strength=0.0001)",
            tortoise(STEPS),
        ),
        epochs=1000,
        batch_size=500,
        optimizer="adam",
        lr=1e-3,
        weight_decay=0.0,
        clip_norm=None,
        warmup=0.0,
        scale="paper",
        differences=DIFFERENCES,
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {"lyle2023-random-labels-cifar10": random_labels}
NARROW: Mapping[str, Mapping[str, Narrow]] = {
    "lyle2023-random-labels-cifar10": {
        "desk": Narrow(
            source="cifar10(rows=2000, test_rows=1000)",
            network="mlp(hidden=(128, 128))",
            batch_size=50,
            epochs=60,
            scenario={"tasks": 15, "rows": 2000},
        ),
        "smoke": Narrow(
            source="cifar10(rows=100, test_rows=100)",
            network="mlp(hidden=(32, 32))",
            batch_size=10,
            epochs=20,
            scenario={"tasks": 4, "rows": 100},
        ),
    }
}
