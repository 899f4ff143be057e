"""The empirical neural tangent kernel: over how many directions a gradient step can move the outputs."""

from __future__ import annotations

from torch import Tensor, nn

from .derivatives import differentiated, gram
from .features import one_tensor
from .rank import srank


def empirical_ntk(model: nn.Module, inputs: Tensor, *, chunk: int | None = None) -> Tensor:
    """The kernel of all outputs of all samples: `K = J·Jᵀ`, `J` the derivatives of the outputs in the parameters.

    Args:
        model: any network that is not sharded; in eval mode, if it has layers that act otherwise in training.
        inputs: shape (samples, ...).
        chunk: how many samples are differentiated at once; None: as many as fit into 256 MiB. Where that is less than
            all, the derivatives are computed again for each pair of chunks.

    Returns:
        Shape (samples·outputs, samples·outputs), symmetric, the outputs of a sample beside each other. Derivatives that
        are not finite are NaN or infinite there.

    Raises:
        ValueError: a layer in train mode would draw or fill statistics, the answers to the same inputs differ, no
            parameter requires a gradient, the model is sharded, a chunk is below 1, or the answers are no tensor.

    References:
        Jacot et al., "Neural Tangent Kernel", NeurIPS 2018, arXiv 1806.07572.

    Example:
        >>> import torch
        >>> empirical_ntk(nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 0.0], [2.0, 3.0]])).tolist()
        [[1.0, 2.0], [2.0, 13.0]]
    """
    with differentiated(model, inputs) as network:
        return gram(network, one_tensor, (inputs,), chunk=chunk)


def ntk_rank(model: nn.Module, inputs: Tensor, *, delta: float = 0.01, chunk: int | None = None) -> Tensor:
    """The number of largest eigenvalues of the kernel that hold a share of `1 − delta` of their sum.

        ntk_rank = min{k: Σ_{i≤k} λ_i ≥ (1 − delta)·Σλ},  λ the eigenvalues of K = J·Jᵀ

    The eigenvalues are those of the kernel, which are the squares of the singular values of `J`: with the latter
    the rank is higher. At most `min(samples·outputs, parameters)`; 0 if no output depends on the parameters.

    Args:
        model: any network that is not sharded; in eval mode, if it has layers that act otherwise in training.
        inputs: shape (samples, ...).
        delta: in (0, 1).
        chunk: as for `empirical_ntk`.

    Returns:
        A whole number as a float64 scalar; NaN if a derivative is not finite.

    Raises:
        ValueError: as `empirical_ntk`; `delta` is out of range.

    References:
        Lyle et al., "Disentangling the Causes of Plasticity Loss in Neural Networks", CoLLAs 2024, arXiv 2402.18762,
        look at the rank of this kernel; the threshold is that of public code, not verified against a paper's text.

    Example:
        >>> import torch
        >>> ntk_rank(nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).item()
        2.0
    """
    return srank(empirical_ntk(model, inputs, chunk=chunk), delta=delta)
