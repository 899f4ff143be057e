"""Counting optimizer steps of which some may have been skipped, without asking the device at each."""

from __future__ import annotations

import torch
from torch import Tensor


class StepCount:
    """The number of steps that counted.

    Whether a step was skipped may be known on the device only. Skips are then summed there, and the sum is read
    when the count is needed: `counted = calls − skips`.
    """

    def __init__(self, counted: int = 0) -> None:
        self.at_most = counted
        self._skips: Tensor | None = None
        self._following: Tensor | None = None

    def following(self, skipped: Tensor | None = None) -> int | Tensor:
        """The number of the step that follows: an int, or where skips are not known a scalar on the device.

        Args:
            skipped: whether it was skipped, a boolean scalar on the device.
        """
        self._following = self._skips
        if skipped is not None:
            # MPS has no float64; float32 counts to 16 million between two reads.
            dtype = torch.float32 if skipped.device.type == "mps" else torch.float64
            self._following = skipped.to(dtype) if self._skips is None else self._skips + skipped
        return self.at_most + 1 if self._following is None else self.at_most + 1 - self._following

    def add(self) -> None:
        """Count the step whose number was asked for."""
        self.at_most += 1
        self._skips = self._following

    def read(self) -> int:
        """The number of counted steps; waits for the device if skips were counted there."""
        if self._skips is not None:
            self.at_most -= int(self._skips)
            self._skips = None
        return self.at_most
