"""Gradients against backward() on a copy, their norms by hand, their cosines from an explicit loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.measures import derivatives
from hare_tortoise.measures.gradients import (
    fresh_gradients,
    gradient_alignment,
    gradient_conflict,
    gradient_covariance,
    gradient_norm,
    gradient_norm_per_layer,
    zero_gradient_ratio,
)
from hare_tortoise.networks import NETWORKS
from hare_tortoise.testing import TiedNetwork, batch
from tests.measures.untouched import in_training, untouched

X, Y = batch(1, torch.float64)
Gradients = Callable[[nn.Module, Tensor, Tensor], Mapping[str, Tensor]]


def backward(model: nn.Module, inputs: Tensor = X, targets: Tensor = Y) -> dict[str, Tensor]:
    """The oracle: `.grad` after backward() on a copy whose gradients were zeroed."""
    twin = copy.deepcopy(model)
    twin.zero_grad()
    cross_entropy(twin(inputs), targets).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}


def check_fresh(gradients: Gradients) -> None:
    model = in_training()
    expected, found = backward(model), gradients(model, X, Y)
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-15)


def not_zeroed(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The fault of the official code: gradients on top of what training had left."""
    twin = copy.deepcopy(model)
    for mine, other in zip(twin.parameters(), model.parameters(), strict=True):
        mine.grad = None if other.grad is None else other.grad.clone()
    cross_entropy(twin(inputs), targets).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in twin.named_parameters() if p.requires_grad and p.grad is not None}


def test_gradients_are_fresh() -> None:
    check_fresh(fresh_gradients)


def test_gradients_that_were_not_zeroed_are_seen() -> None:
    with pytest.raises(AssertionError):
        check_fresh(not_zeroed)


def test_zeros_are_not_hidden_by_what_training_left() -> None:
    """A dead unit has zero gradients, once they are fresh."""
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    cross_entropy(model(X), Y).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        model.get_parameter("0.bias")[1] = -100.0
    # 6 weights and the bias of the unit, and the 3 weights that read it, of 24 + 4 + 12 + 3.
    assert math.isclose(zero_gradient_ratio(fresh_gradients(model, X, Y)).item(), 10 / 43, rel_tol=1e-6)
    assert zero_gradient_ratio(not_zeroed(model, X, Y)).item() < 10 / 43


def test_an_unused_parameter_has_zeros() -> None:
    model = nn.ModuleDict({"used": nn.Linear(6, 3), "unused": nn.Linear(2, 2)}).double()
    model.forward = model["used"].forward
    gradients = fresh_gradients(model, X, Y)
    assert gradients["unused.weight"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_names_are_canonical_and_shared_weights_come_once() -> None:
    model = TiedNetwork().double()
    wrapped = cast(nn.Module, torch.compile(nn.DataParallel(model), backend="eager"))
    assert list(fresh_gradients(wrapped, X, Y)) == list(dict(model.named_parameters()))


def check_norms(norm: Callable[..., Tensor] = gradient_norm) -> None:
    gradients = {"a.weight": torch.tensor([[3.0, -4.0], [0.0, 12.0]]), "a.bias": torch.tensor([-84.0])}
    assert norm(gradients, order=2).item() == pytest.approx(math.sqrt(9 + 16 + 144 + 84**2), rel=1e-6)
    assert norm(gradients, order=1).item() == pytest.approx(3 + 4 + 12 + 84, rel=1e-6)


def test_norms() -> None:
    check_norms()


def per_element(gradients: Mapping[str, Tensor], *, order: int) -> Tensor:
    """The fault of the official code in its norms: each divided by its number of elements."""
    return torch.stack([torch.linalg.vector_norm(g, order) / g.numel() for g in gradients.values()]).sum()


def sum_of_norms(gradients: Mapping[str, Tensor], *, order: int) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(g, order) for g in gradients.values()]).sum()


