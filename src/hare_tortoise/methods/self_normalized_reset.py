"""Self-Normalized Resets: a unit that is silent for longer than it ever is, is reset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change
from .schedules import check_interval
from .support.every import Every
from .support.fresh import Fresh
from .support.taps import Statistic
from .support.unit_method import UnitMethod
from .support.units import Units


class SelfNormalizedReset(UnitMethod):
    """Reset units that are silent for longer than they ever are: incoming weights `← fresh`, outgoing weights `← 0`.

    A unit fires in an optimizer step if any of its activations (over the batch and its positions) is above
    `fires_above`; its age is the number of steps since. A silence is the age that a unit had when it fired again,
    if above zero, or when it was reset. After each step, each `every` steps and each `renew_every` steps:

        age_i ← 0 if unit i fires, else age_i + 1
        age_i ≥ limit_i:  reset unit i
        q_i = the least number of steps that `percentile` of its silences since the last renewal do not exceed
        limit_i ← q_i if q_i < limit_i, else 2·limit_i, at most tau_max

    Limits start at `tau_max`; a unit that has ended no silence gets 1. So a unit that fires in each step is suspect
    after one step of silence, and one that fires rarely is given time. Averages of a chain get the same change with
    the same draw.

    The paper's algorithm compares the age with the distribution of silences; limits and their doubling are those of
    the authors' code, which counts samples and not steps (its 20,000 at a batch of 100 are the 200 of `tau_max`), looks
    after every step (`every=1` here, at the cost of waiting for the device in each) and renews after 16 tasks. The
    percentile is the default of that code; the experiments use 0.92 to 0.99. Paper: not verified against its text.

    Args:
        model: any network of linear and convolutional layers; those that cannot be paired are named in a warning.
        optimizer: its optimizer(s), whose state for weights of units that are reset is cleared.
        percentile: share of a unit's silences that its limit covers, above 0, at most 1.
        tau_max: the limit at the start, and the highest, in optimizer steps, at least 1; a histogram of as many
            counts is kept for each unit.
        every: optimizer steps from one look for units to reset to the next, at least 1.
        renew_every: optimizer steps from one renewal of the limits to the next, at least 1.
        fires_above: what an activation must exceed for the unit to fire; 0 is the paper's, for ReLU.
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
        seed: of the draws.

    Raises:
        ValueError: for a bad setting; without `fresh`, for parameters that no `reset_parameters` initialises, by
            name; at the first forward in training, for a network without any such units.
        TypeError: `fresh` is not a function.

    References:
        Farias and Jozefiak, "Self-Normalized Resets for Plasticity in Continual Learning", ICLR 2025, arXiv
        2410.20098.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> _ = nn.init.constant_(model[0].bias[:1], -100.0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> method = SelfNormalizedReset(model, optimizer, tau_max=2, every=1)
        >>> for _ in range(2):
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> bool(model[0].bias[0] > -1), model[2].weight[0, 0].item()
        (True, 0.0)
    """

    statistics: tuple[Statistic, ...] = ("fired",)
    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {
        "tau_max": "interval",
        "every": "interval",
        "renew_every": "interval",
    }

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        percentile: float = 0.99,
        tau_max: int = 200,
        every: int = 16,
        renew_every: int = 1000,
        fires_above: float = 0.0,
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        _check_number("percentile", percentile, "above 0 and at most 1, such as 0.99")
        _check_number("fires_above", fires_above, "finite; 0 for ReLU")
        if not 0 < percentile <= 1:
            raise ValueError(
                f"percentile is {percentile!r}, expected a number above 0 and at most 1, such as 0.99"
            )
        self.percentile = float(percentile)
        self.tau_max = check_interval(tau_max, "tau_max")
        self.fires_above = float(fires_above)
        self._looks = Every(every)
        self._renewals = Every(check_interval(renew_every, "renew_every"))
        super().__init__(model, optimizer, fresh=fresh, seed=seed)

    @property
    def steps(self) -> int:
        """The number of optimizer steps that counted; waits for the device where a scaler may skip some."""
        return self._looks.steps

    def start(self, units: Units, device: torch.device) -> dict[str, Tensor]:
        """Ages, limits and a histogram of silences for each unit of a set."""
        return {
            "age": torch.zeros(units.size, dtype=torch.int64, device=device),
            "limit": torch.full((units.size,), self.tau_max, dtype=torch.int64, device=device),
            "silences": torch.zeros(units.size, self.tau_max + 1, dtype=torch.int32, device=device),
        }

    def shifts(self) -> Mapping[str, Tensor | float]:
        """What activations must exceed for a unit to fire, where that is not zero."""
        bound: Tensor | float = self.fires_above
        return {} if self.fires_above == 0 else dict.fromkeys(self.groups, bound)

    @torch.no_grad()
    def act(self, skipped: Tensor | bool | None) -> None:
        """Count ages; look for units to reset, and renew the limits, if it is time."""
        if skipped is True:
            return
        counts = None if not isinstance(skipped, Tensor) else skipped.reshape(()) == 0
        for name in self.groups:
            seen = self.observation(name)
            if seen is not None and seen.fired is not None:
                count_ages(self.memory[name], seen.fired, counts)
        if self._looks.due(skipped):
            chosen = {name: end_silences(self.memory[name]) for name in self.groups}
            self.reset_units(chosen)
        if self._renewals.due(skipped):
            for name in self.groups:
                renew(self.memory[name], self.percentile)

    def weights_changed(self, change: Change) -> None:
        """Forget ages and silences of a network that another member of the chain has replaced."""
        if change.whole:
            for kept in self.memory.values():
                kept["age"].zero_()
                kept["silences"].zero_()
                kept["limit"].fill_(self.tau_max)

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the count of steps is a part of it."""
        return super().state_dict() | {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._looks.restart(int(state["steps"]))
        self._renewals.restart(int(state["steps"]))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method, with the same `tau_max`."""
        super().check_state(state)
        if "steps" not in state:
            raise ValueError("state lacks 'steps': give what SelfNormalizedReset.state_dict() gave")
        lengths = {kept["silences"].shape[1] - 1 for kept in state["memory"].values()}
        if lengths - {self.tau_max}:
            raise ValueError(
                f"tau_max is {self.tau_max}, but the state was saved with {lengths.pop()}: build the method with that"
            )


def count_ages(kept: Mapping[str, Tensor], fired: Tensor, counts: Tensor | None = None) -> None:
    """Set the ages after a step: `age ← 0 if fired else age + 1`; where a unit fires, its silence has ended.

    Args:
        kept: ages and silences of a set of units.
        fired: which of them have fired, shape (units,).
        counts: whether the step was taken, a boolean scalar on the device; None: it was.
    """
    age, silences = kept["age"], kept["silences"]
    one = 1 if counts is None else counts.to(age.dtype)
    fired = fired if counts is None else fired & counts
    silences.scatter_add_(1, age.unsqueeze(1), fired.unsqueeze(1).to(silences.dtype))
    # No limit is above the end of the histogram, so that no older age makes a difference.
    age.add_(one).clamp_(max=silences.shape[1] - 1).masked_fill_(fired, 0)


def end_silences(kept: Mapping[str, Tensor]) -> Tensor:
    """End the silences of units that are silent for too long; which ones, shape (units,)."""
    age, silences = kept["age"], kept["silences"]
    due = age >= kept["limit"]
    silences.scatter_add_(1, age.unsqueeze(1), due.unsqueeze(1).to(silences.dtype))
    age.masked_fill_(due, 0)
    return due


def renew(kept: Mapping[str, Tensor], percentile: float) -> None:
    """Take new limits from the silences, which are then forgotten.

    Args:
        kept: limits and silences of a set of units.
        percentile: share of the silences that a limit covers.
    """
    limit, silences = kept["limit"], kept["silences"]
    # The first place of the histogram holds firings right after another, which end no silence.
    within = silences[:, 1:].cumsum(1)
    dtype = torch.float32 if within.device.type == "mps" else torch.float64
    enough = within >= percentile * within[:, -1:].to(dtype) - 1e-6
    quantile = enough.to(torch.uint8).argmax(1) + 1
    doubled = (2 * limit).clamp(max=silences.shape[1] - 1)
    limit.copy_(torch.where(quantile < limit, quantile, doubled).masked_fill_(within[:, -1] == 0, 1))
    silences.zero_()


def _check_number(name: str, value: object, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, expected a number, {expected}")
