"""The top eigenvalues of a symmetric operator, by the Lanczos iteration of `hessian-eigenthings`.

What that iteration does not do by itself is done here:

- It notices that the vectors it can reach are used up by an absolute 1e-12 only. In float32 it goes on with rounding
  for a direction, and reports eigenvalues as converged that are none; here it is cut off before. An operator whose
  largest eigenvalue is below 1e-12 is taken for used up at once; here operators are scaled.
- From one start vector only one copy of an eigenvalue is found. Here it starts again, orthogonally to what was found.
- Its norms of ten million float32 numbers are off by 4e-4 on a CPU, and the eigenvalues with them; here sums are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_WIDTH = 2**12


def largest(
    library: ModuleType,
    operator: Any,
    k: int,
    *,
    by_magnitude: bool,
    tolerance: float,
    budget: int,
    seed: int,
) -> tuple[Tensor, float]:
    """The top `k` eigenvalues of an operator of the library, and how well they are known.

    Args:
        library: the module `hessian_eigenthings`.
        operator: symmetric, of more dimensions than the budget; its products are finite, or it raises.
        k: how many, at most the budget.
        by_magnitude: the largest in magnitude; False: the largest.
        tolerance: accepted error relative to the largest magnitude found.
        budget: of products.
        seed: of the start vectors.

    Returns:
        Shape (k,) in descending order, and a bound relative to the largest magnitude found: within it of each lies an
        eigenvalue, and none above the last was left out by more. It is infinite where nothing shows the latter, and
        zeros stand for those that were not found.
    """
    generator = torch.Generator().manual_seed(seed)
    found = _Found(operator, k, by_magnitude)
    steps, start = 2 * k + 20, None
    while budget >= 2 and not found.complete:
        if start is None:
            start = found.without(torch.randn(operator.size, generator=generator, dtype=operator.dtype))
        ritz = _iterate(library, found, start, min(steps, budget - 1))
        budget -= ritz.products
        # What is left of the budget does not do for a longer run.
        last = budget <= ritz.products
        if found.add(ritz, tolerance, final=last):
            start = None
        elif last:
            break
        else:
            steps *= 2
    return found.result()


def exact_sums(library: ModuleType) -> Any:
    """The library's arithmetic of vectors, with sums that do not lose digits however long the vectors are."""

    class ExactSums(library.linalg.SingleDeviceBackend):  # type: ignore[misc, name-defined]
        def dot(self, a: Tensor, b: Tensor) -> Tensor:
            whole = len(a) - len(a) % _WIDTH
            parts: Tensor = torch.linalg.vecdot(a[:whole].view(-1, _WIDTH), b[:whole].view(-1, _WIDTH))
            return parts.sum() + torch.dot(a[whole:], b[whole:])

        def norm(self, a: Tensor) -> Tensor:
            return self.dot(a, a).sqrt()

    return ExactSums()


@dataclass(frozen=True)
class _Ritz:
    """Approximate eigenvalues, in float64 on the CPU, with bounds of their errors."""

    values: Tensor
    errors: Tensor
    coefficients: Tensor
    basis: list[Tensor]
    products: int

    def vectors(self, chosen: Tensor) -> Tensor:
        """The eigenvectors of those chosen, in columns."""
        weights = self.coefficients[:, chosen].to(self.basis[0])
        columns = self.basis[0].new_zeros(len(self.basis[0]), len(chosen))
        for weight, vector in zip(weights, self.basis, strict=True):
            columns.addr_(vector, weight)
        return columns


