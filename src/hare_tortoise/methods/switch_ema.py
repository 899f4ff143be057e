"""Switch EMA: the average becomes the network at the end of each epoch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from .hare_tortoise import HareTortoise
from .schedules import Schedule
from .support.pairs import Treatment


class SwitchEMA(HareTortoise):
    """Average the weights, and go on from the average at the end of each epoch.

        average ← decay · average + (1 − decay) · weights      after each step
        weights ← average                                      after each epoch of `reset_every` steps

    It is `HareTortoise` with the settings of its paper: a decay of 0.9999 and a reset each epoch. The state of
    the optimizer is kept, buffers are averaged.

    Args:
        model: the network that is trained, wrapped or not.
        optimizer: the optimizer(s) that train it; without, call `after_step()` after each step.
        reset_every: the optimizer steps of an epoch, at least 1, or a schedule; None: call `reset()` at the end
            of each epoch.
        decay: in [0, 1), or a schedule.
        buffers: what is done with floating buffers: "average", "copy" or "none".
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad argument; for a model that cannot be copied; at the first step for a second
            average of the same model outside a chain.
        RuntimeError: at a reset, if the average is not finite or layers were replaced or grown.

    References:
        Li et al., "Switch EMA: A Free Lunch for Better Flatness and Sharpness", arXiv 2402.09240.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> method = SwitchEMA(model, reset_every=2)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> method.after_step()
        >>> method.after_step()
        >>> torch.equal(model.weight, method.tortoise.weight)
        True
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        reset_every: int | Schedule | None,
        decay: float | Schedule = 0.9999,
        buffers: Treatment = "average",
        seed: int = 0,
    ) -> None:
        super().__init__(model, optimizer, decay=decay, reset_every=reset_every, buffers=buffers, seed=seed)
