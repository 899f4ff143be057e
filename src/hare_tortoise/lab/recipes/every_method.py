"""Every method at its own, on the data of the demo: a method that does nothing, or breaks training, stands out."""

from __future__ import annotations

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.demo import demo_growing, demo_warm_start

# What is counted in steps is set to the length of these trainings, as in the demo; the rest are defaults. What a paper
# defines as two parts (Normalize-and-Project) is written as the two.
REFERENCES = ("from-scratch", "warm-start")
AVERAGES = (
    "ema(decay=0.99)",
    "hare-tortoise(decay=0.99, reset_every=100)",
    "switch-ema(decay=0.99, reset_every=22)",
)
PENALTIES = (
    "l2",
    "l2-init",
    "wasserstein-init",
    "spectral-regularization",
    "parseval",
    "spectral-decoupling",
    "self-distillation(decay=0.99)",
    "c-chain",
)
PROJECTIONS = (
    "spectral-normalization",
    "weight-clipping",
    "layer-norm+normalize-and-project",
    "soft-weight-rescaling",
    "soft-shrink-perturb",
)
RESETS = (
    "shrink-perturb",
    "shrink-perturb(noise=initial)",
    "head-reset",
    "last-layers-reset(layers=2)",
    "full-reset(every=400)",
    "optimizer-reset",
    "dash",
    "fire",
    "plasticity-injection",
)
UNITS = (
    "redo(every=100)",
    "regrama(every=100)",
    "continual-backprop(maturity=100)",
    "self-normalized-reset",
)
TRANSFORMS = ("crelu", "fourier", "layer-norm", "aid")
OPTIMIZERS = ("upgd(lr=0.1)", "ada-upgd", "sam", "trac")

METHODS = (*REFERENCES, *AVERAGES, *PENALTIES, *PROJECTIONS, *RESETS, *UNITS, *TRANSFORMS, *OPTIMIZERS)
MEASURES = ("dormant-ratio", "effective-rank", "weight-norm", "distance-from-initialization")


def every_method_warm_start() -> Recipe:
    """The demo's warm start at full budget, each method alone, three seeds."""
    return _widened(demo_warm_start(), "every-method-warm-start")


def every_method_growing() -> Recipe:
    """The demo's growing data, each method alone, three seeds."""
    return _widened(demo_growing(), "every-method-growing")


def _widened(recipe: Recipe, name: str) -> Recipe:
    return recipe.replace(name=name, methods=METHODS, measures=MEASURES, budgets=(1.0,), seeds=3)