class _Found:
    """Eigenpairs that were found; as an operator, what the other one does orthogonally to them."""

    def __init__(self, operator: Any, k: int, by_magnitude: bool) -> None:
        self.operator = operator
        self.k = k
        self.by_magnitude = by_magnitude
        self.values = torch.empty(0, dtype=torch.float64)
        self.errors = torch.empty(0, dtype=torch.float64)
        self.vectors = torch.empty(operator.size, 0, dtype=operator.dtype, device=operator.device)
        self.scale = 0.0
        self.complete = False
        # Of a larger eigenvalue than the k-th, by how much it may have been missed.
        self.missed = math.inf

    def key(self, values: Tensor) -> Tensor:
        return values.abs() if self.by_magnitude else values

    def without(self, vector: Tensor) -> Tensor:
        """The part of a vector that is orthogonal to those found."""
        vector = vector.to(self.vectors)
        if not self.vectors.shape[1]:
            return vector
        for _ in range(2):
            vector = vector - self.vectors @ (self.vectors.T @ vector)
        return vector

    def product(self, vector: Tensor) -> Tensor:
        return self.without(self.operator.matvec(self.without(vector)))

    def add(self, ritz: _Ritz, tolerance: float, *, final: bool) -> bool:
        """Take up what one iteration found. False: nothing, it must be run for longer."""
        order = self.key(ritz.values).argsort(descending=True)[: self.k]
        values, errors = ritz.values[order], ritz.errors[order]
        left = float(ritz.values.abs().max())
        self.scale = max(self.scale, left)
        settled = errors <= tolerance * self.scale
        if left <= _rounding(self.operator.dtype) * self.scale:
            # A random vector meets every direction that is left: all that is left is zero.
            self.values = torch.cat([self.values, self.values.new_zeros(self.k)])
            self.errors = torch.cat([self.errors, self.errors.new_full((self.k,), left)])
            self.complete, self.missed = True, 0.0
            return True
        if len(self.values) >= self.k:
            least = self.key(self.values).sort(descending=True).values[self.k - 1]
            self.missed = max(0.0, float(self.key(values[:1]) + errors[:1] - least))
            self.complete = self.missed <= tolerance * self.scale
            enter = settled & (self.key(values) > least)
            if self.complete or not enter[0]:
                return self.complete
        elif not (settled.all() or final):
            return False
        else:
            enter = torch.ones_like(settled)
        self.values = torch.cat([self.values, values[enter]])
        self.errors = torch.cat([self.errors, errors[enter]])
        # The first iteration meets every eigenvalue, whatever its start, but only once.
        if self.k == 1:
            self.complete, self.missed = True, 0.0
        else:
            self.vectors = torch.linalg.qr(torch.cat([self.vectors, ritz.vectors(order[enter])], dim=1))[0]
        return True

    def result(self) -> tuple[Tensor, float]:
        missing = max(0, self.k - len(self.values))
        values = torch.cat([self.values, self.values.new_zeros(missing)])
        errors = torch.cat([self.errors, self.errors.new_full((missing,), math.inf)])
        order = self.key(values).argsort(descending=True)[: self.k]
        error = max(self.missed, float(errors[order].max()))
        known = values[order].to(self.operator.dtype).to(self.operator.device)
        return known, error / self.scale if error else 0.0


def _iterate(library: ModuleType, found: _Found, start: Tensor, steps: int) -> _Ritz:
    """One run of the library's iteration of at most so many steps, and one product more."""
    backend = exact_sums(library)
    scale = found.product(start / backend.norm(start)).abs().amax().item()
    unit = scale or 1.0
    scaled = library.LambdaOperator(
        lambda vector: found.product(vector) / unit,
        found.operator.size,
        device=found.operator.device,
        dtype=found.operator.dtype,
    )
    run = library.lanczos_tridiagonal(scaled, start, steps, reorthogonalize=True, backend=backend)
    diagonal, beside = run.alphas.cpu().double(), run.betas.cpu().double()
    # The last one is how far the space that was reached is from being closed.
    beside = torch.cat([beside, beside.new_tensor([run.last_beta])])
    least = _rounding(found.operator.dtype) * max(float(diagonal.abs().max()), float(beside.max()))
    closed = (beside <= least).nonzero()
    size = int(closed[0]) + 1 if len(closed) else len(diagonal)
    matrix = diagonal[:size].diag() + beside[: size - 1].diag(1) + beside[: size - 1].diag(-1)
    values, coefficients = torch.linalg.eigh(matrix)
    errors = beside[size - 1] * coefficients[-1].abs()
    return _Ritz(values * unit, errors * unit, coefficients, run.basis[:size], run.iterations + 1)


def _rounding(dtype: torch.dtype) -> float:
    """Relative to the largest eigenvalue, what is too small to give a direction that is orthogonal to the others."""
    return math.sqrt(torch.finfo(dtype).eps)
