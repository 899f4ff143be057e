"""One gradient step of a trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from hare_tortoise.lab.building import Setup


def gradient_step(
    setup: Setup,
    optimizer: torch.optim.Optimizer,
    forward: Callable[..., Any],
    inputs: Tensor,
    targets: Tensor,
    *,
    on_loss: Callable[[Tensor], None] = lambda _: None,
) -> None:
    """Take a step: loss with the method's penalty, gradient, clipping, the optimizer's step.

    Args:
        setup: the trial.
        optimizer: of the chunk; the method is attached to it.
        forward: the network, compiled or not.
        inputs: of the batch, on the device.
        targets: classes of the batch.
        on_loss: is told the loss, once, before the weights move.
    """
    told = False

    def take_gradient() -> Tensor:
        nonlocal told
        optimizer.zero_grad(set_to_none=True)
        with setup.autocast():
            outputs = forward(inputs)
            loss = F.cross_entropy(outputs, targets)
        if setup.method.adds_penalty:
            loss = loss + setup.method.penalty(inputs, outputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if setup.trial.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(setup.parameters, setup.trial.recipe.clip_norm)
        if not told:
            on_loss(loss.detach())
            told = True
        return loss.detach()

    if setup.closure:
        optimizer.step(take_gradient)  # type: ignore[arg-type]
    else:
        take_gradient()
        optimizer.step()
