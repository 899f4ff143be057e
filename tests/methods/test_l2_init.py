"""L2 Init against its equation in float64: `strength / 2 · Σ‖θ − θ0‖²`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Change, L2Init
from hare_tortoise.testing import Network

X = torch.zeros(1, 1)


def moved(
    kind: type[L2Init], dtype: torch.dtype = torch.float64, **settings: Any
) -> tuple[L2Init, nn.Module]:
    """A method on a network whose weights have moved by 1, 2, 3, … since it was built."""
    model = Network().to(dtype)
    method = kind(model, **settings)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(number + 1)
    return method, model


def check_equation(kind: type[L2Init] = L2Init) -> None:
    """The value and the gradient, summed by hand; LayerNorm (parameters 4 and 5) is left out."""
    method, model = moved(kind, strength=0.3)
    shifts = [number + 1 for number, _ in enumerate(model.parameters())]
    left_out = [name.startswith("body.3") for name, _ in model.named_parameters()]
    sizes = [parameter.numel() for parameter in model.parameters()]
    expected = 0.15 * sum(
        size * shift**2 for size, shift, out in zip(sizes, shifts, left_out, strict=True) if not out
    )
    value = method.penalty(X, X.double())
    assert value.dtype == torch.float64
    assert math.isclose(value.item(), expected, rel_tol=1e-12)
    value.backward()  # type: ignore[no-untyped-call]
    for parameter, shift, out in zip(model.parameters(), shifts, left_out, strict=True):
        if out:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            torch.testing.assert_close(
                parameter.grad, torch.full_like(parameter, 0.3 * shift), rtol=1e-12, atol=1e-12
            )


class OnlyTheLast(L2Init):
    """The fault of the official code: the sum is overwritten in the loop, and is a norm."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        total = outputs.new_zeros(())
        for theta, theta0 in self._pairs():
            total = (theta - theta0).norm()
        return self.strength * total


class Norms(L2Init):
    """Norms in place of their squares."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return self.strength / 2 * torch.stack([(a - b).norm() for a, b in self._pairs()]).sum()


class Aliased(L2Init):
    """Keeps references where it should keep copies."""

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        weights = dict(model.named_parameters())
        self.theta0 = {name: weights[name].detach() for name in self.theta0}


def test_equation() -> None:
    check_equation()


@pytest.mark.parametrize("kind", [OnlyTheLast, Norms, Aliased])
def test_faults_are_seen(kind: type[L2Init]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


@pytest.mark.parametrize(
    ("distance", "oracle"),
    [
        ("l2", lambda a, b: torch.nn.functional.mse_loss(a, b, reduction="sum") / 2),
        ("l1", lambda a, b: torch.nn.functional.l1_loss(a, b, reduction="sum")),
        ("huber", lambda a, b: torch.nn.functional.huber_loss(a, b, reduction="sum", delta=1.0)),
    ],
)
def test_distances(distance: str, oracle: Callable[[Tensor, Tensor], Tensor]) -> None:
    model = nn.Linear(50, 2, bias=False).double()
    method = L2Init(model, strength=0.3, distance=distance)  # type: ignore[arg-type]
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.copy_(start + torch.linspace(-3, 3, 100).view(2, 50))
    value, expected = method.penalty(X, X.double()), 0.3 * oracle(model.weight, start)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(value, model.weight)
    (slope,) = torch.autograd.grad(expected, model.weight)
    torch.testing.assert_close(gradient, slope, rtol=1e-12, atol=1e-15)


def test_gradient_descent_on_the_penalty_decays_geometrically() -> None:
    model = nn.Linear(3, 2).double()
    method = L2Init(model, strength=0.5)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        method.penalty(X, X.double()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(model.weight - start, torch.full_like(start, 0.95**20), rtol=1e-12, atol=1e-12)


def test_layer_norm_can_be_drawn_back_too() -> None:
    method, model = moved(L2Init, strength=2.0, layer_norm=True)
    expected = sum(
        parameter.numel() * (number + 1) ** 2 for number, parameter in enumerate(model.parameters())
    )
    assert math.isclose(method.penalty(X, X.double()).item(), expected, rel_tol=1e-12)


def test_frozen_parameters_are_left_out_until_they_are_unfrozen() -> None:
    model = nn.Linear(3, 1).double()
    model.bias.requires_grad_(False)
    method = L2Init(model, strength=2.0)
    with torch.no_grad():
        model.weight.add_(1.0)
        model.bias.add_(5.0)
    assert math.isclose(method.penalty(X, X.double()).item(), 3.0, rel_tol=1e-12)
    model.bias.requires_grad_(True)
    assert math.isclose(method.penalty(X, X.double()).item(), 28.0, rel_tol=1e-12)


def test_zero_strength_gives_no_gradient_at_all() -> None:
    method, _ = moved(L2Init, strength=0.0)
    value = method.penalty(X, X)
    assert value.item() == 0
    assert not value.requires_grad


def test_half_precision_is_summed_in_float32() -> None:
    model = nn.Linear(1000, 10, bias=False).to(torch.bfloat16)
    nn.init.zeros_(model.weight)
    method = L2Init(model, strength=2.0)
    with torch.no_grad():
        model.weight.add_(1.0)
    value = method.penalty(X, X.to(torch.bfloat16))
    # bfloat16 knows 9,984 and 10,048, but not 10,000.
    assert value.dtype == torch.float32
    assert value.item() == 10000.0


def test_a_new_network_is_a_new_start_and_a_partial_change_is_not() -> None:
    method, _ = moved(L2Init, strength=1.0)
    value = method.penalty(X, X.double()).item()
    method.weights_changed(Change(lambda weights: None))
    assert method.penalty(X, X.double()).item() == value
    method.weights_changed(Change(lambda weights: None, whole=True))
    assert method.penalty(X, X.double()).item() == 0.0


def test_the_start_is_a_part_of_the_state() -> None:
    method, model = moved(L2Init, strength=1.0)
    state = {"generator": method.state_dict()["generator"], "theta0": dict(method.state_dict()["theta0"])}
    later = L2Init(model, strength=1.0)
    assert later.penalty(X, X.double()).item() == 0.0
    later.load_state_dict(state)
    assert later.penalty(X, X.double()).item() == method.penalty(X, X.double()).item()


@pytest.mark.parametrize(
    "change",
    [lambda model: setattr(model, "head", nn.Linear(8, 4)), lambda model: delattr(model, "head")],
    ids=["resized", "removed"],
)
def test_a_network_that_was_changed_is_an_error(change: Callable[[nn.Module], None]) -> None:
    model = Network()
    method = L2Init(model)
    change(model)
    with pytest.raises(
        RuntimeError, match=r"head\.weight is not in the model any more, or has another shape"
    ):
        method.penalty(X, X)


def test_parameters_that_were_added_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    method = L2Init(model, strength=1.0)
    model.append(nn.Linear(4, 2))
    with torch.no_grad():
        model.get_parameter("1.weight").add_(1.0)
    assert method.penalty(X, X).item() == 0.0


def test_a_network_that_was_cast_is_followed() -> None:
    method, model = moved(L2Init, torch.float32, strength=1.0)
    before = method.penalty(X, X).item()
    model.double()
    assert math.isclose(method.penalty(X, X).item(), before, rel_tol=1e-6)
