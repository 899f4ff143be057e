"""A published experiment at a size that one core can train: narrower, with the same ratios.

Each scale has a smaller network, smaller batches and fewer samples than the publication. What stays as it is:

- the narrow ResNet, where it is the network of the recipe: it is the smallest here that learns from images;
- the five units of slowly-changing regression: that they are too few is the problem;
- batches of one example, where the recipe has these;
- at desk, the rows of Electricity and INSECTS: the drift is in them;
- the decay of Continual Backprop's running utility: it smooths a unit's use over some batches, 100 of 52,500 steps of
  a chunk of the class-incremental recipe, which would be one step at desk, and less at smoke.

Batches are no larger than the smallest chunk, so that the first and the last chunk keep their share of the steps too,
but where there are fewer chunks than published.

Recipes of digits with seconds a trial (the demo, every method, rotation and gradual drift) are the same at each scale.
A trial at desk is estimated at 300 seconds or less, half of the ten minutes that it may take on a slower core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Literal, get_args

from hare_tortoise.lab.plan import ChunkPlan, method_at, plan
from hare_tortoise.lab.recipe import Recipe, read_source
from hare_tortoise.lab.spec import Call, Value, parse, parse_sum
from hare_tortoise.lab.stand_in import layout, published

Scale = Literal["paper", "desk", "smoke"]
SCALES: tuple[Scale, ...] = get_args(Scale)
# fewer seeds than the publication has, but enough for an interval; at smoke two show that seeds differ
SEEDS: Mapping[str, int] = {"desk": 5, "smoke": 2}
# settings in steps that no scale changes; the reason stands above
_AS_PUBLISHED: Mapping[str, tuple[str, ...]] = {"continual-backprop": ("decay",)}


@dataclass(frozen=True, kw_only=True)
class Narrow:
    """What a scale narrows; everything that is counted in steps follows from it.

    Args:
        source: the data, with fewer rows.
        network: a smaller one.
        batch_size: smaller, so that a pass still has several steps.
        epochs: on each chunk.
        scenario: settings of the scenario that have other values: ``{"tasks": 5}``.
    """

    source: str
    network: str
    batch_size: int
    epochs: int | tuple[int, ...]
    scenario: Mapping[str, Value] = field(default_factory=dict)


def check_scale(scale: str) -> None:
    """See to it that a scale is one.

    Raises:
        ValueError: It is not.
    """
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r}: expected {', '.join(SCALES)}")


def at_scale(recipe: Recipe, scale: str, narrow: Narrow) -> Recipe:
    """Narrow a recipe, and scale all that it counts in steps, epochs or remembered rows by the same ratios.

    With r = optimizer steps of a mean chunk here / as published: horizons ``1/(1 − decay)`` and intervals are
    multiplied by r, rates per step divided by it; the paper's resets come at the same share of a chunk's epochs; a
    memory holds the same share of the training rows. The warm-up is a share already. Learning rate, weight
    decay and strengths stay, and so does the decay of Continual Backprop's utility.

    Raises:
        ValueError: The sizes of the data are not known.
    """
    kept = dict(parse(recipe.scenario).settings)
    changed = {**kept, **_memory(recipe, narrow), **narrow.scenario}
    seeds = min(recipe.seeds, SEEDS[scale])
    small = recipe.replace(
        source=narrow.source,
        network=narrow.network,
        batch_size=narrow.batch_size,
        epochs=narrow.epochs,
        scenario=str(Call(parse(recipe.scenario).name, tuple(changed.items()))),
        seeds=seeds,
    )
    ratio = mean_steps(small) / mean_steps(recipe)
    resets = recipe.reset_epochs
    if resets is not None:
        resets = max(1, round(resets * _mean_epochs(small) / _mean_epochs(recipe)))
    small = small.replace(
        methods=tuple(_method_at(method, ratio) for method in recipe.methods), reset_epochs=resets
    )
    before = [] if recipe.scale in ("paper", "own") else [recipe.scale]
    return small.replace(scale=f"{scale}: {', '.join([*before, *said(recipe, small)])}")


def laid_out(recipe: Recipe) -> tuple[ChunkPlan, ...]:
    """Lay out the steps of a recipe at its full budget, without its data.

    Raises:
        ValueError: The sizes of the data are not known.
    """
    known = layout(recipe.source, recipe.scenario, recipe.validation)
    if known is None:
        raise ValueError(f"source {recipe.source}: its size is not known, so nothing can be laid out by it")
    return plan(recipe, 1.0, known.kept, known.came)


def mean_steps(recipe: Recipe) -> float:
    """Optimizer steps of a mean chunk of a recipe."""
    return mean(chunk.steps for chunk in laid_out(recipe))


def said(recipe: Recipe, small: Recipe) -> list[str]:
    """Say, part by part, what a scaled recipe has less of."""
    parts = []
    before, after = published(recipe.source), published(small.source)
    if read_source(recipe.source).name != read_source(small.source).name:
        parts.append(f"source {small.source}")
    elif before is not None and after is not None and before.rows != after.rows:
        parts.append(f"{after.rows:,} of {before.rows:,} training rows")
    if before is not None and after is not None and before.shape != after.shape:
        parts.append(f"inputs {'×'.join(map(str, after.shape))}")
    if recipe.network != small.network:
        parts.append(small.network)
    if recipe.batch_size != small.batch_size:
        parts.append(f"batch {small.batch_size}")
    if recipe.epochs != small.epochs:
        parts.append(f"epochs {_written(small.epochs)} of {_written(recipe.epochs)}")
    settings: dict[str, Any] = dict(parse(recipe.scenario).settings)
    for name, value in parse(small.scenario).settings:
        if settings.get(name) != value:
            parts.append(f"{name} {_written(value)} of {_written(settings.get(name, 'all'))}")
    if recipe.seeds != small.seeds:
        parts.append(f"{small.seeds} of {recipe.seeds} seeds")
    return parts


def _method_at(method: str, ratio: float) -> str:
    written = []
    for call in parse_sum(method):
        scaled = parse(method_at(str(call), ratio))
        for name in _AS_PUBLISHED.get(call.name, ()):
            own = tuple(setting for setting in call.settings if setting[0] == name)
            others = tuple(setting for setting in scaled.settings if setting[0] != name)
            scaled = Call(call.name, (*others, *own))
        written.append(str(scaled))
    return "+".join(written)


def _memory(recipe: Recipe, narrow: Narrow) -> dict[str, Value]:
    memory = dict(parse(recipe.scenario).settings).get("memory")
    before, after = published(recipe.source), published(narrow.source)
    if not isinstance(memory, int) or before is None or after is None:
        return {}
    return {"memory": round(memory * after.rows / before.rows)}


def _mean_epochs(recipe: Recipe) -> float:
    return mean(chunk.epochs for chunk in laid_out(recipe))


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(_written(each) for each in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
