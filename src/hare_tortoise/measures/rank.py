"""How many directions the features of a network use: four ranks, all of the singular values of one matrix."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Algorithm = Literal["auto", "gram", "svd"]
# What rounding to float32 does to a number, relative to it.
_FLOAT32_ROUNDING = 2.0**-24
# What a decomposition in float32 may do to the shares of equal singular values.
_ROUNDING = 1e-6


@torch.no_grad()
def singular_values(features: Tensor, *, method: Algorithm = "auto") -> Tensor:
    """The singular values of a matrix of features, in descending order.

    `method="gram"` takes the square roots of the eigenvalues of `FᵀF` (or `FFᵀ`, the smaller one), computed in
    float64, which is faster. Squaring costs half of float64's digits: singular values below `2⁻²⁴·σ_max`, what
    rounding to float32 leaves of the largest one, count as zero; none is off by more than about `2⁻²⁴·σ_max`, and
    those above `1e-5·σ_max` are right to 1e-5 of themselves. An SVD in float32 is off by more, one in float64 by
    less. "svd" is `torch.linalg.svdvals` in the dtype of the features, at least float32. "auto" is "svd" for float64,
    else "gram".

    Args:
        features: shape (samples, features), floating; more of either than of the other is fine, and so is one. Half
            precision is computed in higher.
        method: "auto", "gram" or "svd".

    Returns:
        float64, shape (min(samples, features),), on the device of the features (the CPU in place of MPS, which has no
        float64). All are NaN if a feature is NaN or infinite (asking that waits for the device, as the decompositions
        do).

    Raises:
        ValueError: the features are no matrix, empty, or not floating; `method` is unknown.

    Example:
        >>> singular_values(torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])).tolist()
        [4.0, 3.0]
    """
    if method not in get_args(Algorithm):
        raise ValueError(f"method is {method!r}, expected one of {', '.join(get_args(Algorithm))}")
    matrix = _checked(features)
    if method == "auto":
        method = "svd" if matrix.dtype == torch.float64 else "gram"
    # LAPACK is several times faster on a tall matrix than on its transpose.
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if method == "svd":
        if not _finite(tall):
            return _unknown(tall)
        values: Tensor = torch.linalg.svdvals(tall.to(torch.promote_types(tall.dtype, torch.float32)))
        return values.double()
    gram = _lower_gram(tall.double())
    # Each element is in a square on the diagonal, which is quicker to look through.
    if not _finite(gram.diagonal()):
        return _unknown(tall)
    squares: Tensor = torch.linalg.eigvalsh(gram).flip(0)
    floor = squares[0] * _FLOAT32_ROUNDING**2
    return squares.where(squares > floor, 0).sqrt()


def effective_rank(features: Tensor, *, method: Algorithm = "auto") -> Tensor:
    """The exponential of the entropy of the singular values: over how many directions the features spread.

        p_i = σ_i / Σσ        effective_rank = exp(−Σ p_i·log p_i)

    The features are not centred. Between 1 and min(samples, features); 0 if all features are zero. The
    "smooth rank" of the code of Hare & Tortoise adds 1e-6 to each p, which raises it where many are zero.

    Precision: for features up to float32 within `2e-6 · min(samples, features)`, relative, of what the float64 SVD of
    the same matrix gives, whatever its condition, and within 1e-5 where no singular value but zeros lies below
    `1e-6·σ_max`; for float64 as the SVD.

    Args:
        features: shape (samples, features), floating: for example `features(model, inputs)`.
        method: how the singular values are computed, see `singular_values`.

    Returns:
        A float64 scalar; NaN if a feature is not finite.

    Raises:
        ValueError: as `singular_values`.

    References:
        Roy and Vetterli, "The effective rank: A measure of effective dimensionality", EUSIPCO 2007.

    Example:
        >>> effective_rank(torch.eye(4)).item()
        4.0
    """
    return entropy_rank(singular_values(features, method=method))


def entropy_rank(values: Tensor) -> Tensor:
    """The effective rank of a matrix with these singular values, in descending order."""
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    entropy = -torch.special.xlogy(share, share).sum()
    # What is not above 0 is 0, or NaN, and stays so.
    return torch.where(values[0] > 0, entropy.exp(), values[0])


def stable_rank(features: Tensor, *, method: Algorithm = "auto") -> Tensor:
    """The squared Frobenius norm over the squared largest singular value: `Σσ² / σ_max²`.

    Between 1 and min(samples, features); 0 if all features are zero. It is no count, and hardly heeds small
    singular values. (Some public code gives this name to `srank`.)

    Args:
        features: shape (samples, features), floating.
        method: how the singular values are computed, see `singular_values`.

    Returns:
        A float64 scalar; NaN if a feature is not finite.

    Raises:
        ValueError: as `singular_values`.

    References:
        Rudelson and Vershynin, "Sampling from large matrices", 2007, arXiv math/0503442.

    Example:
        >>> stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))).item()
        1.5
    """
    return energy_rank(singular_values(features, method=method))


def energy_rank(values: Tensor) -> Tensor:
    """The stable rank of a matrix with these singular values, in descending order."""
    return torch.where(values[0] > 0, (values / values[0]).square().sum(), values[0])


def srank(features: Tensor, *, delta: float = 0.01, method: Algorithm = "auto") -> Tensor:
    """The number of largest singular values that hold a share of `1 − delta` of their sum.

        srank = min{k: Σ_{i≤k} σ_i ≥ (1 − delta)·Σσ}

    Ten equal singular values at delta 0.1 have an srank of 9: the share is reached, not exceeded, and k counts from
    one. (Public code has it with `>`, and without counting the k-th; 10 and 8 there.) A share that misses by
    1e-6, as by rounding, is reached. 0 if all features are zero.

    Args:
        features: shape (samples, features), floating.
        delta: in (0, 1); 0.01 in the papers.
        method: how the singular values are computed, see `singular_values`.

    Returns:
        A whole number as a float64 scalar; NaN if a feature is not finite.

    Raises:
        ValueError: `delta` is out of range; else as `singular_values`.

    References:
        Kumar, Agarwal, Ghosh and Levine, "Implicit Under-Parameterization Inhibits Data-Efficient Deep
        Reinforcement Learning", ICLR 2021, arXiv 2010.14498.

    Example:
        >>> srank(torch.eye(10), delta=0.1).item(), srank(torch.eye(10)).item()
        (9.0, 10.0)
    """
    return counted_rank(singular_values(features, method=method), delta)


def approximate_rank(features: Tensor, *, delta: float = 0.01, method: Algorithm = "auto") -> Tensor:
    """The number of largest singular values that hold a share of `1 − delta` of the sum of their squares.

        approximate_rank = min{k: Σ_{i≤k} σ_i² ≥ (1 − delta)·Σσ²}

    As `srank`, of the variance instead of the singular values, and so never above it.

    Args:
        features: shape (samples, features), floating.
        delta: in (0, 1).
        method: how the singular values are computed, see `singular_values`.

    Returns:
        A whole number as a float64 scalar; NaN if a feature is not finite.

    Raises:
        ValueError: `delta` is out of range; else as `singular_values`.

    References:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024 (as in its code).

    Example:
        >>> approximate_rank(torch.diag(torch.tensor([10.0, 1.0, 0.1]))).item()
        1.0
    """
    return counted_rank(singular_values(features, method=method).square(), delta)


def counted_rank(values: Tensor, delta: float = 0.01) -> Tensor:
    """How many of these, in descending order, hold a share of `1 − delta` of their sum."""
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}, expected a number between 0 and 1; 0.01 is usual")
    total = values.sum()
    # Equal singular values come out of the decomposition equal but for rounding.
    reached = values.cumsum(0) >= (1 - delta - _ROUNDING) * total
    return torch.where(total > 0, (~reached).sum() + 1.0, total).double()


def _checked(features: Tensor) -> Tensor:
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(
            f"features has shape {tuple(features.shape)}, expected (samples, features), at least one of each: flatten "
            "the other dimensions"
        )
    if not features.is_floating_point():
        raise ValueError(f"features is of {features.dtype}, expected a floating dtype: call .float()")
    return features.detach().cpu() if features.device.type == "mps" else features.detach()


def _finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _unknown(tall: Tensor) -> Tensor:
    # The decompositions raise, or do not end, on a NaN.
    return tall.new_full((tall.shape[1],), math.nan, dtype=torch.float64)


def _lower_gram(matrix: Tensor) -> Tensor:
    """The lower triangle of `FᵀF` in two blocks of columns, which saves a quarter of the product."""
    width = matrix.shape[1]
    half = width // 2
    gram = matrix.new_zeros(width, width)
    torch.mm(matrix.T, matrix[:, :half], out=gram[:, :half])
    torch.mm(matrix[:, half:].T, matrix[:, half:], out=gram[half:, half:])
    return gram
