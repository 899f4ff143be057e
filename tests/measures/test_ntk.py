"""The tangent kernel and its rank against an explicit Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.measures.ntk import empirical_ntk, ntk_rank
from hare_tortoise.networks import NETWORKS
from hare_tortoise.testing import TiedNetwork, batch
from tests.measures.untouched import in_training, untouched

X, _ = batch(1, torch.float64)


def jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """The oracle: one row for each output of each sample, by autograd, sample by sample."""
    rows = []
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for sample in inputs:
        for value in model(sample[None])[0]:
            gradients = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("network", [in_training, lambda: TiedNetwork().double()], ids=["batch norm", "tied"])
def test_kernel(network: Callable[[], nn.Module], chunk: int | None) -> None:
    model = network()
    J = jacobian(model, X)
    torch.testing.assert_close(empirical_ntk(model, X, chunk=chunk), J @ J.T, rtol=1e-10, atol=1e-12)


def counted(model: nn.Module, inputs: Tensor, delta: float) -> int:
    """The oracle: eigenvalues as squared singular values of the Jacobian, counted one by one."""
    values = torch.linalg.svdvals(jacobian(model, inputs)).square()
    total, count = 0.0, 0
    for value in values.tolist():
        total, count = total + value, count + 1
        if total >= (1 - delta) * float(values.sum()):
            return count
    raise AssertionError("unreachable")


Rank = Callable[..., Tensor]


def check_rank(rank: Rank) -> None:
    model = in_training()
    for delta in (0.01, 0.1, 0.5):
        assert rank(model, X, delta=delta).item() == counted(model, X, delta)


def test_rank() -> None:
    check_rank(ntk_rank)


def of_the_jacobian(model: nn.Module, inputs: Tensor, delta: float) -> Tensor:
    values: Tensor = torch.linalg.svdvals(jacobian(model, inputs))
    return ((values.cumsum(0) / values.sum()) < 1 - delta).sum() + 1


def without_the_last(model: nn.Module, inputs: Tensor, delta: float) -> Tensor:
    return ntk_rank(model, inputs, delta=delta) - 1


@pytest.mark.parametrize("fault", [of_the_jacobian, without_the_last])
def test_faulty_ranks_are_seen(fault: Rank) -> None:
    with pytest.raises(AssertionError):
        check_rank(fault)


def test_ranks_in_closed_form() -> None:
    """The kernel of a linear network is `x·xᵀ` for each output: one direction for each input direction and output."""
    model = nn.Linear(4, 3, bias=False).double()
    assert ntk_rank(model, torch.eye(4).double()[:2]).item() == 6
    assert ntk_rank(model, torch.ones(5, 4).double()).item() == 3
    assert ntk_rank(model, torch.zeros(5, 4).double()).item() == 0


def test_dead_units_take_directions_away() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    before = ntk_rank(model, X).item()
    with torch.no_grad():
        model.get_parameter("0.bias")[:15] = -100.0
    assert ntk_rank(model, X).item() < before


def test_attention() -> None:
    torch.manual_seed(0)
    model = NETWORKS["vit-tiny"]((3, 32, 32), 2).double().eval()
    inputs = torch.randn(2, 3, 32, 32).double()
    J = jacobian(model, inputs)
    torch.testing.assert_close(empirical_ntk(model, inputs), J @ J.T, rtol=1e-8, atol=1e-10)


def test_nothing_is_touched() -> None:
    model = in_training()
    with untouched(model):
        ntk_rank(model, X)


def test_derivatives_that_are_not_finite_have_no_rank() -> None:
    assert ntk_rank(in_training(), X * float("inf")).isnan()


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: ntk_rank(in_training().train(), X), r"body\.1 \(BatchNorm1d\) is in train mode"),
        (lambda: ntk_rank(in_training(), X, delta=1.0), "delta is 1.0"),
        (lambda: ntk_rank(in_training(), X, chunk=-1), "chunk is -1"),
    ],
)
def test_bad_input(call: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
