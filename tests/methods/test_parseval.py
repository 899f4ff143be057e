"""Parseval against its equation over rows, by loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Parseval
from hare_tortoise.methods.support.spectral import as_matrix, matrix_names

X = torch.zeros(1, 1)


def network() -> nn.Module:
    """A weight that is wide, one that is tall, a convolution, and what does not take part."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(5, 3), nn.Linear(5, 3), nn.LayerNorm(3), nn.Linear(2, 6), nn.Conv2d(2, 4, 3)
    ).double()


def by_rows(weight: Tensor, scale: float) -> float:
    """Σ over pairs of rows of (⟨row, row'⟩ − scale · [same])²."""
    rows = weight.detach().flatten(1).tolist()
    return math.fsum(
        (math.fsum(a * b for a, b in zip(one, other, strict=True)) - scale * (i == j)) ** 2
        for i, one in enumerate(rows)
        for j, other in enumerate(rows)
    )


def check_equation(kind: type[Parseval] = Parseval) -> None:
    model = network()
    value = kind(model, strength=0.3, scale=1.7).penalty(X, X.double())
    weights = dict(model.named_parameters())
    expected = 0.3 * sum(by_rows(weights[name], 1.7) for name in ("1.weight", "3.weight", "4.weight"))
    assert math.isclose(value.item(), expected, rel_tol=1e-12)
    value.backward()  # type: ignore[no-untyped-call]
    for name in ("1.weight", "3.weight", "4.weight"):
        matrix = weights[name].detach().flatten(1)
        gradient = 0.3 * 4 * (matrix @ matrix.T - 1.7 * torch.eye(len(matrix)).double()) @ matrix
        actual = weights[name].grad
        assert actual is not None
        torch.testing.assert_close(actual.flatten(1), gradient, rtol=1e-12, atol=1e-12)
    assert all(weights[name].grad is None for name in ("0.weight", "1.bias", "2.weight", "2.bias"))


class Columns(Parseval):
    """Takes the columns for the rows."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        total = outputs.new_zeros(())
        for name in matrix_names(self.model):
            matrix = as_matrix(dict(self.model.named_parameters())[name])
            identity = torch.eye(matrix.shape[1]).to(matrix)
            total = total + (matrix.T @ matrix - self.scale * identity).square().sum()
        return self.strength * total


class OnlyTheLast(Parseval):
    """The sum is overwritten in the loop."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        matrix = as_matrix(list(self.model.parameters())[-2])
        return (
            self.strength
            * (matrix @ matrix.T - self.scale * torch.eye(len(matrix)).to(matrix)).square().sum()
        )


class NotSquared(Parseval):
    """The norm in place of its square."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return super().penalty(inputs, outputs, targets).sqrt()


def test_equation() -> None:
    check_equation()


@pytest.mark.parametrize("kind", [Columns, OnlyTheLast, NotSquared])
def test_faults_are_seen(kind: type[Parseval]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


def test_descent_leads_to_rows_of_the_scale() -> None:
    model = nn.Linear(6, 3, bias=False).double()
    method = Parseval(model, strength=0.1, scale=4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        method.penalty(X, X.double()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(model.weight @ model.weight.T, 4 * torch.eye(3).double())


def test_frozen_weights_and_zero_strength() -> None:
    model = network()
    whole = Parseval(model, strength=1.0).penalty(X, X.double()).item()
    weights = dict(model.named_parameters())
    weights["1.weight"].requires_grad_(False)
    left = Parseval(model, strength=1.0).penalty(X, X.double()).item()
    assert math.isclose(whole - left, by_rows(weights["1.weight"], 1.0), rel_tol=1e-9)
    assert not Parseval(model, strength=0.0).penalty(X, X).requires_grad


def test_autocast_does_not_round_the_products() -> None:
    model = network().float()
    method = Parseval(model, strength=1.0)
    value = method.penalty(X, X)
    with torch.autocast("cpu", torch.bfloat16):
        assert method.penalty(X, X).item() == value.item()


def test_a_model_without_matrices_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model \(LayerNorm\) has no weight matrices"):
        Parseval(nn.LayerNorm(3))
