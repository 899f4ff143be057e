"""CIFAR-10 on a narrow ResNet: growing data, without and with augmentation."""

from __future__ import annotations

from evidence.common import SHRINK_PERTURB, references, two_speeds
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.streams.scenarios import PAPER_NOISE

# The paper's decay of 0.999 and its reset every 10 epochs, at the share of its steps that are taken here: its last
# chunk has 19,600, this one 1,185.
SCALED = "hare-tortoise(decay=0.983, reset_every=118)"
_REFERENCES = (*references(0.99, 100), two_speeds(0.999, anew=True))

_GROWING = Recipe(
    name="cifar10-growing",
    description="10,000 images, a tenth at a time, kept; label noise falls from 0.5 to 0; a narrow ResNet, 15 epochs",
    source="cifar10(rows=10000)",
    scenario=f"growing(chunks=10, label_noise={PAPER_NOISE})",
    network="narrow-resnet",
    methods=(
        *_REFERENCES,
        "warm-start",
        "adamw(weight_decay=0.1)",
        "ema(decay=0.99)",
        "self-distillation(decay=0.99)",
        "head-reset",
        SHRINK_PERTURB,
        f"{SHRINK_PERTURB}+ema(decay=0.99)",
        SCALED,
        two_speeds(0.999),
    ),
    epochs=15,
    batch_size=128,
    scale="10,000 of 50,000 training images, a narrow ResNet, 15 epochs of 100",
)


def cifar10() -> list[Recipe]:
    """The methods of the paper, without augmentation."""
    return [_GROWING]


def cifar10_augmented() -> list[Recipe]:
    """Those that the paper runs on growing data, with its augmentation."""
    return [
        _GROWING.replace(
            name="cifar10-growing-augmented",
            description=f"{_GROWING.description}; random crops and flips",
            methods=(
                *_REFERENCES,
                "warm-start",
                SHRINK_PERTURB,
                "ema(decay=0.99)",
                SCALED,
                two_speeds(0.999),
            ),
            augment="crop-flip(padding=4)",
        )
    ]
