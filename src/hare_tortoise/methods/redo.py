"""ReDo: units that hardly ever say anything are recycled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from .support.every import Every
from .support.fresh import Fresh
from .support.unit_method import UnitMethod


class ReDo(UnitMethod):
    """Recycle dormant units, every so many steps: incoming weights `← fresh`, outgoing weights `← 0`.

    With `E` over the batch (and its positions) of the step in which units are looked for, unit `i` of a layer is
    dormant if

        E|h_i| ≤ threshold · mean_k E|h_k|

    Incoming weights, biases and normalisation of dormant units are redrawn by the layer's own initialiser, their
    outgoing weights are zeroed, and the optimizer forgets what it has gathered about these weights. The averages
    of a chain get the same change with the same draw.

    Where sources differ: the public implementations look at a batch of their own after the step, here it is the
    batch of the step, as the network was before it; they add 1e-9 to the mean, here nothing is divided (a layer that
    says nothing at all is recycled whole, as with them); they zero the bias, here it is drawn as the weights are. The
    step count of Adam, which belongs to whole tensors, stays (one of them zeroes it).

    Args:
        model: any network of linear and convolutional layers; those that cannot be paired are named in a warning.
        optimizer: its optimizer(s), whose state for recycled weights is cleared.
        threshold: share of the layer's mean at or below which a unit is dormant, at least 0.
        every: optimizer steps from one look to the next, at least 1.
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
        seed: of the draws.

    Raises:
        ValueError: for a bad setting; without `fresh`, for parameters that no `reset_parameters` initialises, by
            name; at the first forward in training, for a network without any such units.
        TypeError: `fresh` is not a function.

    References:
        Sokar et al., "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", ICML 2023, arXiv 2302.12902.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> _ = nn.init.constant_(model[0].bias[:1], -100.0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> method = ReDo(model, optimizer, every=1)
        >>> model(torch.randn(8, 2)).sum().backward()
        >>> optimizer.step()
        >>> bool(model[0].bias[0] > -1), model[2].weight[0, 0].item()
        (True, 0.0)
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"every": "interval"}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        threshold: float = 0.025,
        every: int = 1000,
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        check_threshold(threshold)
        self.threshold = threshold
        self._looks = _Looks(every)
        super().__init__(model, optimizer, fresh=fresh, seed=seed)

    @property
    def every(self) -> int:
        """Optimizer steps from one look to the next."""
        return self._looks.every

    @property
    def steps(self) -> int:
        """The number of optimizer steps that counted; waits for the device where a scaler may skip some."""
        return self._looks.steps

    def observing(self) -> bool:
        """Whether units may be looked for after the step that comes."""
        return self._looks.may_be_due

    def act(self, skipped: Tensor | bool | None) -> None:
        """Recycle what is dormant, if it is time."""
        if self._looks.due(skipped):
            self.reset_units({name: self.dormant(seen) for name, seen in self.activities().items()})

    def activities(self) -> dict[str, Tensor]:
        """How active units were, by set, each of shape (units,), without the sets of which nothing was seen."""
        found = {name: self.activity(name) for name in self.groups}
        return {name: seen for name, seen in found.items() if seen is not None}

    def activity(self, name: str) -> Tensor | None:
        """How active the units of a set were, shape (units,); None: nothing was seen of them."""
        seen = self.observation(name)
        return None if seen is None else seen.magnitude

    def dormant(self, activity: Tensor) -> Tensor:
        """Which units are dormant, given how active they and the others of their set were, shape (units,)."""
        return activity <= self.threshold * activity.mean()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the count of steps is a part of it."""
        return super().state_dict() | {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._looks.restart(int(state["steps"]))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method."""
        super().check_state(state)
        if "steps" not in state:
            raise ValueError(f"state lacks 'steps': give what {type(self).__name__}.state_dict() gave")


class _Looks(Every):
    """Tells beforehand, too, whether it may be time after the step that comes."""

    @property
    def may_be_due(self) -> bool:
        return self._steps.at_most + 1 >= self._next


def check_threshold(threshold: object) -> None:
    """Raise a ValueError unless a threshold is a finite number, at least 0."""
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= float(threshold) < math.inf:
        raise ValueError(
            f"threshold is {threshold!r}, expected a finite number, at least 0: a share of the layer's mean"
        )
