"""Lee et al. (2024), Slow and Steady Wins the Race: the settings of the official code; for MNIST, what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.scale import Narrow
from hare_tortoise.streams.scenarios import PAPER_NOISE

TORTOISE = "hare-tortoise(decay=0.999, reset_every=None)"
SHRINK_PERTURB = "shrink-perturb(shrink=0.2, perturb=0.8, noise=initial)"
CONTROLS = (
    "from-scratch",
    "from-scratch+ema(decay=warmup(0.999))",
    "from-scratch+hare-tortoise(decay=warmup(0.999), reset_every=None)",
)
# The official sweep of weight decay, without augmentation, goes from 1.0 to 1e-4; with augmentation it is 0.1 alone.
WARM_START_METHODS = (
    *CONTROLS,
    "warm-start",
    "adamw(weight_decay=0.1)",
    "ema(decay=0.999)",
    "self-distillation(decay=0.999)",
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
    "The official code logs the accuracies of hare and tortoise; which of them the paper reports, we could not find "
    "out. Here the deployed network is judged, which is the tortoise; the hare's accuracy stands beside it.",
)

BASELINES = (
    "L2 is a weight decay of 0.1 in the place of the recipe's. With augmentation this is what the official scripts "
    "run; without, they sweep 1.0, 0.1, 0.01, 0.001 and 1e-4, of which this is one.",
    "Self-distillation of the official code averages the divergence over the classes, which weighs it by one over "
    "their number. Here it is summed over them, so that its strength of 1 weighs as much as the cross-entropy.",
)

UNPUBLISHED = "The continual runs of the official code are always augmented. These are not."

MNIST = (
    "Of the warm start on MNIST no configuration was published. Network, learning rate and weight decay are those of "
    "the one configuration of MNIST that the official code has, of a single training; all else is the protocol of the "
    "other three data sets, without augmentation: that the paper's was the same is assumed.",
    "The official configuration of MNIST subtracts the mean 0.4914, which is that of the reds of CIFAR-10. Here images "
    "are normalised by the mean and standard deviation of MNIST's training images.",
)

LIMITED = (
    "The memory of the official code holds the first 5,000 of a set of numbers, which for sorted data are a few "
    "classes: at the end two of CIFAR-10's ten. A folder of images, as Tiny ImageNet is, is sorted by class too. Here "
    "it is a random sample of all that came before.",
    "The settings are those of the pull request that the authors' code never took in (5,000 for all three data sets); "
    "methods and seeds are taken from the runs with full access.",
    "From scratch and its controls train on all that came, as retraining from scratch would; the others on the new "
    "part and the memory.",
)

Kind = Literal["continual", "limited", "warm-start"]

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
    "mnist": {
        "network": "mlp(hidden=(512, 256), batch_norm=True)",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "rows": 60_000,
    },
}
# The others; MNIST has a warm start alone, never augmented.
_AUGMENTED = tuple(name for name in _SETS if name != "mnist")


_PROTOCOLS: dict[Kind, dict[str, Any]] = {
    "continual": {
        "scenario": f"growing(chunks=10, label_noise={PAPER_NOISE})",
        "epochs": 100,
        "methods": CONTINUAL_METHODS,
    },
    "limited": {
        "scenario": f"limited(chunks=10, memory=5000, label_noise={PAPER_NOISE})",
        "epochs": 100,
        "methods": CONTINUAL_METHODS,
    },
    "warm-start": {
        "scenario": "warm-start(first=0.1, label_noise=0.5)",
        "epochs": (1000, 111),
        "methods": WARM_START_METHODS,
    },
}


def lee2024(source: str, kind: Kind, *, augmented: bool) -> Recipe:
    """Give the official setting of a data set.

    Args:
        source: ``cifar10``, ``cifar100`` or ``tiny-imagenet``; for a warm start, ``mnist`` too.
        kind: ``continual``: ten chunks of 100 epochs, full access; ``limited``: the same with a memory of 5,000;
            ``warm-start``: 1,000 and 111 epochs.
        augmented: random crop with padding 4, and horizontal flip; not of MNIST.

    Example:
        >>> lee2024("cifar10", "warm-start", augmented=False).epochs
        (1000, 111)
    """
    published = augmented or kind == "warm-start"
    differences = (
        *DIFFERENCES,
        *(BASELINES if kind == "warm-start" else ()),
        *(LIMITED if kind == "limited" else ()),
        *(() if published else (UNPUBLISHED,)),
        *(MNIST if source == "mnist" else ()),
    )
    told = "as in the official code" + ("" if published else " but for augmentation")
    told = "as the official code does on other sets" if source == "mnist" else told
    return Recipe(
        name=f"lee2024-{kind}-{source}" + ("" if augmented or source == "mnist" else "-plain"),
        description=f"{_DESCRIPTIONS[kind]} on {source} {told}, {'with' if augmented else 'without'} augmentation",
        source=source,
        batch_size=256,
        clip_norm=0.5,
        warmup=0.1,
        reset_epochs=10,
        augment="crop-flip(padding=4)" if augmented else None,
        scale="paper" if published else "without augmentation",
        differences=differences,
        **_SETS[source],
        **_PROTOCOLS[kind],
    )


_DESCRIPTIONS: Mapping[Kind, str] = {
    "continual": "continual",
    "limited": "continual, limited access (a memory of 5,000),",
    "warm-start": "warm-start",
}


def _named(kind: Kind, augmentations: tuple[bool, ...]) -> dict[str, Callable[[], Recipe]]:
    makers = [
        partial(lee2024, source, kind, augmented=augmented)
        for source in _AUGMENTED
        for augmented in augmentations
    ]
    return {make().name: make for make in makers}


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    **_named("continual", (True, False)),
    **_named("limited", (True,)),
    **_named("warm-start", (True, False)),
    "lee2024-warm-start-mnist": partial(lee2024, "mnist", "warm-start", augmented=False),
}

_DESK = {
    "cifar10": ("cifar10(rows=5000, test_rows=2000)", "narrow-resnet", 64),
    "cifar100": ("cifar100(rows=1000, test_rows=2000)", "vit-tiny(width=48, depth=3)", 20),
    "tiny-imagenet": (
        "tiny-imagenet(rows=2000, test_rows=1000, size=32)",
        "vgg16(head_hidden=(128, 128), width=8)",
        40,
    ),
    "mnist": ("mnist(rows=10000, test_rows=1000)", "mlp(hidden=(128, 64), batch_norm=True)", 64),
}
_SMOKE = {
    "cifar10": ("cifar10(rows=50, test_rows=100)", "narrow-resnet", 5),
    "cifar100": ("cifar100(rows=100, test_rows=100)", "vit-tiny(width=24, depth=1)", 10),
    # the narrowest VGG-16 has as many layers as the whole one, and takes twice as long
    "tiny-imagenet": ("tiny-imagenet(rows=200, test_rows=100, size=16)", "narrow-resnet", 20),
    "mnist": ("mnist(rows=100, test_rows=100)", "mlp(hidden=(32, 16), batch_norm=True)", 10),
}


def _narrow(name: str) -> dict[str, Narrow]:
    kind = "warm-start" if "warm-start" in name else "continual"
    source = next(each for each in sorted(_SETS, key=len, reverse=True) if each in name)
    scales = {}
    for scale, sizes in (("desk", _DESK), ("smoke", _SMOKE)):
        data, network, batch = sizes[source]
        epochs = {"desk": 20, "smoke": 10}[scale] if kind == "continual" else (100, 11)
        scales[scale] = Narrow(source=data, network=network, batch_size=batch, epochs=epochs)
    return scales


NARROW: Mapping[str, Mapping[str, Narrow]] = {name: _narrow(name) for name in RECIPES}
