"""Ranks against their closed forms in float64, and how near the quick way comes to the exact one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hare_tortoise.measures import approximate_rank, effective_rank, rank, singular_values, srank, stable_rank

Count = Callable[[Tensor], Tensor]


def rotated(values: Tensor, samples: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """A matrix of this many samples with these singular values, in a random orientation."""
    generator = torch.Generator().manual_seed(seed)

    def orthonormal(rows: int) -> Tensor:
        start = torch.randn(rows, len(values), dtype=torch.float64, generator=generator)
        return torch.as_tensor(torch.linalg.qr(start).Q)

    return (orthonormal(samples) * values.double() @ orthonormal(len(values)).T).to(dtype)


def exact_effective_rank(features: Tensor) -> float:
    """By hand, from the float64 SVD."""
    values = torch.linalg.svdvals(features.double())
    shares = [value / float(values.sum()) for value in values.tolist()]
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


@pytest.mark.parametrize("method", ["gram", "svd"])
@pytest.mark.parametrize("transposed", [False, True], ids=["tall", "wide"])
def test_singular_values(method: rank.Algorithm, transposed: bool) -> None:
    expected = torch.tensor([5.0, 3.0, 3.0, 0.5, 0.0], dtype=torch.float64)
    features = rotated(expected, 40, torch.float64)
    found = singular_values(features.T if transposed else features, method=method)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=5 * 2.0**-24)


def test_effective_rank_of_known_spectra() -> None:
    assert effective_rank(rotated(torch.ones(7), 30)).item() == pytest.approx(7, rel=1e-6)
    # p = (1/2, 1/4, 1/4): the entropy is 1.5·log 2.
    assert effective_rank(rotated(torch.tensor([2.0, 1.0, 1.0]), 9)).item() == pytest.approx(2**1.5, rel=1e-6)
    assert effective_rank(torch.ones(5, 4)).item() == pytest.approx(1.0, abs=1e-5)
    assert effective_rank(torch.diag(torch.tensor([3.0, 3.0, 0.0]))).item() == 2.0


def test_stable_rank_of_known_spectra() -> None:
    assert stable_rank(rotated(torch.tensor([2.0, 1.0, 1.0]), 9)).item() == pytest.approx(1.5, rel=1e-6)
    assert stable_rank(rotated(torch.ones(7), 30)).item() == pytest.approx(7, rel=1e-6)


def check_srank(count: Count) -> None:
    """A hundred equal singular values: 99 hold 99 %. Then one that holds 98 % and two that hold 1 % each."""
    assert count(torch.eye(100)).item() == 99
    assert count(rotated(torch.ones(100), 150)).item() == 99
    assert count(torch.diag(torch.tensor([98.0, 1.0, 1.0]))).item() == 2
    assert count(torch.eye(10)).item() == 10
    assert count(torch.diag(torch.tensor([1.0, 0.0, 0.0]))).item() == 1


def test_srank() -> None:
    check_srank(srank)


def shares(features: Tensor) -> Tensor:
    values = torch.linalg.svdvals(features.double())
    return torch.as_tensor(values.cumsum(0) / values.sum())


def exceeding(features: Tensor) -> Tensor:
    """The first place where the share is exceeded, not reached, plus one (the code of Hare & Tortoise)."""
    return (shares(features) > 0.99).nonzero()[0, 0] + 1


def without_the_last(features: Tensor) -> Tensor:
    """How many shares lie below, without the one that reaches it (the code of L2 Init)."""
    return (shares(features) < 0.99).sum()


def counted_from_zero(features: Tensor) -> Tensor:
    """The index of the first place where the share is exceeded."""
    return (shares(features) > 0.99).nonzero()[0, 0]


def of_the_variance(features: Tensor) -> Tensor:
    """The same of the squares, which is the approximate rank."""
    return approximate_rank(features)


@pytest.mark.parametrize("fault", [exceeding, without_the_last, counted_from_zero, of_the_variance])
def test_other_counts_are_seen(fault: Count) -> None:
    with pytest.raises(AssertionError):
        check_srank(fault)


def test_srank_is_not_the_stable_rank() -> None:
    # Some code gives srank this name.
    features = torch.diag(torch.tensor([98.0, 1.0, 1.0]))
    assert srank(features).item() == 2
    assert stable_rank(features).item() == pytest.approx(1 + 2 / 98**2)


def test_srank_at_other_shares() -> None:
    features = torch.diag(torch.tensor([5.0, 3.0, 2.0]))
    assert [srank(features, delta=delta).item() for delta in (0.6, 0.5, 0.49, 0.2, 0.19, 0.01)] == [
        1,
        1,
        2,
        2,
        3,
        3,
    ]


def test_approximate_rank_is_of_the_squares() -> None:
    # Squares 99, 0.5, 0.5: the first holds 99 %; of the singular values themselves all three are needed.
    features = torch.diag(torch.tensor([99.0, 0.5, 0.5]).sqrt())
    assert approximate_rank(features).item() == 1
    assert srank(features).item() == 3


SPECTRA = {
    "equal": torch.ones(200),
    "one": (torch.arange(200) < 1).float(),
    "ten": (torch.arange(200) < 10).float(),
    "to 1e-3": torch.logspace(0, -3, 200),
    "to 1e-6": torch.logspace(0, -6, 200),
    "to 1e-12": torch.logspace(0, -12, 200),
    "one, the others 1e-6": torch.full((200,), 1e-6).index_fill(0, torch.tensor(0), 1.0),
    "one, the others below the floor": torch.full((200,), 5e-8).index_fill(0, torch.tensor(0), 1.0),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("samples", [200, 900])
def test_the_gram_matrix_is_as_precise_as_stated(name: str, samples: int) -> None:
    features = rotated(SPECTRA[name], samples)
    exact = torch.linalg.svdvals(features.double())
    found = singular_values(features)
    off = (found - exact).abs()
    assert float(off.max()) <= 2.0**-24 * float(exact[0])
    assert bool((off <= 1e-5 * exact)[exact > 1e-5 * exact[0]].all())
    bound = 2e-6 * 200 if name in ("to 1e-12", "one, the others below the floor") else 1e-5
    assert effective_rank(features).item() == pytest.approx(exact_effective_rank(features), rel=bound)


@pytest.mark.parametrize("count", [effective_rank, stable_rank, srank, approximate_rank])
def test_zeros_are_zero(count: Count) -> None:
    """Products of whole numbers, exact in float32: one direction and no rounding of a second one."""
    features = torch.outer(torch.arange(1.0, 301.0), torch.arange(1.0, 101.0))
    assert singular_values(features).count_nonzero() == 1
    assert count(features).item() == pytest.approx(1, abs=1e-12)


def test_a_gram_matrix_in_float32_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    exactly = rank._lower_gram
    monkeypatch.setattr(rank, "_lower_gram", lambda matrix: exactly(matrix.float()).double())
    with pytest.raises(AssertionError):
        test_the_gram_matrix_is_as_precise_as_stated("to 1e-6", 900)


def test_float64_keeps_what_the_gram_matrix_would_lose() -> None:
    features = rotated(torch.tensor([1.0, 1e-9], dtype=torch.float64), 20, torch.float64)
    assert singular_values(features)[1].item() == pytest.approx(1e-9, rel=1e-6)
    assert singular_values(features, method="gram")[1].item() == 0.0


@pytest.mark.parametrize("count", [effective_rank, stable_rank, srank, approximate_rank])
def test_edges(count: Count) -> None:
    assert count(torch.zeros(4, 3)).item() == 0.0
    assert count(torch.full((1, 5), 2.0)).item() == pytest.approx(1.0, abs=1e-6)
    assert count(torch.full((5, 1), -2.0)).item() == pytest.approx(1.0, abs=1e-6)
    assert count(1e30 * torch.eye(3)).item() == pytest.approx(3)
    assert count(1e-30 * torch.eye(3)).item() == pytest.approx(3)
    found = count(torch.eye(3).requires_grad_())
    assert found.dtype == torch.float64
    assert found.shape == ()
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["auto", "svd"])
def test_half_precision_is_computed_in_higher(dtype: torch.dtype, method: rank.Algorithm) -> None:
    features = torch.randn(50, 20, generator=torch.Generator().manual_seed(0)).relu().to(dtype)
    expected = exact_effective_rank(features)
    assert effective_rank(features, method=method).item() == pytest.approx(expected, rel=1e-6)
    # Squares of these would overflow.
    assert effective_rank(torch.full((300, 2), 3e4, dtype=dtype)).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.ones(3), r"features has shape \(3,\), expected \(samples, features\)"),
        (torch.ones(2, 3, 4), r"features has shape \(2, 3, 4\)"),
        (torch.ones(0, 3), r"features has shape \(0, 3\)"),
        (torch.ones(3, 3, dtype=torch.long), r"features is of torch\.int64, expected a floating dtype"),
    ],
)
@pytest.mark.parametrize("count", [effective_rank, stable_rank, srank, approximate_rank])
def test_what_has_no_rank_is_refused(count: Count, features: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count(features)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [effective_rank, stable_rank, srank, approximate_rank])
def test_what_is_not_finite_has_no_rank(count: Count, dtype: torch.dtype, value: float) -> None:
    features = torch.ones(4, 3, dtype=dtype)
    features[2, 1] = value
    found = count(features)
    assert math.isnan(found.item())
    assert found.dtype == torch.float64
    assert singular_values(features.T).isnan().tolist() == [True] * 3


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="method is 'qr', expected one of auto, gram, svd"):
        effective_rank(torch.eye(2), method="qr")  # type: ignore[arg-type]
    for delta in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="delta is"):
            srank(torch.eye(2), delta=delta)
