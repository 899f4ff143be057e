"""Digits, MNIST and Fashion-MNIST: warm start, growing data, limited memory."""

from __future__ import annotations

from evidence.common import DIGITS, MNIST, SHRINK_PERTURB, references, two_speeds
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.every_method import MEASURES, METHODS
from hare_tortoise.streams.scenarios import PAPER_NOISE

_DIGITS_METHODS = (*references(0.99, 100), *(method for method in METHODS if method != "from-scratch"))

_MNIST_METHODS = (
    *references(0.99, 100),
    two_speeds(0.997, anew=True),
    "warm-start",
    "ema(decay=0.99)",
    "l2-init(strength=0.001)",
    SHRINK_PERTURB,
    "head-reset",
    "redo(every=100)",
    "layer-norm",
    "hare-tortoise(decay=0.99, reset_every=100)",
    "hare-tortoise(decay=0.99, reset_every=100)+l2-init(strength=0.001)",
    two_speeds(0.997),
)


def digits() -> list[Recipe]:
    """All methods on the three scenarios, ten seeds; the trainings of the demo."""
    plain = DIGITS.replace(methods=_DIGITS_METHODS, measures=MEASURES, seeds=10)
    return [
        plain.replace(
            name="digits-growing",
            description="1,400 digits, a tenth at a time, kept; label noise falls from 0.5 to 0",
        ),
        plain.replace(
            name="digits-warm-start",
            description="half of 1,400 digits with half of the labels wrong, then all of them, clean",
            scenario="warm-start(first=0.5, label_noise=0.5)",
        ),
        plain.replace(
            name="digits-limited",
            description="1,400 digits, a tenth at a time, 140 earlier ones kept; label noise falls from 0.5 to 0",
            scenario=f"limited(chunks=10, memory=140, label_noise={PAPER_NOISE})",
        ),
    ]


def mnist() -> list[Recipe]:
    """Ten methods on 10,000 images of MNIST."""
    return _ten_thousand("mnist")


def fashion_mnist() -> list[Recipe]:
    """Ten methods on 10,000 images of Fashion-MNIST."""
    return _ten_thousand("fashion-mnist")


def _ten_thousand(source: str) -> list[Recipe]:
    plain = MNIST.replace(
        name=source,
        source=f"{source}(rows=10000)",
        methods=_MNIST_METHODS,
        measures=("dormant-ratio", "effective-rank"),
    )
    return [
        plain.replace(
            name=f"{source}-warm-start",
            description="a tenth of 10,000 images with half of the labels wrong, 200 epochs; then all, clean, 22",
            scenario="warm-start(first=0.1, label_noise=0.5)",
            epochs=(200, 22),
        ),
        plain.replace(
            name=f"{source}-limited",
            description="10,000 images, a tenth at a time, 1,000 earlier ones kept; label noise falls from 0.5 to 0",
            scenario=f"limited(chunks=10, memory=1000, label_noise={PAPER_NOISE})",
        ),
    ]


def mnist_whole() -> list[Recipe]:
    """The paper's warm start on all of MNIST: 1,000 epochs on a tenth, then 111 on everything."""
    return [
        Recipe(
            name="mnist-whole-warm-start",
            description="the paper's warm start on 60,000 images: a tenth with half of the labels wrong, then all",
            source="mnist",
            scenario="warm-start(first=0.1, label_noise=0.5)",
            network="mlp(hidden=(512, 256), batch_norm=True)",
            methods=(
                "from-scratch",
                "from-scratch+ema(decay=warmup(0.999))",
                "from-scratch+hare-tortoise(decay=warmup(0.999), reset_every=None)",
                "warm-start",
                SHRINK_PERTURB,
                "hare-tortoise(decay=0.999, reset_every=None)",
            ),
            epochs=(1000, 111),
            batch_size=256,
            weight_decay=1e-4,
            reset_epochs=10,
        )
    ]
