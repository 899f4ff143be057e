"""What is kept and what is gained over a sequence of tasks, from the accuracies after each of them.

`R[i][j]` is the accuracy on task `j` after training on task `i`, both counted from 0, for `T` tasks. An entry that
was never evaluated is NaN; a measure that needs it refuses. Accuracies may be shares or percents, the results are
in the same unit. All of these are plain numbers on the host: each function returns a `float`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Row = Sequence[float] | Tensor
Matrix = Sequence[Row] | Tensor


def average_accuracy(accuracies: Matrix) -> float:
    """The mean accuracy over all tasks at the end: `ACC = 1/T · Σ_j R[T-1][j]`.

    Args:
        accuracies: `R`, of shape (T, T), T at least 1.

    Raises:
        ValueError: `R` is not square, or an accuracy that is needed is missing or infinite.

    References:
        Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, arXiv 1706.08840.

    Example:
        >>> average_accuracy([[0.9, 0.1], [0.5, 0.75]])
        0.625
    """
    R = _matrix(accuracies, tasks=1)
    return _mean(_known(R[-1], "the last row"))


def backward_transfer(accuracies: Matrix) -> float:
    """What later tasks did to earlier ones: `BWT = 1/(T-1) · Σ_{j<T-1} (R[T-1][j] − R[j][j])`.

    Negative: the earlier tasks got worse.

    Args:
        accuracies: `R`, of shape (T, T), T at least 2.

    Raises:
        ValueError: `R` is not square or of one task, or an accuracy that is needed is missing or infinite.

    References:
        Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, arXiv 1706.08840.

    Example:
        >>> backward_transfer([[0.75, 0.1], [0.5, 0.75]])
        -0.25
    """
    R = _matrix(accuracies, tasks=2)
    last = _known(R[-1, :-1], "the last row")
    return _mean(last - _known(R.diagonal()[:-1], "the diagonal"))


def forward_transfer(accuracies: Matrix, baseline: Row) -> float:
    """What earlier tasks gave to later ones: `FWT = 1/(T-1) · Σ_{j≥1} (R[j-1][j] − baseline[j])`.

    Args:
        accuracies: `R`, of shape (T, T), T at least 2; the entries just above the diagonal are needed.
        baseline: `b̄`, of shape (T,): the accuracy on each task at random initialisation. The first is not used.

    Raises:
        ValueError: `R` is not square or of one task, the baseline has another length, or an accuracy that is needed
            is missing or infinite.

    References:
        Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, arXiv 1706.08840.

    Example:
        >>> forward_transfer([[0.9, 0.75], [0.5, 0.8]], baseline=[0.5, 0.5])
        0.25
    """
    R = _matrix(accuracies, tasks=2)
    before = _known(R.diagonal(1), "the entries above the diagonal")
    return _mean(before - _known(_row(baseline, len(R), "baseline")[1:], "baseline"))


def forgetting(accuracies: Matrix) -> float:
    """How far the earlier tasks fell below their best: `F = 1/(T-1) · Σ_{j<T-1} (max_{l<T-1} R[l][j] − R[T-1][j])`.

    Negative: they ended above all they had been. The maximum is over all earlier times, as in the paper, those before
    the task was trained on among them where they were evaluated. After task `k` only: give `R[:k+1, :k+1]`.

    Args:
        accuracies: `R`, of shape (T, T), T at least 2. Entries above the diagonal may be NaN.

    Raises:
        ValueError: `R` is not square or of one task, or an accuracy on or below the diagonal is missing (the maximum
            would be too small) or any is infinite.

    References:
        Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, arXiv 1801.10112.

    Example:
        >>> forgetting([[0.75, 0.1], [0.5, 0.75]])
        0.25
    """
    R = _matrix(accuracies, tasks=2)
    evaluated = torch.ones_like(R, dtype=torch.bool).tril()
    _known(R[evaluated][:-1], "the entries on and below the diagonal")
    best = R[:-1, :-1].nan_to_num(nan=-math.inf).amax(0)
    return _mean(best - R[-1, :-1])


def intransigence(accuracies: Matrix, reference: Row) -> float:
    """How far new tasks fall short of a reference: the mean over `k` of `I_k = reference[k] − R[k][k]`.

    It is continual learning's name for the loss of plasticity. The paper has an `I_k` for each task; the mean over
    the tasks is this package's. Negative: the network learns the tasks better than the reference.

    Args:
        accuracies: `R`, of shape (T, T), T at least 1; its diagonal is needed.
        reference: `a*`, of shape (T,): the accuracy on task `k` of a network trained from scratch on the data of all
            tasks up to `k`.

    Raises:
        ValueError: `R` is not square, the reference has another length, or an accuracy that is needed is missing or
            infinite.

    References:
        Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, arXiv 1801.10112.

    Example:
        >>> intransigence([[0.75, 0.1], [0.5, 0.5]], reference=[0.75, 1.0])
        0.25
    """
    R = _matrix(accuracies, tasks=1)
    return _mean(
        _known(_row(reference, len(R), "reference"), "reference") - _known(R.diagonal(), "the diagonal")
    )


def online_accuracy(accuracies: Row, sizes: Row | None = None) -> float:
    """The mean accuracy on data before training on them: `Σ_t sizes[t] · accuracies[t] / Σ_t sizes[t]`.

    Args:
        accuracies: of shape (steps,), each taken on a batch, chunk or task just before it was trained on.
        sizes: of shape (steps,): how many samples each has, positive; None: all alike.

    Raises:
        ValueError: nothing was given, the lengths differ, a size is not positive, or an accuracy is missing.

    References:
        Elsayed and Mahmood, "Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
        ICLR 2024, arXiv 2404.00781; Dohare et al., Nature 2024, for permuted MNIST.

    Example:
        >>> online_accuracy([0.5, 1.0], sizes=[300, 100])
        0.625
    """
    known = _known(_row(accuracies, None, "accuracies"), "accuracies")
    weights = torch.ones_like(known) if sizes is None else _row(sizes, len(known), "sizes")
    if not bool((weights.isfinite() & (weights > 0)).all()):
        raise ValueError(
            f"sizes are {weights.tolist()}, expected positive numbers: leave out what has no samples"
        )
    return float((weights * known).sum() / weights.sum())


def _matrix(accuracies: Matrix, *, tasks: int) -> Tensor:
    """The accuracies as a square matrix in float64 of at least so many tasks."""
    if not isinstance(accuracies, Tensor):
        lengths = sorted({len(row) for row in accuracies})
        if lengths != [len(accuracies)]:
            raise ValueError(
                f"accuracies has {len(accuracies)} rows, of length {lengths}, expected a square matrix: a row for each "
                "task trained on, with an entry for each task, NaN where it was not evaluated"
            )
        accuracies = torch.stack([_as_tensor(row) for row in accuracies])
    R = _as_tensor(accuracies)
    if R.ndim != 2 or R.shape[0] != R.shape[1]:
        raise ValueError(
            f"accuracies has shape {tuple(R.shape)}, expected (tasks, tasks): R[i][j] is the accuracy on task j after "
            "training on task i"
        )
    if bool(R.isinf().any()):
        raise ValueError(
            "accuracies holds an infinite number, expected accuracies, and NaN for what was not evaluated"
        )
    if len(R) < tasks:
        raise ValueError(
            f"accuracies is of {len(R)} tasks, expected at least {tasks}: there is nothing to compare"
        )
    return R


def _row(values: Row, length: int | None, name: str) -> Tensor:
    row = _as_tensor(values)
    if row.ndim != 1 or len(row) == 0 or (length is not None and len(row) != length):
        expected = "one number or more" if length is None else f"{length} numbers"
        raise ValueError(f"{name} has shape {tuple(row.shape)}, expected {expected} in one dimension")
    return row


def _as_tensor(values: Row) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()


def _known(values: Tensor, where: str) -> Tensor:
    if not bool(values.isfinite().all()):
        raise ValueError(
            f"{where} holds {values.tolist()}, expected finite accuracies: evaluate what is NaN, or leave its task out"
        )
    return values


def _mean(values: Tensor) -> float:
    return float(values.mean())
