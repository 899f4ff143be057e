"""How a Probe takes the measures that need derivatives, or what the network answered the last time.

What costs many passes is taken of fewer samples, spread evenly over those of the probe.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .churn import churn, decision_churn
from .context import Context
from .curvature import (
    bounded_eigenvalues,
    hessian_effective_rank,
    hessian_eigenvalues,
    hessian_rank,
    hessian_trace,
)
from .derivatives import parameters
from .gradients import (
    by_layer,
    fresh_gradients,
    gradient_alignment,
    gradient_conflict,
    gradient_covariance,
    gradient_norm,
    gradient_norm_per_layer,
    zero_gradient_ratio,
)
from .ntk import ntk_rank

PAIRS, KERNEL, CURVATURE, EIGENVALUES, PRODUCTS = 64, 32, 512, 50, 400


def take_gradient_norm(context: Context) -> dict[str, float]:
    """The 2-norm of the whole gradient; the 1-norm as "l1", those of the layers as "layer/…" and "l1/layer/…"."""
    gradients = _gradients(context)
    found = {"": float(gradient_norm(gradients)), "l1": float(gradient_norm(gradients, order=1))}
    for prefix, order in (("", 2), ("l1/", 1)):
        for layer, norm in gradient_norm_per_layer(gradients, order=order).items():
            found[f"{prefix}layer/{layer}"] = float(norm)
    return found


def take_zero_gradient_ratio(context: Context) -> dict[str, float]:
    """The share of zeros in the whole gradient, and in those of the layers as "layer/…"."""
    gradients = _gradients(context)
    found = {"": float(zero_gradient_ratio(gradients))}
    for layer, members in by_layer(gradients).items():
        found[f"layer/{layer}"] = float(zero_gradient_ratio(members))
    return found


def take_gradient_covariance(context: Context) -> dict[str, float]:
    """The mean cosine of the gradients of pairs of at most 64 samples; the share of negative ones as "conflict"."""
    inputs, targets = spread(context, PAIRS)
    covariance = gradient_covariance(context.model, inputs, targets, loss=context.loss)
    return {"": float(gradient_alignment(covariance)), "conflict": float(gradient_conflict(covariance))}


def take_ntk_rank(context: Context) -> float:
    """The rank of the empirical tangent kernel of at most 32 samples."""
    return float(ntk_rank(context.model, spread(context, KERNEL)[0]))


def take_hessian_eigenvalue(context: Context) -> float:
    """The eigenvalue of the Hessian of at most 512 samples that is largest in magnitude, with its sign."""
    return float(hessian_eigenvalues(context.model, *spread(context, CURVATURE), loss=context.loss))


def take_hessian_trace(context: Context) -> float:
    """The trace of the Hessian of at most 512 samples."""
    return float(hessian_trace(context.model, *spread(context, CURVATURE), loss=context.loss))


def take_hessian_rank(context: Context) -> dict[str, float]:
    """The effective rank of the top 50 singular values of the Hessian of at most 512 samples.

    Their srank, which 50 are soon too few for, is beside it as "srank"; as "error" the bound of the errors of the
    eigenvalues, relative to the largest, infinite where some may have been missed.
    """
    k = min(EIGENVALUES, sum(weight.numel() for weight in parameters(context.model).values()))
    inputs, targets = spread(context, CURVATURE)
    values, error = bounded_eigenvalues(
        context.model, inputs, targets, k=k, loss=context.loss, max_products=PRODUCTS
    )
    rank, srank = float(hessian_effective_rank(values)), float(hessian_rank(values))
    return {"": rank, "srank": srank, "error": error}


def take_churn(context: Context) -> dict[str, float]:
    """The mean change of the outputs since the last time, and of decisions as "decisions"; nothing the first time."""
    previous = context.memory.get("churn")
    outputs = context.memory["churn"] = context.outputs.detach().clone()
    if previous is None or previous.shape != outputs.shape:
        return {}
    found = {"": float(churn(outputs, previous))}
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        found["decisions"] = float(decision_churn(outputs, previous))
    return found


def _gradients(context: Context) -> dict[str, Tensor]:
    return fresh_gradients(context.model, context.inputs, context.targets, loss=context.loss)


def spread(context: Context, most: int) -> tuple[Tensor, Tensor]:
    """At most so many of the samples, evenly from the first to the last: inputs and targets."""
    samples = len(context.inputs)
    if samples <= most:
        return context.inputs, context.targets
    chosen = (
        torch.linspace(0, samples - 1, most, dtype=torch.float64).round().long().to(context.inputs.device)
    )
    return context.inputs[chosen], context.targets[chosen.to(context.targets.device)]
