"""One gradient step: what an optimizer gets that asks for the gradient more than once."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.lab.building import Setup, build
from hare_tortoise.lab.step import gradient_step
from hare_tortoise.lab.trial import Trial
from tests.lab.small import small

Gradients = list[Tensor]


class Twice(torch.optim.Optimizer):
    """Takes the gradient, moves the weights, and takes it again there; as SAM does."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self.seen: list[Gradients] = []

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is not None
        for _ in range(2):
            with torch.enable_grad():
                closure()
            self.seen.append(gradients(self.param_groups[0]["params"]))
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter.add_(0.1)


def gradients(parameters: list[nn.Parameter]) -> Gradients:
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


def by_hand(
    setup: Setup, first: Gradients, batch: tuple[Tensor, Tensor], strength: float, clip: float | None
) -> Gradients:
    """The gradient of the loss and of `strength / 2 * |w - w_0|^2` at the present weights, clipped."""
    inputs, targets = batch
    for parameter in setup.parameters:
        parameter.grad = None
    loss = cross_entropy(setup.model(inputs), targets)
    for parameter, start in zip(setup.parameters, first, strict=True):
        loss = loss + strength / 2 * (parameter - start).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    found = gradients(setup.parameters)
    norm = torch.cat([gradient.flatten() for gradient in found]).norm()
    factor = 1.0 if clip is None else float((clip / (norm + 1e-6)).clamp(max=1))
    return [gradient * factor for gradient in found]


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_each_gradient_has_the_penalty_and_is_clipped(strength: float, clip: float | None) -> None:
    recipe = small(network="mlp(hidden=(16,))", clip_norm=clip)
    setup = build(Trial(recipe, f"sam+l2-init(strength={strength})", 1.0, 0))
    first = [parameter.detach().clone() for parameter in setup.parameters]
    assert setup.closure
    inputs, targets = next(setup.chunk(0).train.batches(32, generator=torch.Generator().manual_seed(0)))
    optimizer = Twice(setup.parameters)
    start = copy.deepcopy(setup.model.state_dict())
    losses: list[Tensor] = []
    gradient_step(setup, optimizer, setup.model, inputs, targets, on_loss=losses.append)
    assert len(losses) == 1
    setup.model.load_state_dict(start)
    for seen in optimizer.seen:
        expected = by_hand(setup, first, (inputs, targets), strength, clip)
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-7)
        with torch.no_grad():
            for parameter in setup.parameters:
                parameter.add_(0.1)
