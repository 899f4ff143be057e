"""A trial is one method at one budget with one seed; its identity says what its result depends on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hare_tortoise._version import __version__
from hare_tortoise.lab.code import code_digest
from hare_tortoise.lab.files import canonical
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.spec import Call, parse, parse_sum

Row = dict[str, Any]

# what names, groups or explains trials and changes none of them
NOT_OF_A_TRIAL = ("name", "description", "methods", "budgets", "seeds", "scale", "rows", "differences")
# values of a recipe that there were not always, with what stands for not having them
_CAME_LATER: Mapping[str, Any] = {"judge": "test", "measure_every": 1}


@dataclass(frozen=True)
class Trial:
    """One method of a recipe, at one budget, with one seed: a pure function of these.

    Args:
        recipe: the experiment that it belongs to.
        method: one of the recipe's methods, as written there.
        budget: share of the epochs.
        seed: decides the split of the data, label noise, order, initial weights and the method's draws.
    """

    recipe: Recipe
    method: str
    budget: float
    seed: int

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.recipe.name} · {self.method} · budget {self.budget:g} · seed {self.seed}"

    def told(self, result: Result) -> str:
        """What it came to, in a few words."""
        if result.failure is not None:
            return f"failed: {result.failure}"
        return f"accuracy {result.rows[-1]['test_accuracy']:.3f}, {result.rows[-1]['seconds']:.1f} s"


@dataclass(frozen=True)
class Result:
    """What a finished trial measured.

    Args:
        recipe: name of the recipe.
        method: the method as written in it.
        budget: share of the epochs.
        seed: of the trial.
        rows: one for each evaluation, in order; see `hare_tortoise.lab.training`.
        failure: why it stopped before its end; None if it did not.
        run: name of its folder in the store.
    """

    recipe: str
    method: str
    budget: float
    seed: int
    rows: tuple[Row, ...]
    failure: str | None = None
    run: str = ""


def trials(recipe: Recipe) -> list[Trial]:
    """Expand a recipe: every method at every budget with every seed, seeds outermost so that pairs finish together."""
    return [
        Trial(recipe, method, budget, seed)
        for seed in range(recipe.seeds)
        for budget in recipe.budgets
        for method in recipe.methods
    ]


@dataclass(frozen=True)
class Engine:
    """What executes a trial and may change its bits.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: of torch, in each worker.
    """

    device: str = "cpu"
    threads: int = 1


def identity(trial: Trial, data_digest: str, engine: Engine) -> dict[str, Any]:
    """Say everything that the result of a trial depends on, as a JSON value."""
    recipe = {k: v for k, v in trial.recipe.to_json().items() if k not in NOT_OF_A_TRIAL}
    for name, value in _CAME_LATER.items():
        if recipe[name] == value:
            del recipe[name]  # runs from before there was a choice keep their names
    return {
        "recipe": recipe,
        "method": trial.method,
        "budget": trial.budget,
        "seed": trial.seed,
        "data": data_digest,
        "code": code_digest(_externals(trial)),
        "versions": {"hare_tortoise": __version__, "torch": torch.__version__},
        "engine": {**dataclasses.asdict(engine), "name": "supervised", "dtype": trial.recipe.precision},
    }


def run_name(content: Mapping[str, Any]) -> str:
    """Name the folder of a run by its identity."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Derive an independent seed for a purpose.

    Example:
        >>> derive_seed(0, "network") != derive_seed(0, "order", 1)
        True
    """
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _externals(trial: Trial) -> Iterator[str]:
    texts = [trial.recipe.source, trial.recipe.scenario, trial.recipe.network, trial.recipe.optimizer]
    calls = [parse(text) for text in (*texts, trial.recipe.augment) if text is not None]
    for call in (*calls, *parse_sum(trial.method)):
        yield from _externals_of(call)


def _externals_of(call: Call) -> Iterator[str]:
    if call.external:
        yield call.name
    for value in (*call.positional, *(value for _, value in call.settings)):
        if isinstance(value, Call):
            yield from _externals_of(value)
