"""Decays and reset intervals that change with the steps: small objects that are written by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from numbers import Integral, Real
from operator import index
from typing import Any, Self, TypeVar, cast

from torch import Tensor

Step = int | Tensor
Value = float | Tensor
Setting = TypeVar("Setting")


class Schedule(ABC):
    """A decay or an interval as a function of the counted optimizer step.

    A subclass is a frozen dataclass of numbers; its fields are what is saved. It is called with the number of
    the step, 1 first: an int, or where steps may be skipped a scalar on the device. It uses arithmetic that
    works on both.

    Example:
        >>> warmup(0.99)(1), warmup(0.99)(10_000)
        (0.18181818181818182, 0.99)
        >>> str(warmup(0.99))
        'warmup(decay=0.99)'
    """

    @abstractmethod
    def __call__(self, step: Step) -> Value:
        """The value at a step, of the kind (number or tensor) of the step."""

    @abstractmethod
    def scaled(self, budget: float) -> Self:
        """The same schedule for a training of `budget` times the steps."""

    def for_steps(self, steps: int) -> Self:
        """The same schedule where `steps` more optimizer steps follow; most do not depend on it."""
        return self

    def __str__(self) -> str:
        """The schedule as it is written by name."""
        settings = ", ".join(f"{name}={value}" for name, value in self.state_dict().items() if name != "name")
        return f"{type(self).__name__}({settings})"

    def state_dict(self) -> dict[str, Any]:
        """The name and the numbers of the schedule."""
        own = cast(Any, self)
        return {"name": type(self).__name__} | {item.name: getattr(self, item.name) for item in fields(own)}


@dataclass(frozen=True, repr=False)
class Printed(Schedule):
    """A schedule that shows itself as it is written."""

    __repr__ = Schedule.__str__


@dataclass(frozen=True, repr=False)
class warmup(Printed):  # noqa: N801
    """A decay that rises to its value: `min(decay, (1 + step) / (10 + step))`.

    The average then is one of about the last ninth of the steps made, until `decay` is reached. (TensorFlow's
    `ExponentialMovingAverage` and diffusers' `EMAModel` do the same.)

    Args:
        decay: the final value, in [0, 1).

    Raises:
        ValueError: for a decay outside of [0, 1).

    Example:
        >>> [round(warmup(0.9)(step), 3) for step in (1, 10, 100)]
        [0.182, 0.55, 0.9]
        >>> warmup(0.99).scaled(0.1)
        warmup(decay=0.9)
    """

    decay: float

    def __post_init__(self) -> None:
        check_decay(self.decay, "decay")

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        return _at_most((1 + step) / (10 + step), self.decay)

    def scaled(self, budget: float) -> Self:
        """The final decay keeps its horizon as a share of the training; the rise is free of scale."""
        return type(self)(scaled_decay(self.decay, budget))


@dataclass(frozen=True, repr=False)
class power_law(Printed):  # noqa: N801
    """A decay that rises by a power law: `1 − (1 + step / inv_gamma) ^ −power`, at most `max_decay`.

    It is the warm-up of timm, diffusers and ema-pytorch: with `power=2/3` it reaches 0.999 at 31.6 thousand
    steps, with `power=3/4` at 10 thousand.

    Args:
        power: how quickly it rises, above 0.
        inv_gamma: the scale of the steps, above 0.
        max_decay: in [0, 1).

    Raises:
        ValueError: for a value out of its range.

    Example:
        >>> round(power_law(power=2/3)(31_621), 4)
        0.999
    """

    power: float = 2 / 3
    inv_gamma: float = 1.0
    max_decay: float = 0.9999

    def __post_init__(self) -> None:
        check_positive(self.power, "power")
        check_positive(self.inv_gamma, "inv_gamma")
        check_decay(self.max_decay, "max_decay")

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        return _at_most(1 - (1 + step / self.inv_gamma) ** -self.power, self.max_decay)

    def scaled(self, budget: float) -> Self:
        """For many steps, the horizon `(step / inv_gamma) ^ power` is scaled as the step is."""
        check_positive(budget, "budget")
        inv_gamma = self.inv_gamma * budget ** (1 - 1 / self.power)
        return type(self)(self.power, inv_gamma, scaled_decay(self.max_decay, budget))


@dataclass(frozen=True, repr=False)
class karras(Printed):  # noqa: N801
    """The decay of a power-function average: `(1 − 1 / step) ^ (gamma + 1)`.

    The average has the profile `step ^ gamma`, whose width is a fixed share of the steps made, so that it needs
    no scaling. `gamma` is the solution of `width = (gamma + 1)^½ (gamma + 2)^−1 (gamma + 3)^−½`.

    Args:
        width: the standard deviation of the profile as a share of the steps made (σ_rel), above 0 and below
            0.2886 (which is `gamma = 0`, the plain mean); 0.05 to 0.15 are usual.

    Raises:
        ValueError: for a width out of its range.

    References:
        Karras, Aittala, Lehtinen, Hellsten, Aila and Laine, "Analyzing and Improving the Training Dynamics of
        Diffusion Models", CVPR 2024, arXiv 2312.02696, section 3.1.

    Example:
        >>> round(karras(0.1).gamma, 2), karras(0.1)(1)
        (6.94, 0.0)
    """

    width: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.width < 0.2886:
            raise ValueError(
                f"width is {self.width}, expected a share above 0 and below 0.2886; 0.05 to 0.15 are usual"
            )

    @cached_property
    def gamma(self) -> float:
        """The exponent of the profile."""
        low, high = 0.0, 2.0 / self.width
        while (middle := (low + high) / 2) not in (low, high):
            width = math.sqrt((middle + 1) / (middle + 3)) / (middle + 2)
            low, high = (middle, high) if width > self.width else (low, middle)
        return low

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        return cast(Value, (1 - 1 / step) ** (self.gamma + 1))

    def scaled(self, budget: float) -> Self:
        """The same: the profile is a share of the training already."""
        check_positive(budget, "budget")
        return self


@dataclass(frozen=True, repr=False)
class horizon(Printed):  # noqa: N801
    """A decay whose horizon is a share of the steps to come: `1 − 1 / (share · steps)`, at least 0.

    With `warm`, it is at most `(1 + step) / (10 + step)` as well, so that the average soon forgets where it started;
    until `steps` is known it is that alone.

    Args:
        share: the horizon as a share of the steps until the next `new_data`, above 0; 0.05 to 0.2 are usual.
        steps: the number of these steps; `new_data(steps=...)` sets it.
        warm: whether it rises to its value as `warmup` does.

    Raises:
        ValueError: for a value that is not positive; when called, if `steps` was never given and it is not warm.

    Example:
        >>> horizon(0.1, steps=1000)(1)
        0.99
        >>> horizon(0.1).for_steps(200)(1)
        0.95
        >>> round(horizon(0.1, steps=1000, warm=True)(1), 3)
        0.182
    """

    share: float
    steps: int | None = None
    warm: bool = False

    def __post_init__(self) -> None:
        check_positive(self.share, "share")
        if self.steps is not None:
            check_positive(self.steps, "steps")

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        risen = (1 + step) / (10 + step)
        if self.steps is None:
            if self.warm:
                return risen
            raise ValueError(
                "steps is None, expected a number: give horizon(share, steps=...) or new_data(steps=...)"
            )
        decay = max(0.0, 1 - 1 / (self.share * self.steps))
        return _at_most(risen, decay) if self.warm else decay

    def scaled(self, budget: float) -> Self:
        """The share is kept; the steps are scaled, if they are given already."""
        check_positive(budget, "budget")
        steps = self.steps
        return replace(self, steps=steps if steps is None else max(1, round(steps * budget)))

    def for_steps(self, steps: int) -> Self:
        """The same share of other steps."""
        return replace(self, steps=steps)


def scaled_decay(decay: float, budget: float) -> float:
    """The decay whose horizon `1 / (1 − decay)` is `budget` times as long, at least one step.

    Example:
        >>> round(scaled_decay(0.99, 0.1), 12), scaled_decay(0.5, 0.1)
        (0.9, 0.0)
    """
    check_positive(budget, "budget")
    # Rounded, so that a horizon of 100 steps scaled to 10 is written 0.9 and not 0.8999999999999999.
    return max(0.0, round(1 - (1 - decay) / budget, 12))


def saved(setting: object) -> Any:
    """A setting as it is saved: a schedule as a dictionary, anything else as it is."""
    return setting.state_dict() if isinstance(setting, Schedule) else setting


def resumed(name: str, setting: Setting, state: object) -> Setting:
    """The setting to go on with, given what was saved.

    Raises:
        ValueError: it was saved as another one.
    """
    own = saved(setting)
    told = isinstance(state, Mapping) and state.get("steps") is not None
    if told and isinstance(setting, Schedule) and "steps" in own:
        # How many steps follow is no choice of the user's, but where training had come to.
        steps = int(cast(Mapping[str, Any], state)["steps"])
        own, setting = own | {"steps": steps}, setting.for_steps(steps)
    if own != state:
        raise ValueError(
            f"{name} is {own}, but the state was saved with {state}: build the method with the saved setting, "
            f"load, and then set .{name} to go on with another"
        )
    return setting


def check_interval(steps: object, name: str) -> int:
    """An interval as an int (NumPy's are taken too).

    Raises:
        ValueError: it is no whole number of steps, or below 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"{name} is {steps!r}, expected a whole number of optimizer steps, at least 1")
    return index(steps)


def check_decay(decay: object, name: str) -> None:
    """Raise a ValueError unless a decay is a number in [0, 1)."""
    if isinstance(decay, bool) or not isinstance(decay, Real) or not 0 <= float(decay) < 1:
        raise ValueError(
            f"{name} is {decay!r}, expected a number in [0, 1); 0.999 averages over about the last 1000 steps"
        )


def check_positive(value: float, name: str) -> None:
    """Raise a ValueError unless a number is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}, expected a finite number above 0")


def _at_most(value: Value, bound: float) -> Value:
    return value.clamp(max=bound) if isinstance(value, Tensor) else min(value, bound)
