"""Ash & Adams (2020), On Warm-Starting Neural Network Training: half of the data, then all; 1,000 more a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.lee2024 import CONTROLS, TORTOISE
from hare_tortoise.lab.scale import Narrow

METHODS = (*CONTROLS, "warm-start", "shrink-perturb(shrink=0.4, perturb=0.1)", TORTOISE)

DIFFERENCES = (
    "The publication trains until 99 % of the training set are right. Here each chunk has 100 epochs, chosen here.",
    "It sets a third of the training split aside to test on. Here the training rows are two thirds, drawn at random, "
    "and the test set is the data set's own.",
    "Its code offers SGD and Adam, both at 1e-3. Here it is Adam; the other is one option: --set optimizer=sgd.",
    "Network, data augmentation (none), weight decay (0), gradient clipping (none), warm-up of the learning rate "
    "(none) and the number of seeds are chosen here: they are not in our notes on the code.",
    "From scratch with averaging, and Hare & Tortoise, are added, with the settings of Lee et al.: decay 0.999, a "
    "reset after the epochs 0, 10, 20 and so on of each chunk.",
    "Shrink & Perturb has the defaults of the code's command line, 0.4 and 0.1; the noise is a freshly initialised "
    "network, as there.",
)
ROUNDS = (
    "The first round has 1,000 examples, as each round adds. There are 33 rounds: 33,000 rows of 33,333, so that the "
    "last round is as large as the others.",
)


def _recipe(name: str, description: str, source: str, scenario: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "network": "resnet18",
        "methods": METHODS,
        "epochs": 100,
        "batch_size": 128,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "clip_norm": None,
        "warmup": 0.0,
        "reset_epochs": 10,
        "scale": "paper",
        "differences": DIFFERENCES,
    }
    return Recipe(
        name=name, description=description, source=source, scenario=scenario, **{**values, **changes}
    )


def warm_start() -> Recipe:
    """Half of CIFAR-10, then all of it."""
    return _recipe(
        "ash2020-warm-start-cifar10",
        "half of CIFAR-10, then all of it, clean",
        "cifar10(rows=33333)",
        "warm-start(first=0.5)",
        rows=33_333,
    )


def rounds() -> Recipe:
    """A thousand more examples a round."""
    return _recipe(
        "ash2020-rounds-cifar10",
        "CIFAR-10, 1,000 more examples a round, for 33 rounds",
        "cifar10(rows=33000)",
        "growing(chunks=33)",
        rows=33_000,
        differences=(*DIFFERENCES, *ROUNDS),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {make().name: make for make in (warm_start, rounds)}
NARROW: Mapping[str, Mapping[str, Narrow]] = {
    "ash2020-warm-start-cifar10": {
        "desk": Narrow(
            source="cifar10(rows=6000, test_rows=2000)", network="narrow-resnet", batch_size=64, epochs=50
        ),
        "smoke": Narrow(
            source="cifar10(rows=100, test_rows=100)", network="narrow-resnet", batch_size=10, epochs=20
        ),
    },
    "ash2020-rounds-cifar10": {
        "desk": Narrow(
            source="cifar10(rows=2310, test_rows=2000)", network="narrow-resnet", batch_size=70, epochs=10
        ),
        "smoke": Narrow(
            source="cifar10(rows=100, test_rows=100)",
            network="narrow-resnet",
            batch_size=10,
            epochs=10,
            scenario={"chunks": 5},
        ),
    },
}
