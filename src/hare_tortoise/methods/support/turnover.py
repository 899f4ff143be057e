"""How many units of a layer are due for replacement at which step, known without asking the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# Sums of a rate come out a little below or above the whole number that they stand for.
_ROUNDING = 1e-9


class Turnover:
    """Counts what is owed: `owed ← owed + rate · mature` at each step; units are due when at least one is owed.

    A unit is mature at a step if its age is above `maturity`; its age is 1 at the first step, and at the step
    after it was replaced. How many are mature follows from when how many were replaced.

    Args:
        size: the number of units.
        rate: the share of the mature units that is replaced per step, from 0 to 1.
        maturity: in steps, at least 0.
        start: the step after which counting starts, when all units are new.

    >>> turnover = Turnover(size=10, rate=0.05, maturity=3)
    >>> turnover.due  # all are mature from step 4 on, at which half a unit is owed
    5
    >>> turnover.take(), turnover.due  # nine are mature from step 6 on, 0.45 of a unit each
    (1, 8)
    """

    def __init__(self, size: int, rate: float, maturity: int, *, start: int = 0) -> None:
        self.size = size
        self.rate = rate
        self.maturity = maturity
        self._step = start
        self._owed = 0.0
        self._replaced: list[tuple[int, int]] = [(start, size)]
        self._look_ahead()

    def take(self) -> int:
        """The number of units due at the step `due`, which count as replaced then; how many are due next is found."""
        if self.due is None:
            return 0
        self._step, owed = self.due, self._owed_then
        count = math.floor(owed + _ROUNDING)
        self._owed = owed - count
        self._replaced = [*self._young(self._step), (self._step, count)]
        self._look_ahead()
        return count

    def _young(self, step: int) -> list[tuple[int, int]]:
        """Which were replaced so late that they are not mature at the step that follows."""
        return [(at, count) for at, count in self._replaced if at + self.maturity > step]

    def _look_ahead(self) -> None:
        """Find the step at which units are due, `due`; None: never."""
        step, owed = self._step, self._owed
        self.due: int | None = None
        self._owed_then = 0.0
        while self.rate > 0 and self.size > 0:
            young = self._young(step)
            gain = self.rate * (self.size - sum(count for _, count in young))
            # Up to this step no more units mature.
            last = min((at + self.maturity for at, _ in young), default=None)
            if gain > 0:
                steps = max(1, math.ceil((1 - owed) / gain - _ROUNDING))
                if last is None or step + steps <= last:
                    self.due, self._owed_then = step + steps, owed + gain * steps
                    return
            if last is None:
                return
            step, owed = last, owed + gain * (last - step)

    def state_dict(self) -> dict[str, Any]:
        """Numbers and lists."""
        return {"step": self._step, "owed": self._owed, "replaced": [list(pair) for pair in self._replaced]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._step, self._owed = int(state["step"]), float(state["owed"])
        self._replaced = [(int(at), int(count)) for at, count in state["replaced"]]
        self._look_ahead()
