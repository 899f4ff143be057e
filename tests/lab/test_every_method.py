"""Every method, transform and optimizer in the laboratory: it trains, and an interrupted run ends as a whole one."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hare_tortoise.lab.building import build
from hare_tortoise.lab.composition import OPTIMIZERS, take_apart
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.every_method import METHODS, every_method_growing, every_method_warm_start
from hare_tortoise.lab.registry import METHODS as NAMES
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial
from hare_tortoise.networks import TRANSFORMS
from tests.lab.small import convolutional, small, timeless
from tests.lab.test_training import interrupted

# What does not act in 36 steps with the settings of the recipe.
SOONER = {
    "full-reset(every=400)": "full-reset(every=10)",
    "redo(every=100)": "redo(every=7, threshold=0.5)",
    "regrama(every=100)": "regrama(every=7, threshold=0.5)",
    "continual-backprop(maturity=100)": "continual-backprop(maturity=3, replacement_rate=0.02)",
    "self-normalized-reset": "self-normalized-reset(tau_max=4, every=4, renew_every=8, fires_above=0.5)",
    "weight-clipping": "weight-clipping(zeta=0.5)",
}
# These are the plain training here: there is nothing to do, or what they do is done by the laboratory anyway (it
# builds a new optimizer for each chunk).
AS_WARM_START = {"warm-start", "optimizer-reset"}


def short(method: str) -> Recipe:
    return small(
        methods=(method,),
        network="mlp(hidden=(16, 16))",
        measures=("dormant-ratio", "hare-tortoise-distance"),
    )


def test_every_method_stands_in_the_recipe() -> None:
    parts = [take_apart(method) for method in METHODS]
    assert {call.name for part in parts for call in part.methods} == set(NAMES)
    assert {call.name for part in parts for call in part.transforms} == set(TRANSFORMS)
    named = {part.optimizer.name for part in parts if part.optimizer}
    assert named == set(OPTIMIZERS) - {"adam", "adamw", "sgd"}
    for recipe in (every_method_growing(), every_method_warm_start()):
        assert recipe.methods == METHODS
        assert (recipe.budgets, recipe.seeds) == ((1.0,), 3)


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_and_does_something(method: str) -> None:
    method = SOONER.get(method, method)
    setup = build(Trial(short(method), method, 1.0, 0))
    rows = Training(setup).finish()
    assert all(math.isfinite(row["train_loss"]) for row in rows)
    deployed, other = setup.method.deployed.state_dict(), plain()
    same = deployed.keys() == other.keys() and all(torch.equal(deployed[name], other[name]) for name in other)
    assert same is (method in AS_WARM_START)


@functools.cache
def plain() -> dict[str, Tensor]:
    """The weights that plain training ends with."""
    setup = build(Trial(short("warm-start"), "warm-start", 1.0, 0))
    Training(setup).finish()
    return setup.model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_an_interruption_changes_nothing(method: str, tmp_path: Path) -> None:
    method = SOONER.get(method, method)
    trial = Trial(short(method), method, 1.0, 0)
    whole = Training(build(trial)).finish()
    rows, stops = interrupted(trial, tmp_path, 9)
    assert stops >= 3
    assert timeless(rows) == timeless(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:(crelu|fourier) leaves")
@pytest.mark.parametrize("method", METHODS)
def test_an_interruption_of_a_convolutional_network_changes_nothing(method: str, tmp_path: Path) -> None:
    method = SOONER.get(method, method)
    trial = Trial(convolutional(method), method, 1.0, 0)
    whole = Training(build(trial)).finish()
    rows, stops = interrupted(trial, tmp_path, 3)
    assert stops >= 2
    assert timeless(rows) == timeless(whole)
