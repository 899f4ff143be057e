"""Continual Backprop: a small, steady share of the units is replaced, those of least use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from operator import index
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change
from .schedules import check_decay
from .support.fresh import Fresh
from .support.names import is_sharded, named_weights
from .support.sharding import reshard
from .support.step_count import StepCount
from .support.turnover import Turnover
from .support.unit_method import UnitMethod
from .support.units import Units
from .support.values import whole

Utility = Literal["contribution", "adaptable-contribution"]


class ContinualBackprop(UnitMethod):
    """Replace units of low utility, a few at a time: incoming weights `← fresh`, outgoing weights `← 0`.

    After every optimizer step, with `E` over its batch (and positions), `Σ` over the weights of a unit as they are
    after the step, and `ĥ` the running mean of its activation in the steps before:

        y_i = E|h_i| · Σ|w_out,i|                              "contribution"
        y_i = E|h_i − ĥ_i| · Σ|w_out,i| / Σ|w_in,i|            "adaptable-contribution"
        age_i ← age_i + 1
        u_i   ← decay · u_i + (1 − decay) · y_i
        owed  ← owed + replacement_rate · #{i: age_i > maturity}        for each layer

    As soon as one unit is owed, the one of lowest `u_i / (1 − decay^age_i)` among the mature is replaced (as many as
    are owed, and `owed` falls by them); its age, utility and running mean start again at zero. How many are due is
    known without asking the device. Averages of a chain get the same change with the same draw.

    Where sources differ: "contribution" is the utility of the Nature paper and its code, "adaptable-contribution" that
    of the first paper. There `ĥ = f / (1 − decay^age)` with `f` of the steps before, as here; the code takes the
    present step in. The bias correction of `u` is the first paper's and the code's. The code has means where the
    papers have sums, which ranks alike. It is written to add the mean output of a replaced unit to the next
    bias, but has set that mean to zero by then; here, as in its later files, the bias stays. Where several layers read
    or make a unit (residual connections) the sums go over all of them; of a flattened channel, over all its positions.
    A unit all of whose incoming weights are zero has the adaptable contribution zero.

    Args:
        model: any network of linear and convolutional layers; those that cannot be paired are named in a warning.
        optimizer: its optimizer(s), whose state for weights of replaced units is cleared.
        replacement_rate: share of the mature units of a layer that is replaced per step, from 0 to 1. The defaults are
            the authors' for permuted MNIST; for ImageNet pairs they have 3e-4, for CIFAR 1e-5 and a maturity of 1000.
        maturity: steps for which a replaced unit is safe, and all units at the start, at least 0.
        decay: of the running utility, in [0, 1).
        utility: "contribution" or "adaptable-contribution".
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
        seed: of the draws.

    Raises:
        ValueError: for a bad setting; without `fresh`, for parameters that no `reset_parameters` initialises, by
            name; at the first forward in training, for a network without any such units.
        TypeError: `fresh` is not a function.

    References:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024; Dohare et al., "Continual
        Backprop: Stochastic Gradient Descent with Persistent Randomness", arXiv 2108.06325.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> _ = nn.init.constant_(model[0].bias[:1], -100.0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> method = ContinualBackprop(model, optimizer, replacement_rate=0.25, maturity=0)
        >>> model(torch.ones(8, 2)).sum().backward()
        >>> optimizer.step()
        >>> bool(model[0].bias[0] > -1), model[2].weight[0, 0].item()
        (True, 0.0)
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval", "rate"]]] = {
        "replacement_rate": "rate",
        "maturity": "interval",
        "decay": "decay",
    }

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        replacement_rate: float = 1e-4,
        maturity: int = 100,
        decay: float = 0.99,
        utility: Utility = "contribution",
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        check_decay(decay, "decay")
        if utility not in get_args(Utility):
            raise ValueError(f'utility is {utility!r}, expected "contribution" or "adaptable-contribution"')
        self.replacement_rate = _checked_rate(replacement_rate)
        self.maturity = _checked_maturity(maturity)
        self.decay = float(decay)
        self.utility: Utility = utility
        if utility == "adaptable-contribution":
            self.statistics = ("magnitude", "mean")
        self._steps = StepCount()
        self._turnovers: dict[str, Turnover] = {}
        super().__init__(model, optimizer, fresh=fresh, seed=seed)

    @property
    def steps(self) -> int:
        """The number of optimizer steps that counted; waits for the device where a scaler may skip some."""
        return self._steps.read()

    def start(self, units: Units, device: torch.device) -> dict[str, Tensor]:
        """Age and utility of each unit of a set, and the running mean of its activation where it is needed."""
        weight = named_weights(self.model)[units.incoming[0]]
        running = {"utility": None} if self.utility == "contribution" else {"utility": None, "mean": None}
        dtype = torch.promote_types(weight.dtype, torch.float32)
        zeros = {name: torch.zeros(units.size, dtype=dtype, device=device) for name in running}
        return {"age": torch.zeros(units.size, dtype=torch.int64, device=device)} | zeros

    def _remember(self, groups: Mapping[str, Units]) -> None:
        """Count from now on what is due among the units that were not there before."""
        super()._remember(groups)
        known, steps = self._turnovers, self.steps
        self._turnovers = {
            name: known[name]
            if name in known and known[name].size == units.size
            else self._turnover(units.size, steps)
            for name, units in groups.items()
        }

    def _turnover(self, size: int, start: int) -> Turnover:
        return Turnover(size, self.replacement_rate, self.maturity, start=start)

    def shifts(self) -> Mapping[str, Tensor | float]:
        """What is expected of each unit in the step that comes: `ĥ`."""
        return self._expected() if self.utility == "adaptable-contribution" else {}

    def _expected(self) -> dict[str, Tensor]:
        return {
            name: kept["mean"] / (1 - self.decay ** (kept["age"] + 1).to(kept["mean"].dtype))
            for name, kept in self.memory.items()
        }

    @torch.no_grad()
    def act(self, skipped: Tensor | bool | None) -> None:
        """Follow the utilities, and replace what is due."""
        if skipped is True:
            return
        flag = skipped.reshape(()) != 0 if isinstance(skipped, Tensor) else None
        self._follow(flag)
        self._steps.following(flag)
        self._steps.add()
        soonest = min((turnover.due for turnover in self._turnovers.values() if turnover.due), default=None)
        # Reading the count may lower it by the steps that were skipped: what is due then waits for as many.
        if soonest is not None and self._steps.at_most >= soonest and self.steps >= soonest:
            self.reset_units(
                {
                    name: self.chosen(name, turnover.take())
                    for name, turnover in self._turnovers.items()
                    if turnover.due == soonest
                }
            )

    def chosen(self, name: str, count: int) -> Tensor:
        """Choose the units of a set to replace, which start again at age zero: a mask of shape (units,)."""
        return lowest(self.memory[name], count, self.maturity, self.decay)

    def _follow(self, flag: Tensor | None) -> None:
        """Bring ages and running means up to date; where the flag is set nothing changes."""
        reshard(self.model)
        weights = named_weights(self.model)
        for name, units in self.groups.items():
            kept, seen = self.memory[name], self.observation(name)
            if seen is not None:
                use = seen.magnitude * sum(
                    by_column(weights[read.weight], read.repeat) for read in units.outgoing
                )
                if seen.mean is not None:
                    rows = torch.stack([by_row(weights[weight]) for weight in units.incoming])
                    use = per_weight(use, rows.sum(0))
                    self._average(kept["mean"], seen.mean, flag)
                self._average(kept["utility"], use, flag)
            kept["age"].add_(1 if flag is None else (~flag).to(kept["age"].dtype))

    def _average(self, running: Tensor, value: Tensor, flag: Tensor | None) -> None:
        """`running ← decay·running + (1 − decay)·value`."""
        value = value.to(running.dtype)
        running.lerp_(value if flag is None else torch.where(flag, running, value), 1 - self.decay)

    def weights_changed(self, change: Change) -> None:
        """Start anew with a network that another member of the chain has put in place of the old one."""
        if change.whole:
            for name, kept in self.memory.items():
                for tensor in kept.values():
                    tensor.zero_()
                self._turnovers[name] = self._turnover(len(kept["age"]), self.steps)

    def state_dict(self) -> dict[str, Any]:
        """Return the state; counts, and what is owed, are a part of it."""
        turnovers = {name: turnover.state_dict() for name, turnover in self._turnovers.items()}
        return super().state_dict() | {"steps": self.steps, "turnovers": turnovers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._steps = StepCount(int(state["steps"]))
        # Where a state was saved before units were found it tells of none.
        self._turnovers = {
            name: self._turnover(units.size, self.steps) for name, units in self.groups.items()
        }
        for name, saved in state["turnovers"].items():
            self._turnovers[name] = self._turnover(len(state["memory"][name]["age"]), 0)
            self._turnovers[name].load_state_dict(saved)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method, with the same utility."""
        super().check_state(state)
        missing = {"steps", "turnovers"} - state.keys()
        if missing:
            raise ValueError(
                f"state lacks {', '.join(sorted(missing))}: give what ContinualBackprop.state_dict() gave"
            )
        other = [
            name
            for name, kept in state["memory"].items()
            if ("mean" in kept) != (self.utility == "adaptable-contribution")
        ]
        if other:
            raise ValueError(
                f"utility is {self.utility!r}, but the state was saved with the other one: build the method with that"
            )


def lowest(kept: Mapping[str, Tensor], count: int, maturity: int, decay: float) -> Tensor:
    """Choose the units of lowest utility among the mature ones, which start again at age zero.

    Args:
        kept: ages, utilities and running means of a set of units.
        count: how many.
        maturity: in steps.
        decay: of the running utility.

    Returns:
        A boolean mask of shape (units,).

    >>> kept = {"age": torch.tensor([1, 9, 9, 9]), "utility": torch.tensor([0.0, 0.3, 0.1, 0.2])}
    >>> lowest(kept, 1, maturity=5, decay=0.9), kept["age"], kept["utility"]
    (tensor([False, False,  True, False]), tensor([1, 9, 0, 9]), tensor([0.0000, 0.3000, 0.0000, 0.2000]))
    """
    age, utility = kept["age"], kept["utility"]
    corrected = utility / (1 - decay ** age.to(utility.dtype))
    # What is not finite would sort behind those that are not mature, which would go in its place.
    corrected = corrected.nan_to_num(nan=torch.finfo(corrected.dtype).max)
    # Stable, so that of units alike (dead ones are) all processes choose the same.
    order = corrected.masked_fill(age <= maturity, float("inf")).argsort(stable=True)
    chosen = torch.zeros_like(age, dtype=torch.bool).index_fill_(0, order[:count], True)
    for tensor in kept.values():
        tensor.masked_fill_(chosen, 0)
    return chosen


def per_weight(use: Tensor, incoming: Tensor) -> Tensor:
    """Divide the use of units by the sizes of their incoming weights; a unit without any is of no use.

    >>> per_weight(torch.tensor([3.0, 0.0, 1.0]), torch.tensor([2.0, 0.0, 0.0]))
    tensor([1.5000, 0.0000, 0.0000])
    """
    return torch.where(incoming > 0, use / incoming, 0.0)


def by_row(weight: Tensor) -> Tensor:
    """Sums of absolute values for each place of the first dimension, at least in float32; whole, if sharded."""
    return _whole(weight.detach().abs().flatten(1).sum(1, dtype=_dtype(weight)))


def by_column(weight: Tensor, repeat: int) -> Tensor:
    """Sums of absolute values for every `repeat` places of the second dimension, at least in float32; whole."""
    # One dimension at a time: several times quicker on a CPU than a norm, or a sum over all of them.
    columns = _whole(weight.detach().abs().sum(0, dtype=_dtype(weight)))
    return columns if repeat == columns.ndim == 1 else columns.reshape(columns.shape[0] // repeat, -1).sum(1)


def _dtype(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _whole(sums: Tensor) -> Tensor:
    return whole(sums) if is_sharded(sums) else sums


def _checked_rate(rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 <= float(rate) <= 1:
        raise ValueError(
            f"replacement_rate is {rate!r}, expected a number from 0 to 1: the share of units replaced per step"
        )
    return float(rate)


def _checked_maturity(maturity: object) -> int:
    if isinstance(maturity, bool) or not isinstance(maturity, Integral) or maturity < 0:
        raise ValueError(f"maturity is {maturity!r}, expected a whole number of optimizer steps, at least 0")
    return index(maturity)
