"""Means over the last steps, kept where the values are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class RecentMeans:
    """Means of several series over the last `window` values, without asking the device for any.

    Args:
        window: how many values the means look back.

    >>> means = RecentMeans(window=2)
    >>> for value in (5.0, 1.0, 3.0):
    ...     means.add(torch.tensor([value, -value]))
    >>> means.means().tolist(), means.count.item()
    ([2.0, -2.0], 3)
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.count = torch.zeros((), dtype=torch.int64)
        self._values: Tensor | None = None

    def add(self, values: Tensor, skipped: Tensor | None = None) -> None:
        """Take a value for each series, unless one is not finite or the step was skipped.

        Args:
            values: shape (series,).
            skipped: a scalar on the device, not zero where the values do not count.
        """
        if self._values is None:
            self._values = values.new_zeros(len(values), self.window)
        self._values, self.count = self._values.to(values), self.count.to(values.device)
        counts = values.isfinite().all()
        if skipped is not None:
            counts = counts & (skipped.reshape(()) == 0)
        place = (self.count % self.window).reshape(1)
        before = self._values.index_select(1, place)
        self._values.index_copy_(1, place, torch.where(counts, values[:, None], before))
        self.count = self.count + counts

    def means(self) -> Tensor | None:
        """Return the mean of each series, shape (series,); None before the first value."""
        if self._values is None:
            return None
        return self._values.sum(1) / self.count.clamp(1, self.window)

    def state_dict(self) -> dict[str, Any]:
        """Return the values and their count."""
        return {"values": None if self._values is None else self._values.clone(), "count": self.count.clone()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take up saved values."""
        values = state["values"]
        self._values = None if values is None else values.to(device, copy=True)
        self.count = state["count"].to(device, copy=True)
