"""Wasserstein to init against optimal transport, solved as an assignment."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from hare_tortoise.methods import Change, L2Init, WassersteinInit
from hare_tortoise.methods.support.penalties import trained
from hare_tortoise.testing import Network

X = torch.zeros(1, 1)


def transport(now: Tensor, start: Tensor) -> float:
    """The least sum of squared ways on which the elements of one tensor are carried to those of the other."""
    one, other = (tensor.detach().double().numpy().ravel() for tensor in (now, start))
    cost = np.square(one[:, None] - other[None, :])
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].sum())


def moved(kind: type[WassersteinInit]) -> tuple[WassersteinInit, nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = Network().double()
    start = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    method = kind(model, strength=0.3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return method, model, start


def check_transport(kind: type[WassersteinInit] = WassersteinInit) -> None:
    method, model, start = moved(kind)
    value = method.penalty(X, X.double()).item()
    expected = 0.3 * sum(
        transport(tensor, start[name])
        for name, tensor in model.named_parameters()
        if not name.startswith("body.3")
    )
    assert math.isclose(value, expected, rel_tol=1e-10)


class OnlyTheLast(WassersteinInit):
    """The sum is overwritten in the loop."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        total = outputs.new_zeros(())
        for name, theta in trained(self.model, {name: t.shape for name, t in self.theta0.items()}):
            total = (theta.flatten().sort().values - self.theta0[name].flatten()).square().sum()
        return self.strength * total


class OneDistribution(WassersteinInit):
    """Sorts the elements of all tensors together."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        now = torch.cat([p.flatten() for name, p in self.model.named_parameters() if name in self.theta0])
        start = torch.cat([tensor.flatten() for tensor in self.theta0.values()])
        return self.strength * (now.sort().values - start.sort().values).square().sum()


class Unsorted(WassersteinInit):
    """Does not sort: L2 Init to sorted weights."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        weights = dict(self.model.named_parameters())
        apart = [(weights[name] - theta0).square().sum() for name, theta0 in self.theta0.items()]
        return self.strength * torch.stack(apart).sum()


def test_it_is_optimal_transport() -> None:
    check_transport()


@pytest.mark.parametrize("kind", [OnlyTheLast, OneDistribution, Unsorted])
def test_faults_are_seen(kind: type[WassersteinInit]) -> None:
    with pytest.raises(AssertionError):
        check_transport(kind)


def test_elements_may_change_places_for_nothing() -> None:
    model = nn.Linear(4, 3).double()
    method = WassersteinInit(model, strength=1.0)
    with torch.no_grad():
        model.weight.copy_(model.weight.flatten().flip(0).view(3, 4))
    assert method.penalty(X, X.double()).item() == 0.0


def test_the_gradient_pulls_each_element_to_the_one_of_its_rank() -> None:
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 4.0]]))
    method = WassersteinInit(model, strength=0.5)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[9.0, 0.0, 3.0]]))
    method.penalty(X, X.double()).backward()  # type: ignore[no-untyped-call]
    # Ranks 3, 1, 2: the starts are 4, 1, 2.
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[5.0, -1.0, 1.0]]


def test_of_equal_starts_it_is_twice_l2_init() -> None:
    model = nn.Linear(3, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.ones_(model.bias)
    methods = WassersteinInit(model, strength=1.0), L2Init(model, strength=2.0)
    with torch.no_grad():
        model.weight.normal_()
    one, other = (method.penalty(X, X.double()) for method in methods)
    torch.testing.assert_close(one, other)


def test_a_new_network_is_a_new_start_and_a_partial_change_is_not() -> None:
    method, _, _ = moved(WassersteinInit)
    value = method.penalty(X, X.double()).item()
    method.weights_changed(Change(lambda weights: None))
    assert method.penalty(X, X.double()).item() == value
    method.weights_changed(Change(lambda weights: None, whole=True))
    assert method.penalty(X, X.double()).item() == 0.0


def test_a_network_that_was_changed_is_an_error() -> None:
    model = Network()
    method = WassersteinInit(model)
    model.head = nn.Linear(8, 4)
    with pytest.raises(
        RuntimeError, match=r"head\.weight is not in the model any more, or has another shape"
    ):
        method.penalty(X, X)
