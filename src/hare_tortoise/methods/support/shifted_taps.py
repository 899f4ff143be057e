"""Watching how far the activations of units are from a value: from what is expected of them, or from a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .names import unwrap
from .taps import Taps
from .unit_method import UnitMethod
from .unit_types import Tap


class ShiftedTaps(Taps):
    """Taps that see `h − shift` where others see `h`."""

    shifts: Mapping[str, Tensor | float]

    @torch.no_grad()
    def add(self, name: str, tap: Tap, value: Tensor) -> None:
        """Add up what was seen, less what belongs to each unit."""
        value = value.detach() if tap.function is None else tap.function(value.detach())
        shift = self.shifts[name]
        if isinstance(shift, Tensor):
            shape = [1] * value.ndim
            shape[tap.dim] = -1
            shift = shift.repeat_interleave(tap.repeat).reshape(shape)
        dtype = torch.promote_types(value.dtype, torch.float32)
        super().add(name, replace(tap, function=None), value.to(dtype) - shift)


class ShiftedUnitMethod(UnitMethod):
    """A method that may watch `h − shift` instead of `h`, for which it overrides `shifts`."""

    def shifts(self) -> Mapping[str, Tensor | float] | None:
        """What is taken from the activations, by name of the set: a number, or shape (units,); None: nothing."""
        return None

    def _forward_begins(self, args: Any, kwargs: Any) -> None:
        super()._forward_begins(args, kwargs)
        shifts = None if self._taps is None else self.shifts()
        if self._taps is None or shifts is None:
            return
        if not isinstance(self._taps, ShiftedTaps):
            self._taps.remove()
            self._taps = ShiftedTaps(unwrap(self.model), self.groups, self.observes, self.statistics)
            self._taps.begin(self.observing())
        self._taps.shifts = shifts
