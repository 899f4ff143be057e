"""Reset intervals that change with the steps."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self, cast

import torch
from torch import Tensor

from .schedules import Printed, Step, Value, check_positive


@dataclass(frozen=True, repr=False)
class portion(Printed):  # noqa: N801
    """A reset interval that is a share of the steps to come: `share · steps`, at least 1.

    Args:
        share: of the steps until the next `new_data`, above 0.
        steps: the number of these steps; `new_data(steps=...)` sets it.

    Raises:
        ValueError: for a value that is not positive; when called, if `steps` was never given.

    Example:
        >>> portion(0.1, steps=1000)(1), portion(0.1).for_steps(200)(1)
        (100.0, 20.0)
    """

    share: float
    steps: int | None = None

    def __post_init__(self) -> None:
        check_positive(self.share, "share")
        if self.steps is not None:
            check_positive(self.steps, "steps")

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        if self.steps is None:
            raise ValueError(
                "steps is None, expected a number: give portion(share, steps=...) or new_data(steps=...)"
            )
        return max(1.0, self.share * self.steps)

    def scaled(self, budget: float) -> Self:
        """The share is kept; the steps are scaled, if they are given already."""
        check_positive(budget, "budget")
        steps = self.steps
        return replace(self, steps=steps if steps is None else max(1, round(steps * budget)))

    def for_steps(self, steps: int) -> Self:
        """The same share of other steps."""
        return replace(self, steps=steps)


@dataclass(frozen=True, repr=False)
class geometric(Printed):  # noqa: N801
    """A reset interval that grows by a factor per `period` steps: `first · factor ^ (step / period)`.

    Args:
        first: the interval at step 0, in steps, above 0.
        factor: of growth, above 0; below 1 the resets become more frequent.
        period: in steps, above 0.

    Raises:
        ValueError: for a value that is not positive.

    Example:
        >>> geometric(first=100, factor=2.0, period=1000)(2000)
        400.0
        >>> geometric(first=100, factor=2.0, period=1000).scaled(0.1)
        geometric(first=10.0, factor=2.0, period=100.0)
    """

    first: float
    factor: float
    period: float

    def __post_init__(self) -> None:
        for item in fields(self):
            check_positive(getattr(self, item.name), item.name)

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        return cast(Value, self.first * self.factor ** (step / self.period))

    def scaled(self, budget: float) -> Self:
        """The interval and the period, both in steps, are scaled."""
        check_positive(budget, "budget")
        return type(self)(self.first * budget, self.factor, self.period * budget)


@dataclass(frozen=True, repr=False)
class switch(Printed):  # noqa: N801
    """A value that changes once: `before` until the step `at`, `after` beyond it. For reset intervals.

    Args:
        before: the interval in steps at first, above 0.
        after: the interval in steps later, above 0.
        at: the last step at which `before` holds, above 0.

    Raises:
        ValueError: for a value that is not positive.

    Example:
        >>> [switch(100, 1000, at=500)(step) for step in (1, 500, 501)]
        [100, 100, 1000]
    """

    before: float
    after: float
    at: float

    def __post_init__(self) -> None:
        for item in fields(self):
            check_positive(getattr(self, item.name), item.name)

    def __call__(self, step: Step) -> Value:
        """The value at a step."""
        if isinstance(step, Tensor):
            return torch.where(step > self.at, self.after, self.before)
        return self.after if step > self.at else self.before

    def scaled(self, budget: float) -> Self:
        """All three are in steps, and are scaled."""
        check_positive(budget, "budget")
        return type(self)(self.before * budget, self.after * budget, self.at * budget)
