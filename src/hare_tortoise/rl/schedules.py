"""Values that change in training (epsilon, n-step, discount, exponents): pure functions of a count, written by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, cast

from hare_tortoise.lab.spec import Call, read_value
from hare_tortoise.rl.checks import check_whole
from hare_tortoise.streams.names import unknown


class Schedule(ABC):
    """A value as a function of what has been counted so far, 0 at the beginning; it holds no state.

    A subclass is a frozen dataclass of numbers; its fields are what is saved. A schedule that is renewed by resets is
    called with the count since the last one.

    Example:
        >>> str(linear(1.0, 0.0, steps=10)), linear(1.0, 0.0, steps=10).state_dict()["name"]
        ('linear(first=1.0, last=0.0, steps=10, after=0)', 'linear')
    """

    def __call__(self, count: int) -> float:
        """The value at a count.

        Raises:
            ValueError: the count is below 0.
        """
        if count < 0:
            raise ValueError(f"the count is {count}, expected what was counted so far, at least 0")
        return self._at(count)

    @abstractmethod
    def _at(self, count: int) -> float: ...

    def __str__(self) -> str:
        """The schedule as it is written by name."""
        told = [f"{item.name}={getattr(self, item.name)}" for item in self._fields()]
        return f"{type(self).__name__}({', '.join(told)})"

    __repr__ = __str__

    def state_dict(self) -> dict[str, Any]:
        """The name and the numbers of the schedule."""
        return {"name": type(self).__name__} | {
            item.name: getattr(self, item.name) for item in self._fields()
        }

    def _fields(self) -> tuple[Field[Any], ...]:
        return fields(cast(Any, self))


@dataclass(frozen=True, repr=False)
class constant(Schedule):  # noqa: N801
    """A value that stays.

    Raises:
        ValueError: it is no finite number.

    Example:
        >>> constant(0.99)(10_000)
        0.99
    """

    value: float

    def __post_init__(self) -> None:
        _check_number("value", self.value)

    def _at(self, count: int) -> float:
        return self.value


@dataclass(frozen=True, repr=False)
class Annealed(Schedule):
    """A value that goes from `first` to `last`: `share = clip((count − after) / steps, 0, 1)` of the way.

    Args:
        first: the value until `after`, and at it.
        last: the value from `after + steps` on.
        steps: how long it takes, at least 1.
        after: how long it stays at `first` before (a warm-up), at least 0.

    Raises:
        ValueError: one of these is out of its range.
    """

    first: float
    last: float
    steps: int
    after: int = 0

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 1)
        check_whole("after", self.after, 0)
        for name, value in (("first", self.first), ("last", self.last)):
            _check_number(name, value)
            self._check(name, value)

    def _check(self, name: str, value: float) -> None:
        """Raise a ValueError where the rule does not take `value` as its `first` or `last`."""

    def _at(self, count: int) -> float:
        share = (count - self.after) / self.steps
        if share <= 0:
            return self.first
        return self.last if share >= 1 else self._between(share)

    @abstractmethod
    def _between(self, share: float) -> float: ...


class linear(Annealed):  # noqa: N801
    """A value on a straight line: `first + share · (last − first)`, `share` as `Annealed` says.

    Epsilon, with `after` the warm-up (Dopamine's `linearly_decaying_epsilon`), and the exponent of the importance
    weights (Schaul et al., "Prioritized Experience Replay", ICLR 2016).

    Example:
        >>> epsilon = linear(1.0, 0.01, steps=5_000, after=1_600)
        >>> epsilon(0), epsilon(1_600), epsilon(4_100), epsilon(100_000)
        (1.0, 1.0, 0.505, 0.01)
        >>> epsilon
        linear(first=1.0, last=0.01, steps=5000, after=1600)
    """

    def _between(self, share: float) -> float:
        return self.first + share * (self.last - self.first)


class exponential(Annealed):  # noqa: N801
    """A value whose logarithm is on a straight line: `first · (last / first)^share`.

    BBF's n-step is `exponential(10, 3, steps=10_000)`, rounded as `whole` does, of the gradient steps since the last
    reset (Schwarzer et al., "Bigger, Better, Faster", ICML 2023; `exponential_decay_scheduler` of its code).

    Example:
        >>> n_step = exponential(10, 3, steps=10_000)
        >>> [whole(n_step(count)) for count in (0, 2_500, 5_000, 7_500, 10_000)]
        [10, 7, 5, 4, 3]
    """

    def _check(self, name: str, value: float) -> None:
        if value <= 0:
            raise ValueError(f"{name} is {value!r}, expected a number above 0")

    def _between(self, share: float) -> float:
        return cast(float, self.first * (self.last / self.first) ** share)


class horizon(Annealed):  # noqa: N801
    """A discount whose horizon grows exponentially: `1 − (1 − first) · ((1 − last) / (1 − first))^share`.

    The logarithm of `1 − discount` is on a straight line, and with it that of the horizon `1 / (1 − discount)`. That
    is the rule of BBF's code (the same scheduler, reversed), from 0.97 to 0.997 in 10,000 gradient steps: what is
    annealed is one minus the discount, not the discount.

    Example:
        >>> discount = horizon(0.97, 0.997, steps=10_000)
        >>> [round(1 / (1 - discount(count)), 1) for count in (0, 5_000, 10_000)]
        [33.3, 105.4, 333.3]
    """

    def _check(self, name: str, value: float) -> None:
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}, expected a discount in [0, 1)")

    def _between(self, share: float) -> float:
        return cast(float, 1 - (1 - self.first) * ((1 - self.last) / (1 - self.first)) ** share)


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (constant, linear, exponential, horizon)
}


def read_schedule(setting: float | str | Mapping[str, Any]) -> Schedule:
    """A schedule from how it is written, from its state, or from a number, which stays what it is.

    Raises:
        ValueError: it is none of these, or there is no schedule of this name.

    Example:
        >>> read_schedule("linear(first=1.0, last=0.1, steps=10)")(5)
        0.55
        >>> read_schedule(linear(1.0, 0.1, 10).state_dict())
        linear(first=1.0, last=0.1, steps=10, after=0)
        >>> read_schedule(0.99)
        constant(value=0.99)
    """
    value = read_value(setting) if isinstance(setting, str) else setting
    if isinstance(value, Call):
        return _made(value.name.replace("-", "_"), value.positional, dict(value.settings))
    if isinstance(value, Mapping):
        return _made(str(value.get("name")), (), {name: value[name] for name in value if name != "name"})
    return constant(cast(float, value))


def whole(value: float) -> int:
    """The nearest whole number, as an n-step is taken from a schedule (halves to even).

    Example:
        >>> whole(9.999), whole(3.0)
        (10, 3)
    """
    return round(value)


def _made(name: str, positional: Sequence[Any], settings: Mapping[str, Any]) -> Schedule:
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    kind = SCHEDULES[name]
    names = [item.name for item in fields(cast(Any, kind))]
    if len(positional) > len(names) or settings.keys() - set(names[len(positional) :]):
        given = [*positional, *settings]
        raise ValueError(f"{given} do not fit {name}({', '.join(names)})")
    try:
        return kind(*positional, **settings)
    except TypeError as error:
        raise ValueError(f"a setting of {name}({', '.join(names)}) is missing: {error}") from None


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, expected a finite number")
