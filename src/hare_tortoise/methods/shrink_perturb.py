"""Shrink & Perturb: move part of the way to a fresh network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Change, Loss
from .support.anchored import Anchored
from .support.deployed import refuse_while_lent
from .support.fresh import Fresh, check_drawable, check_fresh, draw_fresh
from .support.names import local, named_weights
from .support.sharding import reshard
from .support.values import share, snapshot

Noise = Literal["fresh", "initial"]


class ShrinkPerturb(Anchored):
    """Shrink the weights and add noise at each arrival of data: `θ ← shrink·θ + perturb·φ`.

    `φ` are the weights of a freshly initialised network (Ash and Adams), so that each tensor has noise of its own
    scale, or with `noise="initial"` always the same, those that the model had when the method was built: with
    `perturb = 1 − shrink` this is the convex form used beside Hare & Tortoise networks. All parameters that
    require a gradient take part. Buffers stay: the running statistics of a BatchNorm are renewed by training.
    The average of a chain is moved by the same equation with the same `φ`; outside a chain averages do not follow.

    The defaults are the factors of the code of Hare & Tortoise, which takes initial noise; the noise is that of Ash and
    Adams, whose code has `shrink=0.4, perturb=0.1`. Found elsewhere: 0.8 and 0.2 (SR-SPR), 0.5 and 0.5 (BBF).

    Args:
        model: any network.
        optimizer: its optimizer(s); the state is not touched.
        shrink: factor of the old weights, from 0 to 1.
        perturb: factor of the noise, finite and at least 0. `shrink=1, perturb=0` changes nothing.
        noise: "fresh", drawn anew each time, or "initial".
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of each module. It is
            called for fresh noise only.
        seed: of the draws.

    Raises:
        ValueError: for a factor out of its range or another word for the noise; without `fresh`, for parameters
            that no `reset_parameters` initialises, by name; at `new_data()`, if `fresh` builds another network.
        TypeError: `fresh` is not a function.
        RuntimeError: at `new_data()` with initial noise, if layers were removed or renamed meanwhile.

    References:
        Ash and Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> method = ShrinkPerturb(model, shrink=0.5, perturb=0.5, noise="initial")
        >>> start = model.weight.item()
        >>> _ = model.weight.data.add_(2.0)
        >>> method.new_data()
        >>> round(model.weight.item() - start, 6)
        1.0
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh"})

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        shrink: float = 0.2,
        perturb: float = 0.8,
        noise: Noise = "fresh",
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= shrink <= 1:
            raise ValueError(
                f"shrink is {shrink}, expected a number from 0 to 1: the share of θ that is kept"
            )
        if not (math.isfinite(perturb) and perturb >= 0):
            raise ValueError(f"perturb is {perturb}, expected a finite number of at least 0")
        if noise not in get_args(Noise):
            raise ValueError(f'noise is {noise!r}, expected "fresh" or "initial"')
        super().__init__(model, seed=seed)
        if noise == "fresh":
            check_drawable(model, fresh, _trained(model))
        else:
            check_fresh(fresh)
        self.shrink, self.perturb = shrink, perturb
        self.noise = noise
        self.fresh = fresh
        self.theta0 = snapshot(model, _trained(model)) if noise == "initial" else {}
        if optimizer is not None:
            self.attach(optimizer)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Shrink the weights and add the noise."""
        refuse_while_lent(self.model, "new_data()")
        reshard(self.model)
        present, phi = self._present(), self._noise()

        @torch.no_grad()
        def apply(weights: Mapping[str, Tensor]) -> None:
            # In order: writing to a sharded weight may be a collective call. An average may lack some.
            for name in filter(weights.__contains__, phi):
                theta, noise = local(weights[name]), share(weights[name], phi[name])
                theta.copy_(self.shrink * theta.to(noise.dtype) + self.perturb * noise)

        apply(present)
        self.changed(Change(apply))

    def _noise(self) -> Mapping[str, Tensor]:
        if self.noise == "initial":
            return self.theta0
        return draw_fresh(self.model, self.fresh, self.generator, only=_trained(self.model))


def _trained(model: nn.Module) -> list[str]:
    """Canonical names of the parameters that require a gradient."""
    return [name for name, tensor in named_weights(model).items() if tensor.requires_grad]
