"""What a recipe does at a budget: epochs, steps, warm-up, learning rate, resets and settings, before anything runs."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.composition import Composition, part_of, settings_of, take_apart
from hare_tortoise.lab.recipe import FROM_SCRATCH, Recipe
from hare_tortoise.lab.spec import Call, parse_sum
from hare_tortoise.methods import Schedule
from hare_tortoise.methods.schedules import scaled_decay
from hare_tortoise.streams.examples import batch_bounds


@dataclass(frozen=True)
class ChunkPlan:
    """The steps of one chunk.

    Args:
        samples: rows of the chunk.
        epochs: passes over them.
        steps_per_epoch: optimizer steps of one pass.
        warmup_steps: steps over which the learning rate rises.
        lr: learning rate after them.
        reset_epochs: every so many epochs the paper's schedule resets the hare; None: never.
        everything: rows of all that came so far, where the chunk has less: what from scratch trains on. None: there
            is no more than `samples`.
    """

    samples: int
    epochs: int
    steps_per_epoch: int
    warmup_steps: int
    lr: float
    reset_epochs: int | None
    everything: int | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of the chunk."""
        return self.epochs * self.steps_per_epoch

    @property
    def reset_steps(self) -> list[int]:
        """Steps of the chunk after which the paper's schedule resets: after the epochs 0, k, 2k and so on."""
        if self.reset_epochs is None:
            return []
        return [(epoch + 1) * self.steps_per_epoch for epoch in range(0, self.epochs, self.reset_epochs)]

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step of the chunk, counted from 0: ``lr · min(1, step / warmup_steps)``."""
        return self.lr * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.lr


@functools.lru_cache(maxsize=4096)
def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Count the batches of a pass: the last may be smaller, but one of a single sample is merged.

    Example:
        >>> steps_per_epoch(5000, 256), steps_per_epoch(129, 64)
        (20, 2)
    """
    return len(batch_bounds(samples, batch_size, merge=True))


def plan(
    recipe: Recipe,
    budget: float,
    chunk_samples: Sequence[int],
    everything: Sequence[int | None] | None = None,
) -> tuple[ChunkPlan, ...]:
    """Lay out a recipe at a budget over chunks of the given sizes.

    Args:
        recipe: what is run.
        budget: share of the epochs.
        chunk_samples: rows of each chunk.
        everything: rows of all that came by each chunk, where that is more; None: it nowhere is.

    Raises:
        ValueError: The recipe names epochs for another number of chunks.
    """
    all_rows = everything or [None] * len(chunk_samples)
    count = len(chunk_samples)
    return tuple(
        plan_chunk(recipe, budget, index, count, samples, came)
        for index, (samples, came) in enumerate(zip(chunk_samples, all_rows, strict=True))
    )


def plan_chunk(
    recipe: Recipe, budget: float, index: int, chunks: int, samples: int, everything: int | None = None
) -> ChunkPlan:
    """Lay out one of the chunks of a recipe.

    Raises:
        ValueError: The recipe names epochs for another number of chunks.
    """
    epochs = recipe.epochs if isinstance(recipe.epochs, tuple) else (recipe.epochs,) * chunks
    if len(epochs) != chunks:
        raise ValueError(
            f"recipe value epochs: got {recipe.epochs}, expected {chunks} numbers, one for each chunk"
        )
    resets = None if recipe.reset_epochs is None else max(1, round(recipe.reset_epochs * budget))
    scaled, per_epoch = max(1, round(epochs[index] * budget)), steps_per_epoch(samples, recipe.batch_size)
    warmup_steps = int(recipe.warmup * scaled * per_epoch)
    return ChunkPlan(samples, scaled, per_epoch, warmup_steps, recipe.lr, resets, everything)


def plan_of(recipe: Recipe, method: str, budget: float, chunks: Sequence[ChunkPlan]) -> tuple[ChunkPlan, ...]:
    """Give the steps of one of the methods: from scratch trains on everything that came, the others on the chunk.

    Args:
        recipe: what is run.
        method: one of its methods.
        budget: share of the epochs.
        chunks: the plan of the recipe at this budget.
    """
    if not starts_anew(take_apart(method)):
        return tuple(chunks)
    return plan(recipe, budget, [each.everything or each.samples for each in chunks])


def starts_anew(composition: Composition) -> bool:
    """Whether a composition starts each chunk from scratch."""
    return any(call.name == FROM_SCRATCH for call in composition.methods)


