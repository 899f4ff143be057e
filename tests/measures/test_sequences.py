"""The measures of a sequence of tasks, each against its sum written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hare_tortoise.measures.sequences import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    intransigence,
    online_accuracy,
)

NAN = math.nan
# Task 0 is best after task 1, task 1 is at its best (0.9) when it was not yet trained on.
R = [
    [0.80, 0.90, 0.30],
    [0.85, 0.70, 0.40],
    [0.60, 0.65, 0.95],
]
LOWER = [[0.80, NAN, NAN], [0.85, 0.70, NAN], [0.60, 0.65, 0.95]]


def close(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-15)


def test_average_accuracy() -> None:
    assert close(average_accuracy(R), (0.60 + 0.65 + 0.95) / 3)
    assert close(average_accuracy(torch.tensor(R, dtype=torch.float64)), (0.60 + 0.65 + 0.95) / 3)
    assert average_accuracy([[0.5]]) == 0.5


def test_backward_transfer() -> None:
    assert close(backward_transfer(R), ((0.60 - 0.80) + (0.65 - 0.70)) / 2)
    assert close(backward_transfer(LOWER), ((0.60 - 0.80) + (0.65 - 0.70)) / 2)


def test_forward_transfer() -> None:
    expected = ((0.90 - 0.10) + (0.40 - 0.25)) / 2
    assert close(forward_transfer(R, [0.7, 0.10, 0.25]), expected)
    assert close(forward_transfer(R, [NAN, 0.10, 0.25]), expected)


def test_forgetting_does_without_what_was_evaluated_before_training() -> None:
    assert close(forgetting(LOWER), ((0.85 - 0.60) + (0.70 - 0.65)) / 2)


def test_forgetting_does_not_need_the_last_accuracy_on_the_last_task() -> None:
    assert close(forgetting([[0.75, NAN], [0.5, NAN]]), 0.25)


def test_intransigence() -> None:
    expected = ((0.9 - 0.80) + (0.6 - 0.70) + (1.0 - 0.95)) / 3
    assert close(intransigence(R, [0.9, 0.6, 1.0]), expected)
    assert close(intransigence(LOWER, torch.tensor([0.9, 0.6, 1.0], dtype=torch.float64)), expected)


def test_online_accuracy() -> None:
    assert close(online_accuracy([0.1, 0.2, 0.6]), 0.3)
    assert close(online_accuracy([0.1, 0.2, 0.6], sizes=[1, 2, 1]), (0.1 + 0.4 + 0.6) / 4)


def test_the_accuracies_are_left_as_they_are() -> None:
    values = torch.tensor(LOWER)
    before = values.clone()
    forgetting(values)
    torch.testing.assert_close(values, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("measure", "row", "column"),
    [
        (average_accuracy, 2, 0),
        (average_accuracy, 2, 2),
        (backward_transfer, 2, 1),
        (backward_transfer, 1, 1),
        (lambda values: forward_transfer(values, [0.1, 0.1, 0.1]), 0, 1),
        (forgetting, 1, 0),
        (forgetting, 0, 0),
        (forgetting, 2, 1),
        (lambda values: intransigence(values, [1.0, 1.0, 1.0]), 2, 2),
    ],
)
def test_what_was_never_evaluated_is_refused_where_it_is_needed(
    measure: Callable[[Any], float], row: int, column: int
) -> None:
    values = [list(line) for line in R]
    values[row][column] = NAN
    with pytest.raises(ValueError, match="evaluate what is NaN"):
        measure(values)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: average_accuracy([[0.5, 0.5]]), r"accuracies has 1 rows, of length \[2\]"),
        (lambda: average_accuracy([[0.5, 0.5], [0.5]]), r"of length \[1, 2\]"),
        (lambda: average_accuracy([]), r"has 0 rows"),
        (lambda: average_accuracy(torch.zeros(2, 3)), r"shape \(2, 3\), expected \(tasks, tasks\)"),
        (lambda: average_accuracy(torch.zeros(2)), r"shape \(2,\), expected \(tasks, tasks\)"),
        (lambda: forgetting([[0.5, math.inf], [0.5, 0.5]]), "infinite number"),
        (lambda: backward_transfer([[0.5]]), "is of 1 tasks, expected at least 2"),
        (lambda: forward_transfer([[0.5]], [0.5]), "is of 1 tasks, expected at least 2"),
        (lambda: forgetting([[0.5]]), "is of 1 tasks, expected at least 2"),
        (lambda: forward_transfer(R, [0.1, 0.1]), r"baseline has shape \(2,\), expected 3 numbers"),
        (lambda: forward_transfer(R, [0.1, 0.1, NAN]), "baseline holds"),
        (lambda: intransigence(R, [0.1]), r"reference has shape \(1,\), expected 3 numbers"),
        (lambda: intransigence(R, [0.1, NAN, 0.1]), "reference holds"),
        (lambda: online_accuracy([]), "expected one number or more"),
        (lambda: online_accuracy([0.5, NAN]), "accuracies holds"),
        (lambda: online_accuracy([0.5, 0.5], sizes=[1]), r"sizes has shape \(1,\), expected 2 numbers"),
        (lambda: online_accuracy([0.5, 0.5], sizes=[1, 0]), r"sizes are \[1.0, 0.0\], expected positive"),
    ],
)
def test_bad_input(call: Callable[[], float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()


def check_forgetting(measure: Callable[[Any], float]) -> None:
    assert close(measure(R), ((0.85 - 0.60) + (0.90 - 0.65)) / 2)
    assert close(measure([[0.5, 0.0], [0.75, 0.5]]), -0.25)


def since_training(values: Any) -> float:
    """A fault: from the accuracy just after training on the task, in place of the best."""
    return -backward_transfer(values)


def with_the_end_among_the_best(values: Any) -> float:
    """A fault: the maximum over all times, so that it is never negative."""
    table = torch.tensor(values, dtype=torch.float64)
    return float((table.amax(0) - table[-1])[:-1].mean())


def over_all_tasks(values: Any) -> float:
    """A fault: the last task counts as one that could be forgotten."""
    return forgetting(values) * (len(values) - 1) / len(values)


def test_forgetting() -> None:
    check_forgetting(forgetting)


@pytest.mark.parametrize("fault", [since_training, with_the_end_among_the_best, over_all_tasks])
def test_faulty_forgetting_is_seen(fault: Callable[[Any], float]) -> None:
    with pytest.raises(AssertionError):
        check_forgetting(fault)
