"""Full reset: a fresh network every so many steps, against the primacy bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from .from_scratch import FromScratch
from .method import Batches, Loss
from .support.deployed import refuse_while_lent
from .support.every import Every, OptimizerState, check_optimizer_state, refuse_ignored
from .support.fresh import Fresh
from .support.optimizer_state import clear_state


class FullReset(FromScratch):
    """Replace the network by a fresh one after each `every`-th optimizer step: `θ ← φ`, `φ` a new draw.

    Meant for training on a replay buffer that is kept, where the new network soon learns from all of it. It acts
    by the count of steps and does nothing at `new_data()`; `FromScratch` does the same to the weights at
    `new_data()`, and only there. All parameters and buffers are replaced, in place, frozen ones included. The
    average of a chain becomes a copy of the new network and begins anew, counts at zero; outside a chain averages
    do not follow (a target network must be reset too: make it the tortoise of a chain).

    Args:
        model: any network.
        optimizer: its optimizer(s).
        every: counted optimizer steps from reset to reset, at least 1. The authors: 200,000 steps for SAC on
            states, 100,000 for DrQ on pixels.
        optimizer_state: "reset": the next steps are bit for bit those of a newly built optimizer of the same class
            and groups (the authors build all anew); or "keep".
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of each module.
        seed: of the draws.

    Raises:
        ValueError: `every` is no whole number or below 1; another word for `optimizer_state`; "reset" without an
            optimizer, at the first step; without `fresh`, for parameters that no `reset_parameters` initialises,
            by name; at a reset, if `fresh` builds another network.
        TypeError: `fresh` is not a function.

    References:
        Nikishin et al., "The Primacy Bias in Deep Reinforcement Learning", ICML 2022, arXiv 2205.07802.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> before = model.weight.detach().clone()
        >>> method = FullReset(model, every=2, optimizer_state="keep")
        >>> method.after_step()
        >>> bool((model.weight == before).all())
        True
        >>> method.after_step()
        >>> bool((model.weight == before).any())
        False
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"every": "interval"}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        every: int,
        optimizer_state: OptimizerState = "reset",
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        check_optimizer_state(optimizer_state)
        self._every = Every(every)
        super().__init__(model, fresh=fresh, seed=seed)
        self.optimizer_state = optimizer_state
        if optimizer is not None:
            self.attach(optimizer)

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Count the step, and replace the network if it is time."""
        refuse_while_lent(self.model, "a step")
        refuse_ignored(self.optimizer_state, self.optimizers)
        if self._every.due(skipped):
            self._renew()
            if self.optimizer_state == "reset":
                for optimizer in self.optimizers:
                    clear_state(optimizer)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Do nothing: the resets go by the count of steps."""

    @property
    def steps(self) -> int:
        """The number of optimizer steps that counted; waits for the device where a scaler may skip some."""
        return self._every.steps

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the count of steps is a part of it."""
        return super().state_dict() | {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._every.restart(int(state["steps"]))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method."""
        super().check_state(state)
        if "steps" not in state:
            raise ValueError("state lacks 'steps', the count of a FullReset: give what its state_dict() gave")
