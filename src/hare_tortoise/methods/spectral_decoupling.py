"""Spectral decoupling: a penalty on the size of the logits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Method
from .support.penalties import at_least_float32, check_classes, check_strength, mean_of_class_sums


class SpectralDecoupling(Method):
    """Add to the loss `strength / 2 · mean over the batch of ‖logits‖²`, with the square summed over the classes.

    Once the examples are fitted, cross-entropy goes on to grow the logits along the features that were learnt first,
    and leaves others unlearnt; this penalty stops that growth. The mean over the batch is that of the usual loss. The
    official code of Hare & Tortoise takes the mean over the classes as well and leaves out the half: its strength is
    this one times `classes / 2`.

    Args:
        model: any network.
        optimizer: its optimizer(s); not touched.
        strength: finite and at least 0. Lee et al. sweep 1 to 1e-5. 0 adds nothing.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a strength that is negative or not finite; at `penalty`, for outputs that are not of shape
            (batch, classes, ...), of which the mean runs over samples and positions.

    References:
        Pezeshki et al., "Gradient Starvation: A Learning Proclivity in Neural Networks", NeurIPS 2021, arXiv
        2011.09468; as a baseline in Lee et al., arXiv 2406.02596.

    Example:
        >>> import torch
        >>> method = SpectralDecoupling(nn.Linear(2, 2), strength=0.5)
        >>> method.penalty(torch.ones(1, 2), torch.tensor([[3.0, 4.0]])).item()
        6.25
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-3,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "1e-5 to 1")
        super().__init__(model, optimizer, seed=seed)
        self.strength = strength

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength / 2 · mean ‖logits‖²`, a scalar, differentiable in the outputs."""
        check_classes(outputs, targets, type(self).__name__)
        if not self.strength:
            return outputs.new_zeros(())
        return self.strength / 2 * mean_of_class_sums(at_least_float32(outputs).square())
