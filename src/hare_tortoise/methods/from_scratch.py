"""From scratch: a fresh network for each chunk of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .support.deployed import refuse_while_lent
from .support.fresh import Fresh, check_drawable, draw_fresh
from .support.names import named_weights, write
from .support.sharding import reshard


class FromScratch(Method):
    """Start with a newly initialised network at each arrival of data: `θ ← φ`, `φ` a fresh draw.

    The reference that the other methods are compared with. All parameters and buffers are replaced, in place,
    frozen ones included. The average of a chain becomes a copy of the new network and begins anew; outside a
    chain averages do not follow.

    Args:
        model: any network.
        optimizer: its optimizer(s); the state is not touched. Build a new one for the new network, or chain with
            `OptimizerReset`.
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of each module.
        seed: of the draws.

    Raises:
        ValueError: without `fresh`, for parameters that no `reset_parameters` initialises, by name; at
            `new_data()`, if `fresh` builds another network.
        TypeError: `fresh` is not a function.

    References:
        Ash and Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020 (there: random initialization).

    Example:
        >>> model = nn.Linear(2, 1)
        >>> before = model.weight.detach().clone()
        >>> FromScratch(model).new_data()
        >>> bool((model.weight == before).any())
        False
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh"})

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, seed=seed)
        check_drawable(model, fresh)
        self.fresh = fresh
        if optimizer is not None:
            self.attach(optimizer)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Replace the network by a fresh one."""
        refuse_while_lent(self.model, "new_data()")
        self._renew()

    def _renew(self) -> None:
        """`θ ← φ`, here and, told of it, in the averages of a chain."""
        reshard(self.model)
        phi = draw_fresh(self.model, self.fresh, self.generator)

        def apply(weights: Mapping[str, Tensor]) -> None:
            for name, theta in weights.items():
                write(theta, phi[name])

        apply(named_weights(self.model))
        self.changed(Change(apply, whole=True))