@pytest.mark.parametrize("fault", [per_element, sum_of_norms])
def test_faulty_norms_are_seen(fault: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_norms(fault)


def test_norms_per_layer_add_up() -> None:
    gradients = fresh_gradients(in_training(), X, Y)
    layers = gradient_norm_per_layer(gradients)
    assert list(layers) == ["body.0", "body.1", "body.3", "head"]
    expected = math.sqrt(gradients["body.0.weight"].square().sum() + gradients["body.0.bias"].square().sum())
    assert layers["body.0"].item() == pytest.approx(expected, rel=1e-12)
    whole = torch.stack(list(layers.values())).square().sum().sqrt()
    torch.testing.assert_close(gradient_norm(gradients), whole)
    ones = torch.stack(list(gradient_norm_per_layer(gradients, order=1).values())).sum()
    torch.testing.assert_close(gradient_norm(gradients, order=1), ones)


def test_norms_of_many_and_of_small_elements() -> None:
    many = {"weight": torch.ones(10_000_000)}
    assert gradient_norm(many, order=1).item() == pytest.approx(1e7, rel=1e-6)
    assert gradient_norm(many).item() == pytest.approx(math.sqrt(1e7), rel=1e-6)
    small = {"weight": torch.full((4,), 1e-30), "bias": torch.zeros(1)}
    assert gradient_norm(small).item() == pytest.approx(2e-30, rel=1e-5)
    half = {"weight": torch.full((100_000,), 1.0, dtype=torch.bfloat16)}
    assert gradient_norm(half, order=1).item() == 100_000


def cosines(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The oracle: one backward() for each sample, and each cosine by itself."""
    rows = [
        torch.cat([g.flatten() for g in backward(model, inputs[i : i + 1], targets[i : i + 1]).values()])
        for i in range(len(inputs))
    ]
    return torch.stack([torch.stack([torch.cosine_similarity(a, b, dim=0) for b in rows]) for a in rows])


@pytest.mark.parametrize("chunk", [None, 1, 3, 8, 100])
def test_covariance(chunk: int | None) -> None:
    model = in_training()
    found = gradient_covariance(model, X, Y, chunk=chunk)
    torch.testing.assert_close(found, cosines(model, X, Y), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, found.T, rtol=0, atol=1e-15)


class Deciding(nn.Module):
    """Its forward asks for values, which vmap cannot answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.first(inputs) if bool(inputs[0, 0] > 0) else self.second(inputs)
        return outputs


def test_covariance_of_a_network_that_vmap_cannot_run() -> None:
    model = Deciding().double()
    torch.testing.assert_close(
        gradient_covariance(model, X, Y), _deciding_cosines(model), rtol=1e-10, atol=1e-12
    )


def _deciding_cosines(model: nn.Module) -> Tensor:
    def flat(i: int) -> Tensor:
        found = backward(model, X[i : i + 1], Y[i : i + 1])
        return torch.cat(
            [found.get(name, torch.zeros_like(p)).flatten() for name, p in model.named_parameters()]
        )

    rows = [flat(i) for i in range(len(X))]
    return torch.stack([torch.stack([torch.cosine_similarity(a, b, dim=0) for b in rows]) for a in rows])


def test_a_zero_gradient_agrees_with_none() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1.0)
        model.get_parameter("0.bias").fill_(0.0)
    inputs = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    found = gradient_covariance(model, inputs, inputs, loss=lambda outputs, _: outputs.sum())
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_covariance_of_gradients_whose_squares_underflow() -> None:
    model = nn.Linear(2, 1, bias=False)
    inputs = torch.tensor([[1e-25, 0.0], [-1e-30, 0.0]])
    found = gradient_covariance(model, inputs, inputs, loss=lambda outputs, _: outputs.sum())
    assert found.tolist() == [[1.0, -1.0], [-1.0, 1.0]]


def test_products_of_long_rows_do_not_lose_digits() -> None:
    """In one go the products of ten million float32 numbers are off by 4e-4 on a CPU."""
    rows = torch.full((2, 10_000_000), 0.3)
    expected = rows[0].double().square().sum()
    found = derivatives._products(rows, rows).double()
    torch.testing.assert_close(found, expected.expand(2, 2), rtol=3e-5, atol=0)


def test_summaries_of_the_covariance() -> None:
    C = torch.tensor([[1.0, 0.5, -0.25], [0.5, 1.0, -1.0], [-0.25, -1.0, 1.0]])
    assert gradient_alignment(C).item() == pytest.approx((0.5 - 0.25 - 1.0) / 3)
    assert gradient_conflict(C).item() == pytest.approx(2 / 3)
    assert gradient_conflict(torch.zeros(3, 3)).item() == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_healthy_number(value: float) -> None:
    for gradients in (
        {"weight": torch.full((3,), value)},
        {"weight": torch.zeros(3), "bias": torch.tensor([0.0, value])},
    ):
        assert zero_gradient_ratio(gradients).isnan()
        assert not gradient_norm(gradients).isfinite()
        assert not gradient_norm(gradients, order=1).isfinite()
    model = nn.Linear(2, 1, bias=False)
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [value, 1.0]])
    C = gradient_covariance(model, inputs, inputs, loss=lambda outputs, _: outputs.sum())
    assert C.isnan().tolist() == [[False, False, True], [False, False, True], [True, True, True]]
    assert gradient_alignment(C).isnan()
    assert gradient_conflict(C).isnan()


