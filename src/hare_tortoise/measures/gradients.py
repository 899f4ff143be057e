"""Gradients of the loss: their norms, how many are zero, and how those of single samples agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.methods import Loss
from hare_tortoise.methods.support.names import named_weights

from .derivatives import differentiated, gram, loss_of


def fresh_gradients(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, loss: Loss = cross_entropy
) -> dict[str, Tensor]:
    """The gradient of `loss(model(inputs), targets)` in each parameter that requires one, newly computed.

    Neither read nor written is `.grad`: what training has left there (clipped, scaled, of another batch) is no part
    of it. A parameter that the loss does not depend on has a gradient of zeros.

    Args:
        model: any network that is not sharded; in eval mode, if it has layers that act otherwise in training.
        inputs: shape (samples, ...), all in one forward.
        targets: shape (samples, ...).
        loss: of outputs and targets, a scalar.

    Returns:
        Gradients by canonical name, in the shape and dtype of the parameters; NaN or infinite where they are.

    Raises:
        ValueError: a layer in train mode would draw or fill statistics, the answers to the same inputs differ, no
            parameter requires a gradient, or the model is sharded.
        TypeError: the model answers with no tensor, and the loss does not take that.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> gradients = fresh_gradients(model, torch.tensor([[3.0, 4.0]]), torch.zeros(1), loss=lambda y, t: y.sum())
        >>> gradients["weight"].tolist()
        [[3.0, 4.0]]
    """
    with differentiated(model, inputs) as network:
        weights = {
            name: tensor
            for name, tensor in named_weights(network).items()
            if isinstance(tensor, nn.Parameter) and tensor.requires_grad
        }
        value = loss_of(loss, network(inputs), targets)
        found = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def gradient_norm(gradients: Mapping[str, Tensor], *, order: int = 2) -> Tensor:
    """The norm of a gradient over all its elements: `‖g‖₂ = √(Σ g²)`, or `‖g‖₁ = Σ |g|`.

    It is the norm of the whole gradient, not the mean over tensors, and it is not divided by the number of elements.

    Args:
        gradients: by name, as `fresh_gradients` gives them; at least one.
        order: 2, or 1 (few large elements dominate the 2-norm).

    Returns:
        A scalar tensor, at least float32; NaN or infinite if an element is.

    Raises:
        ValueError: another order, or no gradients.

    References:
        Lyle et al., "Understanding Plasticity in Neural Networks", ICML 2023, arXiv 2303.01486; Abbas et al.,
        "Loss of Plasticity in Continual Deep Reinforcement Learning", CoLLAs 2023, arXiv 2303.07507.

    Example:
        >>> gradients = {"weight": torch.tensor([3.0, 0.0]), "bias": torch.tensor([-4.0])}
        >>> gradient_norm(gradients), gradient_norm(gradients, order=1)
        (tensor(5.), tensor(7.))
    """
    _check(gradients, order)
    norms = [_norm(gradient, order) for gradient in gradients.values()]
    return _norm(torch.stack([norm.to(norms[0]) for norm in norms]), order)


def gradient_norm_per_layer(gradients: Mapping[str, Tensor], *, order: int = 2) -> dict[str, Tensor]:
    """The norm of the gradient of each layer, its weight and bias together.

    Args:
        gradients: by name, as `fresh_gradients` gives them; at least one.
        order: 2 or 1.

    Returns:
        Scalar tensors by the name of the layer, as `gradient_norm` has them; a parameter of the network itself is a
        layer of its own.

    Raises:
        ValueError: another order, or no gradients.

    Example:
        >>> gradients = {"0.weight": torch.tensor([3.0]), "0.bias": torch.tensor([4.0]), "token": torch.tensor([2.0])}
        >>> gradient_norm_per_layer(gradients)
        {'0': tensor(5.), 'token': tensor(2.)}
    """
    _check(gradients, order)
    return {layer: gradient_norm(members, order=order) for layer, members in by_layer(gradients).items()}


def by_layer(gradients: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The gradients of each layer, by its name; a parameter of the network itself is a layer of its own.

    >>> by_layer({"0.weight": torch.ones(1), "0.bias": torch.ones(1)}).keys()
    dict_keys(['0'])
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, gradient in gradients.items():
        layers.setdefault(name.rpartition(".")[0] or name, {})[name] = gradient
    return layers


def zero_gradient_ratio(gradients: Mapping[str, Tensor]) -> Tensor:
    """The share of the elements of a gradient that are exactly zero: `#(g = 0) / #g`.

    Args:
        gradients: by name, as `fresh_gradients` gives them; at least one. Gradients left from training would hide
            the zeros.

    Returns:
        A scalar tensor in float32, from 0 to 1; NaN if an element is NaN or infinite.

    Raises:
        ValueError: no gradients.

    References:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596 (measured there on gradients that were
        not zeroed before); Kumar et al., arXiv 2308.11958.

    Example:
        >>> zero_gradient_ratio({"weight": torch.tensor([1.0, 0.0, 0.0]), "bias": torch.tensor([2.0])})
        tensor(0.5000)
    """
    _check(gradients)
    first = next(iter(gradients.values()))
    zeros = torch.stack([(gradient == 0).sum().to(first.device) for gradient in gradients.values()])
    finite = torch.stack([gradient.isfinite().all().to(first.device) for gradient in gradients.values()])
    ratio = zeros.sum() / sum(map(Tensor.numel, gradients.values()))
    # A NaN is not zero, but it is no gradient that moves a weight either.
    return ratio.where(finite.all(), math.nan)


def gradient_covariance(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = cross_entropy,
    chunk: int | None = None,
) -> Tensor:
    """How the gradients of single samples agree: `C_ij = ⟨g_i, g_j⟩ / (‖g_i‖ ‖g_j‖)`, `g_i` the gradient of sample i.

    A sample whose gradient is zero agrees with none: its row is 0, on the diagonal too.

    Args:
        model: any network that is not sharded; in eval mode, if it has layers that act otherwise in training.
        inputs: shape (samples, ...).
        targets: shape (samples, ...).
        loss: of outputs and targets of a batch, here of one sample; a scalar.
        chunk: how many samples are differentiated at once; None: as many as fit into 256 MiB. Where that is less than
            all, gradients are computed again for each pair of chunks.

    Returns:
        Shape (samples, samples), symmetric, from -1 to 1; NaN in the row and column of a sample whose gradient is not
        finite.

    Raises:
        ValueError: as `fresh_gradients`; a chunk below 1; not as many targets as inputs.
        TypeError: as `fresh_gradients`.

    References:
        Lyle et al., "Understanding Plasticity in Neural Networks", ICML 2023, arXiv 2303.01486.

    Example:
        >>> model, inputs = nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 3.0]])
        >>> gradient_covariance(model, inputs, torch.zeros(3), loss=lambda outputs, targets: outputs.sum()).tolist()
        [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    with differentiated(model, inputs) as network:
        products = gram(network, partial(loss_of, loss), (inputs, targets), chunk=chunk, scaled=True)
    norms = products.diagonal().sqrt()
    # Where a gradient is zero its products are.
    norms = norms.masked_fill(norms == 0, 1.0)
    return (products / norms / norms[:, None]).clamp(-1, 1)


def gradient_alignment(covariance: Tensor) -> Tensor:
    """The mean cosine of the gradients of two different samples: the mean of `C_ij` over `i ≠ j`.

    1: all samples ask for the same step; 0: for unrelated ones; below 0: they work against each other. This is the
    stiffness `S_cos` of Fort et al. over all pairs; Lyle et al. look at the matrix itself.

    Args:
        covariance: `C`, as `gradient_covariance` gives it, of at least 2 samples.

    Returns:
        A scalar tensor; NaN if one of the pairs is.

    Raises:
        ValueError: not a square matrix of at least 2 samples.

    References:
        Fort et al., "Stiffness: A New Perspective on Generalization in Neural Networks", arXiv 1901.09491.

    Example:
        >>> gradient_alignment(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
        tensor(-0.5000)
    """
    return _pairs(covariance).mean()


def gradient_conflict(covariance: Tensor) -> Tensor:
    """The share of pairs of different samples whose gradients work against each other: `C_ij < 0`.

    With no zero among them it is `(1 − S_sign)/2`, `S_sign` being the mean sign of `C_ij` of Fort et al.

    Args:
        covariance: `C`, as `gradient_covariance` gives it, of at least 2 samples.

    Returns:
        A scalar tensor from 0 to 1; NaN if one of the pairs is.

    Raises:
        ValueError: not a square matrix of at least 2 samples.

    References:
        Fort et al., "Stiffness: A New Perspective on Generalization in Neural Networks", arXiv 1901.09491.

    Example:
        >>> gradient_conflict(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
        tensor(1.)
    """
    pairs = _pairs(covariance)
    return (pairs < 0).to(pairs.dtype).masked_fill(pairs.isnan(), math.nan).mean()


def _pairs(covariance: Tensor) -> Tensor:
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or len(covariance) < 2:
        raise ValueError(
            f"covariance has shape {tuple(covariance.shape)}, expected (samples, samples) of at least 2 samples; "
            "gradient_covariance gives it"
        )
    return covariance[torch.ones_like(covariance, dtype=torch.bool).triu(1)]


def _norm(gradient: Tensor, order: int) -> Tensor:
    # Sums of torch are exact to a few roundings; torch.linalg.vector_norm is off by 4e-4 (by 1e-2 for order 1) after
    # ten million elements in float32 on a CPU.
    magnitudes = gradient.to(torch.promote_types(gradient.dtype, torch.float32)).abs()
    if order == 1 or not magnitudes.numel():
        return magnitudes.sum()
    largest = magnitudes.amax()
    scale = largest.masked_fill(largest == 0, 1.0)
    return (magnitudes / scale).square().sum().sqrt() * scale


def _check(gradients: Mapping[str, Tensor], order: int = 2) -> None:
    if order not in (1, 2):
        raise ValueError(f"order is {order}, expected 1 or 2")
    if not gradients:
        raise ValueError("there are no gradients, expected one at least; fresh_gradients gives them")
