"""Every so many optimizer steps: when it is time, and whether an optimizer then forgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.optim import Optimizer

from hare_tortoise.methods.schedules import check_interval

from .step_count import StepCount

OptimizerState = Literal["keep", "reset"]


class Every:
    """Tells after which optimizer steps it is time, where some steps may have been skipped.

    Args:
        every: steps from one time to the next, at least 1.
        counted: steps that were counted already.

    Raises:
        ValueError: `every` is no whole number, or below 1.

    >>> every = Every(2)
    >>> [every.due(), every.due(skipped=True), every.due(), every.due()]
    [False, False, True, False]
    """

    def __init__(self, every: int, counted: int = 0) -> None:
        self.every = check_interval(every, "every")
        self.restart(counted)

    def restart(self, counted: int) -> None:
        """Go on from a number of counted steps."""
        self._steps = StepCount(counted)
        self._next = counted - counted % self.every + self.every

    @property
    def steps(self) -> int:
        """The number of steps that counted; waits for the device where a scaler may skip some."""
        return self._steps.read()

    def due(self, skipped: Tensor | bool | None = None) -> bool:
        """Count a step, and tell whether it is time.

        Args:
            skipped: a scalar on the device, not zero where the step was skipped, or a bool; None: it was taken.
        """
        if skipped is True:
            return False
        self._steps.following(skipped.reshape(()) != 0 if isinstance(skipped, Tensor) else None)
        self._steps.add()
        # The device is asked only where enough steps may have been made.
        if self._steps.at_most < self._next or self._steps.read() < self._next:
            return False
        self._next += self.every
        return True


def check_optimizer_state(value: object) -> None:
    """Raise a ValueError for a word that says nothing about the state of an optimizer.

    >>> check_optimizer_state("keep")
    """
    if value not in ("keep", "reset"):
        raise ValueError(f'optimizer_state is {value!r}, expected "keep" or "reset"')


def refuse_ignored(optimizer_state: OptimizerState, optimizers: Sequence[Optimizer]) -> None:
    """Raise a ValueError where an optimizer's state is to be reset and no optimizer is attached.

    >>> refuse_ignored("keep", ())
    """
    if optimizer_state == "reset" and not optimizers:
        raise ValueError(
            'optimizer_state is "reset" but no optimizer is attached, so it would be ignored: give the '
            'optimizer, or optimizer_state="keep"'
        )