@pytest.mark.parametrize("name", ["resnet18", "vit-tiny"])
def test_the_papers_networks(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]((3, 32, 32), 10).eval()
    inputs, targets = torch.randn(3, 3, 32, 32), torch.tensor([1, 2, 3])
    torch.testing.assert_close(
        gradient_covariance(model, inputs, targets, chunk=2),
        cosines(model, inputs, targets),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize("measure", [fresh_gradients, gradient_covariance])
def test_nothing_is_touched(measure: Callable[[nn.Module, Tensor, Tensor], Any]) -> None:
    model = in_training()
    model.get_submodule("body.0").train()
    with untouched(model), torch.no_grad():
        measure(model, X, Y)


@pytest.mark.parametrize("measure", [fresh_gradients, gradient_covariance])
def test_what_draws_or_fills_statistics_is_refused(
    measure: Callable[[nn.Module, Tensor, Tensor], Any],
) -> None:
    with pytest.raises(ValueError, match=r"body\.1 \(BatchNorm1d\) is in train mode"):
        measure(in_training().train(), X, Y)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            lambda: fresh_gradients(nn.Linear(6, 3).requires_grad_(False), X.float(), Y),
            "nothing to take deriv",
        ),
        (lambda: fresh_gradients(nn.Linear(6, 3), X.float()[:0], Y[:0]), "inputs holds no sample"),
        (lambda: gradient_covariance(in_training(), X, Y, chunk=0), "chunk is 0, expected at least 1"),
        (lambda: gradient_covariance(in_training(), X, Y[:3]), r"have \[8, 3\] samples"),
        (lambda: gradient_norm({}), "there are no gradients"),
        (lambda: zero_gradient_ratio({}), "there are no gradients"),
        (lambda: gradient_norm({"weight": X}, order=3), "order is 3, expected 1 or 2"),
        (lambda: gradient_alignment(torch.ones(1, 1)), r"shape \(1, 1\), expected \(samples, samples\)"),
        (lambda: gradient_conflict(torch.ones(2, 3)), r"shape \(2, 3\), expected \(samples, samples\)"),
    ],
)
def test_bad_input(call: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()


def test_sharded_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivatives, "in_parts", lambda model: True)
    with pytest.raises(ValueError, match=r"the model is sharded \(FSDP2\)"):
        fresh_gradients(in_training(), X, Y)
