"""Churn: how much the answers to the same inputs change from one time to the next."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def churn(outputs: Tensor, previous: Tensor) -> Tensor:
    """The mean change of the outputs: `mean |f_θ(x) − f_θ_prev(x)|`, over all samples and outputs.

    Args:
        outputs: of the network now on reference inputs, floating, any shape.
        previous: of the network before, on the same inputs, in the same shape.

    Returns:
        A scalar tensor, at least float32; NaN or infinite if an output is.

    Raises:
        ValueError: the shapes differ, or there are no outputs.

    References:
        Tang et al., "Mitigating Plasticity Loss in Continual Reinforcement Learning by Reducing Churn", ICML 2025,
        arXiv 2506.00592, where it is taken of Q-values.

    Example:
        >>> churn(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]))
        tensor(1.5000)
    """
    _check(outputs, previous, dimensions=0)
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    return (outputs.to(dtype) - previous.to(outputs.device, dtype)).abs().mean()


@torch.no_grad()
def decision_churn(outputs: Tensor, previous: Tensor) -> Tensor:
    """The share of samples whose largest output is another: `mean [argmax f_θ(x) ≠ argmax f_θ_prev(x)]`.

    Of equal outputs the first counts, before and now.

    Args:
        outputs: of the network now on reference inputs, shape (samples, ..., outputs).
        previous: of the network before, on the same inputs, in the same shape.

    Returns:
        A float32 scalar tensor from 0 to 1; NaN if an output is NaN or infinite, before or now.

    Raises:
        ValueError: the shapes differ, there are no outputs, or only one per sample.

    References:
        Tang et al., ICML 2025, arXiv 2506.00592, where it is the share of changed greedy actions.

    Example:
        >>> decision_churn(torch.tensor([[1.0, 2.0], [5.0, 0.0]]), torch.tensor([[2.0, 1.0], [1.0, 0.0]]))
        tensor(0.5000)
    """
    _check(outputs, previous, dimensions=2)
    previous = previous.to(outputs.device)
    changed = (_first_largest(outputs) != _first_largest(previous)).float().mean()
    # A NaN is no decision: of two networks of nothing else none would seem to change.
    return changed.where(outputs.isfinite().all() & previous.isfinite().all(), math.nan)


def _first_largest(outputs: Tensor) -> Tensor:
    # Of equal values torch.argmax may give any.
    return (outputs == outputs.amax(-1, keepdim=True)).to(torch.uint8).cumsum(-1).eq(0).sum(-1)


def _check(outputs: Tensor, previous: Tensor, *, dimensions: int) -> None:
    if outputs.shape != previous.shape:
        raise ValueError(
            f"outputs has shape {tuple(outputs.shape)} and previous {tuple(previous.shape)}, expected the same: give "
            "the answers to the same inputs"
        )
    if outputs.ndim < dimensions or (dimensions and outputs.shape[-1] < 2):
        raise ValueError(
            f"outputs has shape {tuple(outputs.shape)}, expected (samples, outputs) with at least 2 outputs: with one "
            "there is nothing to decide; take churn()"
        )
    if outputs.numel() == 0:
        raise ValueError("outputs is empty, expected the answers to one input at least")
