"""Spectral decoupling against its equation, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import SpectralDecoupling, spectral_decoupling

X = torch.zeros(1, 1)
LOGITS = [[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]]


def check_equation(kind: type[SpectralDecoupling] = SpectralDecoupling) -> None:
    """‖(1, 2, 2)‖² = 9 and ‖(0, 3, 4)‖² = 25: 0.5 · 17 · strength."""
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    value = kind(nn.Linear(1, 3), strength=0.4).penalty(X, logits)
    assert value.item() == pytest.approx(0.4 * 17 / 2, rel=1e-12)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, 0.4 * logits.detach() / 2, rtol=1e-12, atol=0)


class WithoutTheHalf(SpectralDecoupling):
    """Of the official code of Hare & Tortoise."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return 2 * super().penalty(inputs, outputs, targets)


def test_equation() -> None:
    check_equation()


def test_the_missing_half_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_equation(WithoutTheHalf)


def test_the_mean_over_classes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault of the official code: 1 / classes of the equation."""
    monkeypatch.setattr(spectral_decoupling, "mean_of_class_sums", lambda values: values.mean())
    with pytest.raises(AssertionError):
        check_equation()


def test_positions_are_averaged_as_cross_entropy_does() -> None:
    logits = torch.tensor(LOGITS)
    positions = torch.stack([logits, 3 * logits], dim=2)
    method = SpectralDecoupling(nn.Linear(1, 3), strength=2.0)
    assert method.penalty(X, positions).item() == pytest.approx((17 + 9 * 17) / 2)


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.full((1, 10000), 1.0, dtype=torch.bfloat16)
    value = SpectralDecoupling(nn.Linear(1, 3), strength=2.0).penalty(X, logits)
    assert value.dtype == torch.float32
    assert value.item() == 10000.0


def test_outputs_without_classes_are_refused_and_zero_strength_adds_nothing() -> None:
    with pytest.raises(ValueError, match=r"outputs have shape \(4,\), expected \(batch, classes, \.\.\.\)"):
        SpectralDecoupling(nn.Linear(1, 3)).penalty(X, torch.zeros(4))
    logits = torch.ones(2, 3, requires_grad=True)
    assert not SpectralDecoupling(nn.Linear(1, 3), strength=0.0).penalty(X, logits).requires_grad


def test_classes_that_stand_last_are_refused() -> None:
    """Else the sum would be over the positions of a sequence."""
    method = SpectralDecoupling(nn.Linear(3, 11), strength=0.1)
    outputs = torch.randn(4, 5, 11)
    with pytest.raises(
        ValueError, match=r"outputs have shape \(4, 5, 11\) and targets \(4, 5\), expected \(batch, "
    ):
        method.penalty(torch.randn(4, 5, 3), outputs, torch.zeros(4, 5, dtype=torch.long))
    value = method.penalty(torch.randn(4, 5, 3), outputs.movedim(-1, 1), torch.zeros(4, 5, dtype=torch.long))
    torch.testing.assert_close(value, 0.05 * outputs.square().sum(-1).mean())
