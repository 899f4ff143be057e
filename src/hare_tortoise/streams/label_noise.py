"""Label noise: some labels are replaced by wrong ones."""

from __future__ import annotations

import torch
from torch import Tensor


def is_number(value: object) -> bool:
    """Whether it is a number; what a command line gives may be a word."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_ratio(ratio: float, name: str = "label_noise") -> None:
    """Refuse a share of noisy labels outside [0, 1]."""
    if not is_number(ratio) or not 0 <= ratio <= 1:
        raise ValueError(f"{name} is {ratio!r}: give the share of labels to make wrong, between 0 and 1")


def noisy_labels(labels: Tensor, ratio: float, classes: int, generator: torch.Generator) -> Tensor:
    """Labels of which a share is wrong, as in the experiments of Hare & Tortoise.

    `round(ratio · n)` of the n labels, drawn without replacement, become `(label + k) mod classes` with
    `k` uniform over 1 … classes − 1: uniform over the *other* classes, never the label itself.

    Args:
        labels: (n,) int64, in [0, classes).
        ratio: the share that becomes wrong, in [0, 1].
        classes: number of classes; at least 2 where the ratio is above 0.
        generator: what to draw from.

    Returns:
        (n,) int64, a new tensor on the device of `labels`, also where nothing was changed.

    Raises:
        ValueError: the ratio lies outside [0, 1], or there is no other class.

    Reference:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596.

    Example:
        >>> labels = torch.zeros(10, dtype=torch.int64)
        >>> noisy = noisy_labels(labels, 0.3, 4, torch.Generator().manual_seed(0))
        >>> (noisy != labels).sum().item(), noisy.max().item() < 4
        (3, True)
    """
    check_ratio(ratio)
    noisy = labels.clone()
    count = round(ratio * len(labels))
    if count == 0:
        return noisy
    if classes < 2:
        raise ValueError(
            f"label noise needs another class to change to, the data have {classes}: set it to 0"
        )
    where = torch.randperm(len(labels), generator=generator)[:count]
    shift = torch.randint(1, classes, (count,), generator=generator)
    where, shift = where.to(labels.device), shift.to(labels.device)
    noisy[where] = (noisy[where] + shift) % classes
    return noisy
