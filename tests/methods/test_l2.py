"""L2 against its equation in float64: `strength / 2 · Σ‖θ‖²`, and against weight decay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import L2, Chain, HareTortoise
from hare_tortoise.methods.support.penalties import trained
from hare_tortoise.testing import Network

X = torch.zeros(1, 1)


def numbered() -> nn.Module:
    """A network whose parameters are 1, 2, 3, … throughout."""
    model = Network().double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.fill_(number + 1)
    return model


def check_equation(kind: type[L2] = L2, *, layer_norm: bool = False) -> None:
    """Value and gradient, summed by hand; parameters 4 and 5 are those of LayerNorm."""
    model = numbered()
    value = kind(model, strength=0.3, layer_norm=layer_norm).penalty(X, X.double())
    counted = [number for number in range(8) if layer_norm or number not in (4, 5)]
    sizes = [48, 8, 8, 8, 8, 8, 24, 3]
    assert math.isclose(value.item(), 0.15 * sum(sizes[n] * (n + 1) ** 2 for n in counted), rel_tol=1e-12)
    value.backward()  # type: ignore[no-untyped-call]
    for number, parameter in enumerate(model.parameters()):
        expected = 0.3 * (number + 1) if number in counted else 0.0
        actual = torch.zeros(()) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(actual, torch.full_like(actual, expected), rtol=1e-12, atol=0)


class OnlyTheLast(L2):
    """The sum is overwritten in the loop."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        shapes = {name: tensor.shape for name, tensor in self.model.named_parameters()}
        total = outputs.new_zeros(())
        for _, theta in trained(self.model, shapes):
            total = theta.square().sum()
        return self.strength / 2 * total


class WithoutTheHalf(L2):
    """Of other papers, whose strength is half of this one."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return 2 * super().penalty(inputs, outputs, targets)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_equation(layer_norm: bool) -> None:
    check_equation(layer_norm=layer_norm)


@pytest.mark.parametrize("kind", [OnlyTheLast, WithoutTheHalf])
def test_faults_are_seen(kind: type[L2]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


def stepped(optimizer: type[torch.optim.Optimizer], strength: float, decay: float) -> Tensor:
    """A weight of 2 with a gradient of 3 from the loss, after one step."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 2.0)
    method = L2(model, strength=strength)
    made = optimizer(model.parameters(), lr=0.1, weight_decay=decay)  # type: ignore[call-arg]
    (3 * model.weight.sum() + method.penalty(X, X.double())).backward()  # type: ignore[no-untyped-call]
    made.step()
    return model.weight.detach()


def test_it_is_the_weight_decay_of_sgd_and_not_that_of_adamw() -> None:
    torch.testing.assert_close(stepped(torch.optim.SGD, 0.5, 0), stepped(torch.optim.SGD, 0, 0.5))
    # Adam divides the pull by its size along with the gradient; AdamW shrinks by lr · decay · θ.
    torch.testing.assert_close(
        stepped(torch.optim.AdamW, 0.5, 0).item(), 2 - 0.1 * (4 / (4 + 1e-8)), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        stepped(torch.optim.AdamW, 0, 0.5).item(), 2 * 0.95 - 0.1 * (3 / (3 + 1e-8)), rtol=1e-12, atol=0
    )


def test_frozen_parameters_and_zero_strength() -> None:
    model = nn.Linear(2, 1).double()
    nn.init.ones_(model.weight)
    model.bias.requires_grad_(False).fill_(7)
    assert L2(model, strength=2.0).penalty(X, X.double()).item() == 2.0
    assert not L2(model, strength=0.0).penalty(X, X).requires_grad


def test_the_penalties_of_a_chain_add() -> None:
    model = numbered()
    one = L2(model, strength=0.3).penalty(X, X.double())
    chain = Chain(HareTortoise(model), L2(model, strength=0.3), L2(model, strength=0.3))
    torch.testing.assert_close(chain.penalty(X, X.double()), 2 * one)
