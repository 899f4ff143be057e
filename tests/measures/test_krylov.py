"""The top eigenvalues of matrices of known spectrum, by the library's iteration as it is used here and by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import hessian_eigenthings
import pytest
import torch
from torch import Tensor

from hare_tortoise.measures import krylov

SIZE = 200
SPECTRA: dict[str, Sequence[float]] = {
    "low rank": [5.0, 3.0, -2.0, 1.0],
    "repeated": [4.0] * 10 + [2.0] * 10,
    "of both signs": [1.0, -0.99] * 5,
    "decaying": [(-0.9) ** i for i in range(SIZE)],
    "tiny": [5e-20, 3e-20, -2e-20],
    "huge": [5e8, -3e8, 1e8],
    "zero": [0.0],
    "negative": [-5 * 0.7**i for i in range(SIZE)],
}


def symmetric(spectrum: Sequence[float], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    Q: Tensor = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64))[0]
    values = torch.zeros(SIZE, dtype=torch.float64)
    values[: len(spectrum)] = torch.tensor(spectrum, dtype=torch.float64)
    return ((Q * values) @ Q.T).to(dtype)


def top(matrix: Tensor, k: int, by_magnitude: bool, budget: int = 180, seed: int = 0) -> tuple[Tensor, float]:
    operator = hessian_eigenthings.LambdaOperator(lambda vector: matrix @ vector, SIZE, dtype=matrix.dtype)
    return krylov.largest(
        hessian_eigenthings, operator, k, by_magnitude=by_magnitude, tolerance=1e-3, budget=budget, seed=seed
    )


def check_top(spectrum: Sequence[float], dtype: torch.dtype, k: int, by_magnitude: bool) -> None:
    values, error = top(symmetric(spectrum, dtype), k, by_magnitude)
    known = torch.zeros(SIZE, dtype=torch.float64)
    known[: len(spectrum)] = torch.tensor(spectrum, dtype=torch.float64)
    order = (known.abs() if by_magnitude else known).argsort(descending=True, stable=True)[:k]
    assert error <= 1e-3
    assert values.dtype == dtype
    scale = float(known.abs().max()) or 1.0
    torch.testing.assert_close(values.double() / scale, known[order] / scale, rtol=0, atol=1e-3)


@pytest.mark.parametrize("by_magnitude", [True, False])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPECTRA)
def test_known_spectra(name: str, dtype: torch.dtype, k: int, by_magnitude: bool) -> None:
    check_top(SPECTRA[name], dtype, k, by_magnitude)


def library_lanczos(matrix: Tensor, k: int, by_magnitude: bool) -> tuple[Tensor, float]:
    operator = hessian_eigenthings.LambdaOperator(lambda vector: matrix @ vector, SIZE, dtype=matrix.dtype)
    found = hessian_eigenthings.lanczos(
        operator, k=k, max_iter=50, seed=0, which="LM" if by_magnitude else "LA"
    )
    assert bool(found.converged[: len(found.eigenvalues)].any())
    return torch.nn.functional.pad(found.eigenvalues, (0, k - len(found.eigenvalues))), 0.0


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("low rank", torch.float32),
        ("repeated", torch.float64),
        ("tiny", torch.float64),
    ],
    ids=["converged ghosts", "one copy only", "an absolute threshold"],
)
def test_why_the_librarys_own_is_not_enough(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its faults, each of which the check sees; if one is mended in a later version, this fails and says so."""
    monkeypatch.setitem(check_top.__globals__, "top", library_lanczos)
    with pytest.raises(AssertionError):
        check_top(SPECTRA[name], dtype, 4, True)


def without_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(krylov, "_rounding", lambda dtype: 0.0)


def without_starting_again(monkeypatch: pytest.MonkeyPatch) -> None:
    original = krylov._Found.add

    def add(self: krylov._Found, ritz: krylov._Ritz, tolerance: float, *, final: bool) -> bool:
        added = original(self, ritz, tolerance, final=final)
        self.complete, self.missed = added, 0.0
        return added

    monkeypatch.setattr(krylov._Found, "add", add)


@pytest.mark.parametrize(
    ("fault", "name", "dtype"),
    [(without_a_cut, "low rank", torch.float32), (without_starting_again, "repeated", torch.float64)],
)
def test_faults_are_seen(
    fault: Callable[[pytest.MonkeyPatch], None],
    name: str,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        check_top(SPECTRA[name], dtype, 4, True)


def test_a_budget_that_is_too_small_is_told() -> None:
    values, error = top(symmetric([1 - 0.001 * i for i in range(SIZE)], torch.float64), 4, True, budget=12)
    assert error > 1e-3
    assert values.shape == (4,)
    assert top(symmetric([4.0] * 10, torch.float64), 4, True, budget=4)[1] == math.inf
    # Both found are eigenvalues, but nothing is left to see that the larger one stands several times.
    values, error = top(symmetric(SPECTRA["repeated"], torch.float64), 2, True, budget=5)
    torch.testing.assert_close(values, torch.tensor([4.0, 2.0], dtype=torch.float64))
    assert error == math.inf


def test_there_is_an_eigenvalue_within_the_bound() -> None:
    spectrum = [1 - 0.001 * i for i in range(SIZE)]
    matrix = symmetric(spectrum, torch.float64)
    for budget in (10, 20, 40, 80):
        values, error = top(matrix, 1, True, budget=budget)
        assert min(abs(values.item() - known) for known in spectrum) <= error


def test_the_budget_is_kept() -> None:
    calls = 0
    matrix = symmetric(SPECTRA["decaying"], torch.float64)

    def product(vector: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return matrix @ vector

    operator = hessian_eigenthings.LambdaOperator(product, SIZE, dtype=matrix.dtype)
    for budget in (2, 3, 10, 50):
        calls = 0
        krylov.largest(
            hessian_eigenthings, operator, 2, by_magnitude=True, tolerance=1e-12, budget=budget, seed=0
        )
        assert calls <= budget


def test_sums_of_long_vectors_do_not_lose_digits() -> None:
    exact, own = krylov.exact_sums(hessian_eigenthings), hessian_eigenthings.linalg.SingleDeviceBackend()
    vector = torch.full((10_000_001,), 0.3)
    expected = vector.double().norm().item()
    assert exact.norm(vector).item() == pytest.approx(expected, rel=2e-6)
    assert exact.dot(vector, vector).item() == pytest.approx(expected**2, rel=4e-6)
    assert own.norm(vector).item() != pytest.approx(expected, rel=2e-6)
