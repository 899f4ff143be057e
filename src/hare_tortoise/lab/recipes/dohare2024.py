"""Dohare et al. (2024), Loss of plasticity in deep continual learning: four supervised problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.common import ADDED, controls, tortoise
from hare_tortoise.lab.scale import Narrow
from hare_tortoise.lab.stand_in import IMAGENET

PERTURBING = (
    "Shrink & Perturb of the publication adds noise at every step, by the optimizer. There is no such optimizer here, "
    "and what acts between tasks is another method: it is left out."
)
SCHEDULES = "Gradients are not clipped, the learning rate is not warmed up and no decay of weights is on: chosen here."
PERMUTED = (
    "One of the published learning rates, 0.003 of 0.01, 0.003 and 0.001, and SGD alone; Adam is one option.",
    "L2 has the strength 1e-4 out of 1e-3 to 1e-5, Continual Backprop the rate 1e-4 out of 1e-4 to 1e-6: chosen here.",
    PERTURBING,
    SCHEDULES,
    ADDED,
)
IMAGENET_PAIRS = (
    "The network is the narrow ResNet, chosen here: that of the publication is not in our notes.",
    "The learning rate, 0.01, is chosen here.",
    "The head is initialised anew at each task, where the name of a method has head-reset in it; warm start has none.",
    "2,000 tasks (plain training) or 5,000, in the notes on the code. Here there are 2,000 for all.",
    "Pairs are drawn from a new shuffle when all classes have come; the publication goes through one shuffle again.",
    PERTURBING,
    SCHEDULES,
    "The data have to be brought: a folder "
    + IMAGENET
    + " with train/CLASS and val/CLASS, 600 and 100 images a class. "
    "Below the scale of the paper, CIFAR-100 takes its place (desk), or generated data (smoke).",
    ADDED,
)
INCREMENTAL = (
    "The learning rate stays at 0.1. In the publication it is multiplied by 0.2 at the epochs 60, 120 and 160 of each "
    "increment.",
    "The last weights of an increment are kept. The publication returns to those that were best on validation data.",
    "A tenth is set aside for validation, as there (50 of 500 images a class), but nothing is chosen on it.",
    "Images are cropped with a border of zeros and mirrored. The publication reflects at the border, and turns images "
    "by up to 15 degrees.",
    "Its Shrink & Perturb adds noise at every step; it is left out.",
    "Five seeds, no clipping and no warm-up of the learning rate: chosen here.",
    ADDED,
)
CHANGING = (
    "One of the published learning rates, 0.01 of 0.01, 0.003 and 0.001, and SGD alone.",
    "One activation, ReLU; which others the publication has is not in our notes.",
    "From scratch begins anew at each change of the fixed bits. The publication has no such line.",
    SCHEDULES,
    ADDED,
)


def _recipe(name: str, description: str, **values: Any) -> Recipe:
    plain: dict[str, Any] = {
        "optimizer": "sgd",
        "weight_decay": 0.0,
        "clip_norm": None,
        "warmup": 0.0,
        "scale": "paper",
    }
    return Recipe(name=f"dohare2024-{name}", description=description, **{**plain, **values})


def permuted_mnist() -> Recipe:
    """Online permuted MNIST."""
    steps = 60_000
    return _recipe(
        "permuted-mnist",
        "800 tasks of MNIST with other pixels each, one example at a time, judged before it is learned",
        source="mnist",
        rows=60_000,
        scenario="permuted(tasks=800, order=composed)",
        network="mlp(hidden=(2000, 2000, 2000))",
        methods=(
            *controls(steps),
            "warm-start",
            "l2(strength=0.0001)",
            "continual-backprop(replacement_rate=0.0001, maturity=100, decay=0.99)",
            tortoise(steps),
        ),
        epochs=1,
        batch_size=1,
        lr=0.003,
        seeds=10,
        judge="online",
        differences=PERMUTED,
    )


def continual_imagenet() -> Recipe:
    """Continual ImageNet: pairs of classes."""
    steps = 3_000
    return _recipe(
        "continual-imagenet",
        "2,000 pairs of ImageNet's classes at 32×32 pixels, one after the other",
        source=f"image-folder(path='{IMAGENET}', size=32)",
        rows=600_000,
        scenario="pairs(tasks=2000)",
        network="narrow-resnet",
        methods=(
            *controls(steps),
            "warm-start",
            "head-reset",
            "head-reset+l2(strength=3e-06)",
            "head-reset+continual-backprop(replacement_rate=0.0003, maturity=100)",
            f"head-reset+{tortoise(steps)}",
        ),
        epochs=250,
        batch_size=100,
        optimizer="sgd(momentum=0.9)",
        lr=0.01,
        seeds=30,
        differences=IMAGENET_PAIRS,
    )


def class_incremental() -> Recipe:
    """Class-incremental CIFAR-100."""
    steps = 52_500
    return _recipe(
        "class-incremental-cifar100",
        "CIFAR-100, five more classes every 200 epochs, earlier ones kept",
        source="cifar100",
        rows=50_000,
        scenario="class-incremental(classes_per_chunk=5)",
        network="resnet18",
        methods=(
            *controls(steps),
            "warm-start",
            "continual-backprop(replacement_rate=1e-05, maturity=1000)",
            tortoise(steps),
        ),
        epochs=200,
        batch_size=90,
        optimizer="sgd(momentum=0.9)",
        lr=0.1,
        weight_decay=5e-4,
        augment="crop-flip(padding=4)",
        validation=0.1,
        differences=INCREMENTAL,
    )


def slowly_changing() -> Recipe:
    """Slowly-changing regression."""
    steps = 10_000
    return _recipe(
        "slowly-changing",
        "a number to predict from 20 bits, of which 15 are drawn again every 10,000 examples; judged online",
        source="bits",
        scenario="slowly-changing(chunks=100, rows=10000)",
        network="mlp(hidden=(5,))",
        methods=(*controls(steps), "warm-start", tortoise(steps)),
        epochs=1,
        batch_size=1,
        lr=0.01,
        seeds=100,
        judge="online",
        differences=CHANGING,
    )


_MAKERS = (permuted_mnist, continual_imagenet, class_incremental, slowly_changing)
RECIPES: Mapping[str, Callable[[], Recipe]] = {make().name: make for make in _MAKERS}
NARROW: Mapping[str, Mapping[str, Narrow]] = {
    "dohare2024-permuted-mnist": {
        "desk": Narrow(
            source="mnist(rows=5000, test_rows=1000)",
            network="mlp(hidden=(100, 100, 100))",
            batch_size=1,
            epochs=1,
            scenario={"tasks": 20},
        ),
        "smoke": Narrow(
            source="mnist(rows=200, test_rows=100)",
            network="mlp(hidden=(32, 32, 32))",
            batch_size=1,
            epochs=1,
            scenario={"tasks": 6},
        ),
    },
    "dohare2024-continual-imagenet": {
        "desk": Narrow(
            source="cifar100(rows=10000, test_rows=2000)",
            network="narrow-resnet",
            batch_size=20,
            epochs=60,
            scenario={"tasks": 30},
        ),
        "smoke": Narrow(
            source="generated(shape=(3, 32, 32), classes=10, rows=200, test_rows=100)",
            network="narrow-resnet",
            batch_size=8,
            epochs=20,
            scenario={"tasks": 4},
        ),
    },
    "dohare2024-class-incremental-cifar100": {
        "desk": Narrow(
            source="cifar100(rows=5000, test_rows=2000)", network="narrow-resnet", batch_size=45, epochs=10
        ),
        "smoke": Narrow(
            source="cifar100(rows=200, test_rows=100)",
            network="narrow-resnet",
            batch_size=5,
            epochs=4,
            scenario={"classes_per_chunk": 10},
        ),
    },
    "dohare2024-slowly-changing": {
        "desk": Narrow(
            source="bits",
            network="mlp(hidden=(5,))",
            batch_size=1,
            epochs=1,
            scenario={"chunks": 40, "rows": 5000},
        ),
        "smoke": Narrow(
            source="bits",
            network="mlp(hidden=(5,))",
            batch_size=1,
            epochs=1,
            scenario={"chunks": 5, "rows": 300, "test_rows": 100},
        ),
    },
}