def scaled_settings(call: Call, budget: float) -> dict[str, Any]:
    """Give the settings of a part of a composition at a budget, with what it counts in steps scaled, defaults too.

    A decay keeps its horizon as a share of the run: ``1/(1 − decay)`` steps become ``budget/(1 − decay)``, at least
    one. An interval is multiplied by the budget, at least one step; a rate per step is divided by it, at most 1. A
    schedule scales itself.

    Example:
        >>> from hare_tortoise.lab.spec import parse
        >>> scaled_settings(parse("hare-tortoise(decay=0.99, reset_every=100)"), 0.1)
        {'decay': 0.9, 'reset_every': 10}
        >>> scaled_settings(parse("l2-init(strength=0.01)"), 0.1)
        {'strength': 0.01}
    """
    part, kind = part_of(call)
    settings = settings_of(call)
    if budget == 1 or part != "method":
        return settings
    parameters = inspect.signature(kind).parameters
    for name, unit in kind.in_steps.items():
        value = settings.get(name, parameters[name].default)
        if isinstance(value, Schedule):
            settings[name] = value.scaled(budget)
        elif value is not None:
            settings[name] = _scale(value, unit, budget)
    return settings


def method_at(method: str, budget: float) -> str:
    """Write a composition with the values used at a budget, as the report shows them.

    Example:
        >>> method_at("from-scratch+ema(decay=0.99)", 0.5)
        'from-scratch+ema(decay=0.98)'
    """
    written = []
    for call in parse_sum(method):
        inside = ", ".join(f"{name}={value}" for name, value in scaled_settings(call, budget).items())
        written.append(f"{call.name}({inside})" if inside else call.name)
    return "+".join(written)


def _scale(value: float, unit: str, budget: float) -> float:
    if unit == "interval":
        return max(1, round(value * budget))
    if unit == "rate":
        return min(1.0, value / budget)
    return scaled_decay(value, budget)


def values_at(recipe: Recipe, budget: float, chunks: Sequence[ChunkPlan]) -> dict[str, str]:
    """Say what is used at a budget, chunk by chunk and method by method, for the report.

    Example:
        >>> chunks = (ChunkPlan(700, 5, 11, 5, 1e-3, None), ChunkPlan(1400, 5, 22, 11, 1e-3, None))
        >>> recipe = Recipe(name="mine", methods=("warm-start", "ema(decay=0.99)"), epochs=50)
        >>> values_at(recipe, 0.1, chunks)["optimizer steps of each chunk"]
        '55, 110'
        >>> values_at(recipe, 0.1, chunks)["ema(decay=0.99)"]
        'ema(decay=0.9)'
    """
    values = _counts(chunks)
    anew = next((method for method in recipe.methods if starts_anew(take_apart(method))), None)
    if anew is not None:
        of_anew = _counts(plan_of(recipe, anew, budget, chunks))
        values |= {f"{name}, from scratch": text for name, text in of_anew.items() if text != values[name]}
    if chunks[0].reset_epochs is not None:
        values["resets where reset_every=None"] = (
            f"after the epochs 0, {chunks[0].reset_epochs}, … of each chunk"
        )
    return values | {
        method: method_at(method, budget) for method in recipe.methods if method_at(method, budget) != method
    }


def advice(recipe: Recipe, plans: Mapping[float, Sequence[ChunkPlan]]) -> list[str]:
    """Say where an average looks further back than a chunk has steps: it is then mostly what it started from.

    Args:
        recipe: what is run.
        plans: its steps at each budget.
    """
    lines = []
    for method, (budget, chunks) in itertools.product(recipe.methods, plans.items()):
        fewest = min(chunk.steps for chunk in plan_of(recipe, method, budget, chunks))
        for call in take_apart(method).methods:
            kind = part_of(call)[1]
            settings, parameters = scaled_settings(call, budget), inspect.signature(kind).parameters
            for name in (n for n, unit in kind.in_steps.items() if unit == "decay"):
                decay = settings.get(name, parameters[name].default)
                horizon = 1 / (1 - decay) if isinstance(decay, float) else 0.0
                if horizon > fewest:
                    where = f"{recipe.name}, {method} at budget {budget:g}"
                    lines.append(
                        f"{where}: {name} {decay:g} averages over about {horizon:,.0f} steps, but a chunk has as few "
                        f"as {fewest}; try warmup({decay:g}), or a lower one"
                    )
    return lines


def _counts(chunks: Sequence[ChunkPlan]) -> dict[str, str]:
    columns = {
        "training rows of each chunk": [chunk.samples for chunk in chunks],
        "epochs of each chunk": [chunk.epochs for chunk in chunks],
        "optimizer steps of each chunk": [chunk.steps for chunk in chunks],
        "warm-up steps of each chunk": [chunk.warmup_steps for chunk in chunks],
    }
    return {name: _repeated(numbers) for name, numbers in columns.items()}


def _repeated(numbers: Sequence[int]) -> str:
    written = [f"{number:,}" for number in numbers]
    if len(set(written)) == 1:
        return written[0]
    # of a long sequence of tasks the first and the last say enough
    return ", ".join(written if len(written) <= 20 else [*written[:3], "…", *written[-3:]])
