"""How long the average of a method remembers against how often it is put back, and what a method is compared to."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.registry import find_method
from hare_tortoise.lab.spec import Call, Value, parse_sum
from hare_tortoise.methods import EMA, HareTortoise
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.recipe import AgentRecipe

CLOSE_TO_NOTHING = 0.1
"""Of the ratio of horizon to interval: below it a reset moves the network little."""

# what the arm without resets has no use for
_OF_RESETS = ("reset_every", "optimizer_state")


@dataclass(frozen=True)
class Averaging:
    """The average of a method that puts it back.

    Args:
        method: as written in the experiment.
        decay: of the average, by update.
        reset_every: updates from reset to reset.

    Example:
        >>> found = Averaging("hare-tortoise(decay=0.99, reset_every=4000)", 0.99, 4_000)
        >>> round(found.horizon), round(found.ratio, 3), found.does_little
        (100, 0.025, True)
    """

    method: str
    decay: float
    reset_every: int

    @property
    def horizon(self) -> float:
        """Updates that the average looks back: ``1 / (1 − decay)``."""
        return 1 / (1 - self.decay)

    @property
    def ratio(self) -> float:
        """Horizon over interval: ``(1 / (1 − decay)) / reset_every``."""
        return self.horizon / self.reset_every

    @property
    def does_little(self) -> bool:
        """Whether a reset does next to nothing: the average lies a small part of an interval behind the network."""
        return self.ratio < CLOSE_TO_NOTHING * (1 - 1e-9)  # 1 / (1 − 0.99) is a little less than 100


@dataclass(frozen=True)
class _Parts:
    """What a method is made of, as far as its average goes; interval None: it is never put back."""

    decay: Value
    interval: Value
    settings: tuple[tuple[str, Value], ...] = ()
    others: tuple[str, ...] = ()

    @property
    def apart_from_resets(self) -> tuple[Any, ...]:
        return self.decay, self.settings, self.others


def averagings(methods: Sequence[str], recipe: AgentRecipe) -> tuple[Averaging, ...]:
    """Give decay and interval of each method that puts its average back; of schedules nothing is said.

    Args:
        methods: of agents, as written.
        recipe: gives the decay where a method names none.

    Raises:
        ValueError: A method is not in the notation, or not known.
    """
    found = ((method, _parts(method, recipe)) for method in methods)
    return tuple(
        Averaging(method, float(parts.decay), parts.interval)
        for method, parts in found
        if isinstance(parts.decay, int | float) and isinstance(parts.interval, int)
    )


def references(methods: Sequence[str], recipe: AgentRecipe) -> dict[str, tuple[str, ...]]:
    """Say what each method is compared to: the plain agent, and the arm that differs from it in the reset alone.

    The second one has the same average, never put back, and everything else alike. Where a method names no decay of
    its own that is the plain agent.

    Args:
        methods: of agents, as written.
        recipe: gives the decay where a method names none.

    Raises:
        ValueError: A method is not in the notation, or not known.

    Example:
        >>> from hare_tortoise.rl.recipes import find_agent
        >>> arms = ["nothing", "ema(decay=0.999)", "hare-tortoise(decay=0.999, reset_every=1000)"]
        >>> references(arms, find_agent("drq"))[arms[2]]
        ('nothing', 'ema(decay=0.999)')
    """
    parts = {method: _parts(method, recipe) for method in methods}

    def of(method: str) -> tuple[str, ...]:
        mine = parts[method]
        without = [
            other
            for other in methods
            if parts[other].interval is None and parts[other].apart_from_resets == mine.apart_from_resets
        ]
        found = [NOTHING, *(without if mine.interval is not None else [])]
        return tuple(dict.fromkeys(each for each in found if each in parts and each != method))

    return {method: of(method) for method in methods}


def _parts(method: str, recipe: AgentRecipe) -> _Parts:
    calls = [] if method == NOTHING else [call for call in parse_sum(method) if call.name != "warm-start"]
    averaging = [call for call in calls if issubclass(find_method(call), HareTortoise)]
    others = tuple(str(call) for call in calls if call not in averaging)
    if not averaging:
        return _Parts(recipe.decay if recipe.target == "average" else None, None, others=others)
    settings = dict(averaging[0].settings)
    decay, interval = settings.pop("decay", recipe.decay), _interval(averaging[0])
    kept = tuple(sorted((name, value) for name, value in settings.items() if name not in _OF_RESETS))
    return _Parts(decay, interval, kept, others)


def _interval(call: Call) -> Value:
    kind = find_method(call)
    if issubclass(kind, EMA):
        return None
    default = inspect.signature(kind).parameters["reset_every"].default
    written: Value = dict(call.settings).get("reset_every", default)
    return written
