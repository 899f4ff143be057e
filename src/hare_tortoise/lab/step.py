"""One gradient step of a trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hare_tortoise.methods.method import Loss

if TYPE_CHECKING:
    from hare_tortoise.lab.building import Setup


def gradient_step(
    setup: Setup,
    optimizer: torch.optim.Optimizer,
    forward: Callable[..., Any],
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = F.cross_entropy,
    on_loss: Callable[[Tensor], None] = lambda _: None,
    on_outputs: Callable[[Tensor], None] = lambda _: None,
) -> None:
    """Take a step: loss with the method's penalty, gradient, clipping, the optimizer's step.

    Args:
        setup: the trial.
        optimizer: of the chunk; the method is attached to it.
        forward: the network, compiled or not.
        inputs: of the batch, on the device.
        targets: classes of the batch, or numbers.
        loss: of outputs and targets; it alone knows which outputs are masked. A penalty gets all outputs as they are,
            as the other answers are that it compares them with: its teacher's, or its own of some steps ago.
        on_loss: is told the loss, once, before the weights move.
        on_outputs: is given the outputs that it is of.
    """
    told = False

    def take_gradient() -> Tensor:
        nonlocal told
        optimizer.zero_grad(set_to_none=True)
        with setup.autocast():
            outputs = forward(inputs)
            total = loss(outputs, targets)
        if setup.method.adds_penalty:
            total = total + setup.method.penalty(inputs, outputs, targets)
        total.backward()  # type: ignore[no-untyped-call]
        if setup.trial.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(setup.parameters, setup.trial.recipe.clip_norm)
        if not told:
            on_loss(total.detach())
            on_outputs(outputs)
            told = True
        return total.detach()

    if setup.closure:
        optimizer.step(take_gradient)  # type: ignore[arg-type]
    else:
        take_gradient()
        optimizer.step()
