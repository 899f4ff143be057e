"""AID: its two formulas, its expectation, its draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.networks import AID, aid, mlp, resnet18


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Swapped(AID):
    """The fault: `p` keeps the negative side in training."""

    in_training = True

    def forward(self, inputs: Tensor) -> Tensor:
        faulty = AID(1 - self.p if self.training is self.in_training else self.p).train(self.training)
        out: Tensor = faulty(inputs)
        return out


class SwappedInEvaluation(Swapped):
    """The fault: `p` is the slope of the negative side in evaluation."""

    in_training = False


class Rescaled(AID):
    """The fault: what is kept is divided by its probability, as in dropout."""

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = super().forward(inputs)
        return out * torch.where(inputs > 0, 1 / self.p, 1 / (1 - self.p)) if self.training else out


def evaluates_to_the_expectation(module: AID) -> bool:
    """Whether the mean of many outputs in training is the output in evaluation, within 5 standard errors."""
    x, draws = randn(40), 4000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean = module.train()(x.expand(draws, -1)).mean(0)
    error = x.abs() * math.sqrt(module.p * (1 - module.p) / draws)
    expected = torch.where(x >= 0, module.p * x, (1 - module.p) * x)
    same = torch.allclose(module.eval()(x), expected, rtol=1e-12, atol=0)
    return same and bool(((mean - expected).abs() <= 5 * error).all())


@pytest.mark.parametrize("p", [0.7, 0.9, 0.99])
def test_evaluation_is_the_expectation_of_training(p: float) -> None:
    assert evaluates_to_the_expectation(AID(p))


@pytest.mark.parametrize("faulty", [Swapped, SwappedInEvaluation, Rescaled])
def test_a_faulty_aid_is_seen(faulty: type[AID]) -> None:
    assert not evaluates_to_the_expectation(faulty(0.9))


def test_training_is_the_formula_with_the_draw_of_the_global_generator() -> None:
    x = randn(50, 20)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        mask = torch.empty(50, 20, dtype=torch.bool).bernoulli_(0.8).double()
        torch.manual_seed(3)
        outputs = AID(0.8)(x)
        assert not torch.equal(AID(0.8)(x), outputs)
    assert 0.75 < mask.mean() < 0.85
    torch.testing.assert_close(outputs, mask * x.clamp(min=0) - (1 - mask) * (-x).clamp(min=0))


def test_p_one_is_relu_and_evaluation_draws_nothing() -> None:
    x = randn(30)
    for module in (AID(1.0), AID(1.0).eval()):
        assert torch.equal(module(x), x.relu())
    before = torch.get_rng_state()
    AID(0.5).eval()(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_flow_where_an_entry_is_kept() -> None:
    x = randn(200).requires_grad_()
    outputs = AID(0.6)(x)
    outputs.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (outputs != 0).double())


def test_the_network_written_out_in_evaluation() -> None:
    network: Any = aid(mlp((5,), 3, hidden=(6,)), p=0.75).double().eval()
    x = randn(7, 5)
    h = x @ network.body[1].weight.T + network.body[1].bias
    h = torch.where(h >= 0, 0.75 * h, 0.25 * h)
    torch.testing.assert_close(network(x), h @ network.head.weight.T + network.head.bias)


def test_weights_stay_and_every_activation_is_replaced() -> None:
    network = resnet18((1, 8, 8), 3)
    before = list(network.parameters())
    aid(network, p=0.7)
    assert all(a is b for a, b in zip(before, network.parameters(), strict=True))
    assert sum(isinstance(module, AID) for module in network.modules()) == 17
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, True, "0.9", None])
def test_p_must_be_a_probability(p: Any) -> None:
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        AID(p)
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        aid(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), p=p)
