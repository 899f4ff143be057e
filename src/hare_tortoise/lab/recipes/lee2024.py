"""Lee et al. (2024), Slow and Steady Wins the Race: the settings of the official code, for all three data sets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.streams.scenarios import PAPER_NOISE

TORTOISE = "hare-tortoise(decay=0.999, reset_every=None)"
SHRINK_PERTURB = "shrink-perturb(shrink=0.2, perturb=0.8, noise=initial)"
CONTROLS = (
    "from-scratch",
    "from-scratch+ema(decay=warmup(0.999))",
    "from-scratch+hare-tortoise(decay=warmup(0.999), reset_every=None)",
)
WARM_START_METHODS = (
    *CONTROLS,
    "warm-start",
    "ema(decay=0.999)",
    "head-reset(to=initial)",
    SHRINK_PERTURB,
    TORTOISE,
)
CONTINUAL_METHODS = (*CONTROLS, "warm-start", "head-reset(to=initial)", SHRINK_PERTURB, TORTOISE)

DIFFERENCES = (
    "The official code never clears gradients, which its loss scaler all but hides. They are cleared before each step.",
    "At a reset of the official code hare and tortoise share their storage, so that the tortoise takes the hare's next "
    "step in full. Values are copied.",
    "The official code averages BatchNorm's step counter, which turns it into a float. It is copied.",
    "The first evaluation of the official code runs the tortoise on the test set in train mode. It is in eval mode.",
    "The official code starts BatchNorm's statistics with a batch of zeros. They start at mean 0 and variance 1.",
    "The official code shrinks and perturbs, and resets heads, after the last test of each chunk; here, before the "
    "next chunk. The training is the same.",
    "In a composition with these, the tortoise follows the hare; in the official code the next reset undoes the act.",
    "CIFAR-100's test images are normalised by the statistics of the training images, not by their own.",
    "From scratch, from scratch + EMA and from scratch + Hare & Tortoise are added: the controls.",
    "A last batch of a single sample is merged into the one before it. It does not occur at the official sizes.",
)

UNPUBLISHED = "The continual runs of the official code are always augmented. These are not."

_SETS: dict[str, dict[str, Any]] = {
    "cifar10": {
        "network": "resnet18(head_hidden=(512,))",
        "lr": 1e-3,
        "weight_decay": 1e-3,
        "rows": 50_000,
    },
    "cifar100": {"network": "vit-tiny", "lr": 3e-3, "weight_decay": 0.05, "rows": 50_000},
    "tiny-imagenet": {
        "network": "vgg16(head_hidden=(1024, 1024))",
        "lr": 1e-3,
        "weight_decay": 1e-3,
        "rows": 100_000,
    },
}


def lee2024(source: str, *, continual: bool, augmented: bool) -> Recipe:
    """Give the official setting of a data set.

    Args:
        source: ``cifar10``, ``cifar100`` or ``tiny-imagenet``.
        continual: ten chunks of 100 epochs, full access; else the warm start of 1,000 and 111 epochs.
        augmented: random crop with padding 4, and horizontal flip.

    Example:
        >>> lee2024("cifar10", continual=False, augmented=False).epochs
        (1000, 111)
    """
    kind = "continual" if continual else "warm-start"
    published = augmented or not continual
    protocol: dict[str, Any] = (
        {
            "scenario": f"growing(chunks=10, label_noise={PAPER_NOISE})",
            "epochs": 100,
            "methods": CONTINUAL_METHODS,
        }
        if continual
        else {
            "scenario": "warm-start(first=0.1, label_noise=0.5)",
            "epochs": (1000, 111),
            "methods": WARM_START_METHODS,
        }
    )
    return Recipe(
        name=f"lee2024-{kind}-{source}" + ("" if augmented else "-plain"),
        description=f"{kind} on {source} as in the official code{'' if published else ' but for augmentation'}, "
        f"{'with' if augmented else 'without'} augmentation",
        source=source,
        batch_size=256,
        clip_norm=0.5,
        warmup=0.1,
        reset_epochs=10,
        augment="crop-flip(padding=4)" if augmented else None,
        scale="paper" if published else "without augmentation",
        differences=DIFFERENCES if published else (*DIFFERENCES, UNPUBLISHED),
        **_SETS[source],
        **protocol,
    )


def _named(*, continual: bool) -> dict[str, Callable[[], Recipe]]:
    makers = [
        partial(lee2024, source, continual=continual, augmented=augmented)
        for source in _SETS
        for augmented in (True, False)
    ]
    return {make().name: make for make in makers}


CONTINUAL = _named(continual=True)
WARM_START = _named(continual=False)
