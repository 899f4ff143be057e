from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from hare_tortoise.streams import noisy_labels

Noise = Callable[[Tensor, float, int, torch.Generator], Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    count=st.integers(1, 200),
    ratio=st.floats(0, 1),
    classes=st.integers(2, 12),
    seed=st.integers(0, 2**40),
)
def test_exactly_the_share_is_wrong(count: int, ratio: float, classes: int, seed: int) -> None:
    labels = torch.randint(classes, (count,), generator=generator(seed + 1))
    kept = labels.clone()
    noisy = noisy_labels(labels, ratio, classes, generator(seed))
    assert int((noisy != labels).sum()) == round(ratio * count)
    assert 0 <= int(noisy.min()) <= int(noisy.max()) < classes
    assert torch.equal(noisy, noisy_labels(labels, ratio, classes, generator(seed)))
    assert torch.equal(labels, kept)


def check_uniform(noise: Noise) -> None:
    """Each other class is equally likely, the own one impossible, and every example alike (p > 0.001)."""
    classes, count = 5, 20_000
    labels = torch.arange(count) % classes
    noisy = noise(labels, 0.5, classes, generator(0))
    table = torch.zeros(classes, classes, dtype=torch.int64)
    changed = noisy != labels
    table.index_put_((labels[changed], noisy[changed]), torch.ones(1, dtype=torch.int64), accumulate=True)
    assert int(changed.sum()) == count // 2
    others = table[~torch.eye(classes, dtype=torch.bool)]
    assert chisquare(others.numpy()).pvalue > 0.001
    assert chisquare(changed.view(20, -1).sum(1).numpy()).pvalue > 0.001


def test_the_wrong_label_is_uniform_over_the_other_classes() -> None:
    check_uniform(noisy_labels)


def test_the_check_notices_known_faults() -> None:
    def own_class_too(labels: Tensor, ratio: float, classes: int, source: torch.Generator) -> Tensor:
        chosen = torch.rand(len(labels), generator=source) < ratio
        return torch.where(chosen, torch.randint(classes, labels.shape, generator=source), labels)

    def next_class(labels: Tensor, ratio: float, classes: int, source: torch.Generator) -> Tensor:
        chosen = torch.randperm(len(labels), generator=source) < ratio * len(labels)
        return torch.where(chosen, (labels + 1) % classes, labels)

    def first_ones(labels: Tensor, ratio: float, classes: int, source: torch.Generator) -> Tensor:
        shift = torch.randint(1, classes, labels.shape, generator=source)
        shift[int(ratio * len(labels)) :] = 0
        return (labels + shift) % classes

    for fault in (own_class_too, next_class, first_ones):
        with pytest.raises(AssertionError):
            check_uniform(fault)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), True, "half"])
def test_bad_ratio(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        noisy_labels(torch.zeros(3, dtype=torch.int64), ratio, 3, generator())


def test_one_class_has_no_other() -> None:
    with pytest.raises(ValueError, match="another class"):
        noisy_labels(torch.zeros(3, dtype=torch.int64), 0.5, 1, generator())
