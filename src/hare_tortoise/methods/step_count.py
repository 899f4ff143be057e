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

    def add(self, skipped: Tensor | None = None) -> int | Tensor:
        """Count a step, and give its number: an int, or where skips are not known a scalar on the device."""
        self.at_most += 1
        if skipped is not None:
            if self._skips is None:
                # MPS has no float64; float32 counts to 16 million between two reads.
                dtype = torch.float32 if skipped.device.type == "mps" else torch.float64
                self._skips = torch.zeros((), dtype=dtype, device=skipped.device)
            self._skips.add_(skipped.reshape(()) != 0)
        return self.at_most if self._skips is None else self.at_most - self._skips

    def read(self) -> int:
        """The number of counted steps; waits for the device if skips were counted there."""
        if self._skips is not None:
            self.at_most -= int(self._skips)
            self._skips = None
        return self.at_most
