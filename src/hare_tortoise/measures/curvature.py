"""Curvature of the loss: the largest eigenvalues of its Hessian, its trace, and over how many directions it curves.

The Hessian is never formed but for small networks: what is asked of it are products with vectors, and the iterations
are those of the library `hessian-eigenthings`, the extra `hare-tortoise[curvature]`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.methods import Loss
from hare_tortoise.methods.support.plain_copy import HALF

from .derivatives import differentiated, loss_of, parameters
from .krylov import exact_sums, largest
from .rank import effective_rank, srank

Which = Literal["magnitude", "algebraic"]


def hessian_eigenvalues(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    k: int = 1,
    which: Which = "magnitude",
    loss: Loss = cross_entropy,
    tolerance: float = 1e-3,
    max_products: int = 400,
    seed: int = 0,
) -> Tensor:
    """The top eigenvalues of the Hessian of `loss(model(inputs), targets)` in the parameters, with their signs.

    At most `max_products` parameters: exactly, of the whole Hessian. More: by Lanczos, repeated on what is left until
    no larger eigenvalue appears, so that one that stands several times is found as often.

    Args:
        model: any network that is not sharded, in float32 or float64, twice differentiable; in eval mode, if it has
            layers that act otherwise in training.
        inputs: shape (samples, ...), all in one forward, whose graph is kept meanwhile.
        targets: shape (samples, ...).
        k: how many, from 1 to the number of parameters that require a gradient.
        which: "magnitude": the largest in magnitude, negative ones too; "algebraic": the largest (sharpness).
        loss: of outputs and targets, a scalar.
        tolerance: accepted error of an eigenvalue, relative to the largest magnitude found; positive.
        max_products: budget of products with the Hessian, each about two backward passes; at least `k`.
        seed: of the vectors that the iteration starts from.

    Returns:
        Shape (k,), in descending order of what was asked for, in the dtype of the parameters; all NaN if the loss or a
        product with the Hessian is not finite.

    Raises:
        ImportError: the extra `hare-tortoise[curvature]` is not installed.
        ValueError: an argument is out of range, the loss is no scalar, weights are in half precision.
        ValueError, TypeError: as `fresh_gradients`.

    Warns:
        UserWarning: the budget was used up before all were known to the tolerance.

    References:
        Lanczos, 1950; deflation as in Yao et al., NeurIPS 2018, arXiv 1802.08241. Lee et al., arXiv 2406.02596.

    Example:
        >>> model, inputs = nn.Linear(2, 1, bias=False), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> hessian_eigenvalues(model, inputs, inputs, k=2, loss=lambda y, targets: y.square().sum()).tolist()
        [8.0, 2.0]
    """
    _check_top(which, tolerance)
    with _hessian(model, inputs, targets, loss) as (library, operator):
        values, error = _top(library, operator, k, which, tolerance, max_products, seed)
    if error > tolerance:
        warnings.warn(
            f"with {max_products} products the top {k} eigenvalues of the Hessian have errors of up to {error:.1e} of "
            f"the largest (inf: some were not found), expected {tolerance}: raise max_products or tolerance, or ask "
            "for fewer",
            stacklevel=2,
        )
    return values


def bounded_eigenvalues(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, k: int, loss: Loss, max_products: int
) -> tuple[Tensor, float]:
    """The top `k` by magnitude as `hessian_eigenvalues` has them, with the bound of their errors and no warning.

    Returns:
        Shape (k,), and the bound relative to the largest magnitude; infinite where some may have been missed. Both are
        NaN if the loss or a product with the Hessian is not finite.
    """
    with _hessian(model, inputs, targets, loss) as (library, operator):
        return _top(library, operator, k, "magnitude", 1e-3, max_products, 0)


def hessian_trace(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = cross_entropy,
    products: int = 99,
    seed: int = 0,
) -> Tensor:
    """The trace of the Hessian of `loss(model(inputs), targets)`, the sum of all its eigenvalues: `tr H = Σ H_ii`.

    A network of at most `products` parameters has it exactly; of a larger one it is the estimate of Hutch++: a third
    of the products finds the directions of the largest curvature, whose part is exact, a third measures them, and a
    third estimates the rest from random signs.

    Args:
        model: as for `hessian_eigenvalues`.
        inputs: shape (samples, ...), all in one forward, whose graph is kept meanwhile.
        targets: shape (samples, ...).
        loss: of outputs and targets, a scalar.
        products: budget of products with the Hessian, at least 6.
        seed: of the random signs.

    Returns:
        A scalar tensor in the dtype of the parameters; NaN if the loss or a product with the Hessian is not finite.

    Raises:
        ImportError: the extra `hare-tortoise[curvature]` is not installed.
        ValueError, TypeError: as for `hessian_eigenvalues`.

    References:
        Meyer et al., "Hutch++: Optimal Stochastic Trace Estimation", SOSA 2021, arXiv 2010.09649.

    Example:
        >>> model = nn.Linear(2, 1, bias=False).double()
        >>> inputs = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
        >>> hessian_trace(model, inputs, inputs[:, :1], loss=lambda outputs, targets: outputs.square().sum()).item()
        10.0
    """
    if products < 6:
        raise ValueError(f"products is {products}, expected at least 6, two for each third")
    with _hessian(model, inputs, targets, loss) as (library, operator):
        estimate = math.nan
        with suppress(FloatingPointError):
            if operator.size <= products:
                return _dense(operator).trace()
            estimate = library.hutch_plus_plus(
                operator, num_matvecs=products, seed=seed, backend=exact_sums(library)
            ).estimate
        return torch.tensor(estimate, dtype=operator.dtype, device=operator.device)


def hessian_rank(eigenvalues: Tensor, *, delta: float = 0.01) -> Tensor:
    """The number of largest singular values of the Hessian that hold a share of `1 − delta` of their sum (srank).

        hessian_rank = min{j: Σ_{i≤j} |λ_i| ≥ (1 − delta)·Σ|λ|}

    The singular values of a symmetric matrix are the magnitudes of its eigenvalues.

    Args:
        eigenvalues: of the Hessian, shape (k,), in any order. Of the top `k` by magnitude alone this is at most `k`
            and no more than the rank of the whole Hessian: choose `k` well above what comes out.
        delta: in (0, 1).

    Returns:
        A whole number as a float64 scalar; 0 if all eigenvalues are, NaN if one is not finite.

    Raises:
        ValueError: the eigenvalues are not in one dimension, or `delta` is out of range.

    References:
        Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity", arXiv 2312.00246; the
        code of Hare & Tortoise, arXiv 2406.02596, takes the rank of the top singular values. The threshold is that of
        srank (arXiv 2010.14498), not verified against the former paper's text.

    Example:
        >>> hessian_rank(torch.tensor([-5.0, 5.0, 0.001])).item()
        2.0
    """
    return srank(_spectrum(eigenvalues), delta=delta)


def hessian_effective_rank(eigenvalues: Tensor) -> Tensor:
    """The exponential of the entropy of the singular values of the Hessian: `exp(−Σ p_i·log p_i)`, `p_i = |λ_i|/Σ|λ|`.

    Args:
        eigenvalues: of the Hessian, shape (k,), in any order, with the limits that `hessian_rank` has.

    Returns:
        A float64 scalar; 0 if all eigenvalues are, NaN if one is not finite.

    Raises:
        ValueError: the eigenvalues are not in one dimension.

    References:
        Roy and Vetterli, "The effective rank", EUSIPCO 2007.

    Example:
        >>> round(hessian_effective_rank(torch.tensor([-5.0, 5.0, 0.0])).item(), 6)
        2.0
    """
    return effective_rank(_spectrum(eigenvalues))


def _check_top(which: str, tolerance: float) -> None:
    if which not in get_args(Which):
        raise ValueError(f"which is {which!r}, expected one of {', '.join(get_args(Which))}")
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}, expected a positive number; 1e-3 is usual")


def _top(
    library: ModuleType, operator: Any, k: int, which: Which, tolerance: float, budget: int, seed: int
) -> tuple[Tensor, float]:
    if not 1 <= k <= operator.size:
        raise ValueError(
            f"k is {k}, expected from 1 to the {operator.size} parameters that require a gradient"
        )
    if budget < k:
        raise ValueError(f"max_products is {budget}, expected at least k, {k}")
    by_magnitude = which == "magnitude"
    with suppress(FloatingPointError):
        if operator.size <= budget:
            exact: Tensor = torch.linalg.eigvalsh(_dense(operator))
            return exact[(exact.abs() if by_magnitude else exact).argsort(descending=True)[:k]], 0.0
        return largest(
            library, operator, k, by_magnitude=by_magnitude, tolerance=tolerance, budget=budget, seed=seed
        )
    return torch.full((k,), math.nan, dtype=operator.dtype, device=operator.device), math.nan


def _spectrum(eigenvalues: Tensor) -> Tensor:
    if eigenvalues.ndim != 1:
        raise ValueError(f"eigenvalues has shape {tuple(eigenvalues.shape)}, expected one dimension")
    # Its singular values are the magnitudes.
    return eigenvalues.diag()


@contextmanager
def _hessian(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss
) -> Iterator[tuple[ModuleType, Any]]:
    """The library and the Hessian as an operator of it."""
    library = _library()
    with differentiated(model, inputs) as network:
        weights = list(parameters(network).values())
        if half := next((weight.dtype for weight in weights if weight.dtype in HALF), None):
            raise ValueError(
                f"the model has weights in {half}, expected float32 or float64, as second derivatives are all rounding "
                "otherwise: measure copy.deepcopy(model).float()"
            )
        product = _product(loss_of(loss, network(inputs), targets), weights)
        first = weights[0]
        size = sum(weight.numel() for weight in weights)
        yield library, library.LambdaOperator(product, size, device=first.device, dtype=first.dtype)


def _library() -> ModuleType:
    try:
        import hessian_eigenthings
    except ImportError as error:
        raise ImportError(
            "measures of curvature need hessian-eigenthings, which is not installed: pip install "
            "'hare-tortoise[curvature]'"
        ) from error
    module: ModuleType = hessian_eigenthings
    return module


def _product(value: Tensor, weights: list[nn.Parameter]) -> Callable[[Tensor], Tensor]:
    """`v ↦ H·v`, from one forward and backward whose graph is kept.

    The library's own operator runs both for each product, and fails if a parameter is not used, or linearly. A product
    that is not finite raises a FloatingPointError: the first tells it, where iterations over NaN may not end.
    """
    if value.ndim:
        raise ValueError(
            f"the loss has shape {tuple(value.shape)}, expected a scalar: take the mean over the samples"
        )
    known = bool(value.isfinite())
    gradients = torch.autograd.grad(value, weights, create_graph=True, materialize_grads=True)
    sizes = [weight.numel() for weight in weights]
    curved = [number for number, gradient in enumerate(gradients) if gradient.requires_grad]

    def product(vector: Tensor) -> Tensor:
        if not known:
            raise FloatingPointError("the loss is not finite")
        if not curved:
            return torch.zeros_like(vector)
        parts = torch.split(vector, sizes)
        found = torch.autograd.grad(
            [gradients[number] for number in curved],
            weights,
            [parts[number].view_as(weights[number]) for number in curved],
            retain_graph=True,
            materialize_grads=True,
        )
        whole = torch.cat([part.reshape(-1) for part in found])
        if not bool(whole.isfinite().all()):
            raise FloatingPointError("a product with the Hessian is not finite")
        return whole

    return product


def _dense(operator: Any) -> Tensor:
    """The whole matrix, one row for each product."""
    unit = torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
    return torch.stack([operator.matvec(row) for row in unit])
