"""The exponential moving average of the weights, without resets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import nn
from torch.optim import Optimizer

from .hare_tortoise import HareTortoise
from .schedules import Schedule
from .support.pairs import Treatment


class EMA(HareTortoise):
    """Average the weights and deploy the average; the trained network is left alone.

        average ← decay · average + (1 − decay) · weights

    It is `HareTortoise` without resets: `deployed` (or `tortoise`) is the average.

    Args:
        model: the network that is trained, wrapped or not.
        optimizer: the optimizer(s) that train it; without, call `after_step()` after each step.
        decay: in [0, 1), or a schedule; `1 / (1 − decay)` is the horizon of the average in steps.
        buffers: what is done with floating buffers: "average", "copy" or "none".
        tortoise: a module to be the average, which keeps its values and dtype; None: a copy of the model.
        share_frozen: parameters that require no gradient are shared instead of copied.
        check_every: look for NaN and infinities in the average every so many steps; None: never.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad argument; for a model that cannot be copied; at the first step for a second
            average of the same model outside a chain.
        RuntimeError: no later than at a save or an evaluation, if layers were replaced or grown.

    References:
        Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim.
        30(4), 1992; the exponential form as a control of Lee et al., arXiv 2406.02596.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> average = EMA(model, decay=0.9)
        >>> with torch.no_grad():
        ...     before = model.weight.item()
        ...     _ = model.weight.add_(1.0)
        >>> average.after_step()
        >>> round(average.deployed.weight.item() - before, 6)
        0.1
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"decay": "decay"}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        decay: float | Schedule = 0.999,
        buffers: Treatment = "average",
        tortoise: nn.Module | None = None,
        share_frozen: bool = False,
        check_every: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            decay=decay,
            reset_every=None,
            buffers=buffers,
            tortoise=tortoise,
            share_frozen=share_frozen,
            check_every=check_every,
            seed=seed,
        )
