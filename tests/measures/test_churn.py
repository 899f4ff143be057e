"""Churn by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hare_tortoise.measures.churn import churn, decision_churn

NOW = torch.tensor([[1.0, 5.0, 2.0], [3.0, 3.0, 0.0], [0.0, 1.0, 2.0], [7.0, 1.0, 0.0]])
THEN = torch.tensor([[2.0, 4.0, 2.0], [3.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])


def test_churn() -> None:
    assert churn(NOW, THEN).item() == pytest.approx((1 + 1 + 3 + 2 + 2 + 7) / 12)
    assert churn(NOW, THEN).item() == churn(THEN, NOW).item()
    assert churn(NOW, NOW).item() == 0


def check_decisions(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    # The second sample is a tie, of which the first output counts; the third and fourth change.
    assert measure(NOW, THEN).item() == 0.5
    assert measure(THEN, NOW).item() == 0.5
    assert measure(NOW, NOW).item() == 0


def test_decision_churn() -> None:
    check_decisions(decision_churn)


def last_of_equals(outputs: Tensor, previous: Tensor) -> Tensor:
    return (outputs.flip(1).argmax(1) != previous.flip(1).argmax(1)).float().mean()


def test_a_tie_that_changes_the_decision_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_decisions(last_of_equals)


def test_half_precision_is_subtracted_in_float32() -> None:
    now, then = torch.full((3,), 300.0).bfloat16(), torch.full((3,), 1.0).bfloat16()
    assert churn(now, then).dtype == torch.float32
    assert churn(now, then).item() == 299.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_decision(value: float) -> None:
    broken = torch.full_like(NOW, value)
    for now, then in ((broken, broken), (NOW, broken), (broken, NOW)):
        assert decision_churn(now, then).isnan()
        assert not churn(now, then).isfinite()


def test_no_graph_is_kept() -> None:
    assert not churn(NOW.clone().requires_grad_(), THEN).requires_grad


@pytest.mark.parametrize(
    ("measure", "now", "then", "complaint"),
    [
        (churn, NOW, THEN[:2], r"outputs has shape \(4, 3\) and previous \(2, 3\)"),
        (decision_churn, NOW, THEN[:, :2], r"previous \(4, 2\), expected the same"),
        (churn, NOW[:0], THEN[:0], "outputs is empty"),
        (decision_churn, NOW[:, :1], THEN[:, :1], "with one there is nothing to decide"),
        (decision_churn, NOW[0], THEN[0], r"shape \(3,\), expected \(samples, outputs\)"),
    ],
)
def test_bad_input(
    measure: Callable[[Tensor, Tensor], Tensor], now: Tensor, then: Tensor, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        measure(now, then)
