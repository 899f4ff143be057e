"""Parseval regularisation: keep the rows of each weight orthogonal and of one length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Method
from .support.names import named_weights
from .support.penalties import check_strength, gathered, trained
from .support.spectral import as_matrix, checked_matrix_names


class Parseval(Method):
    """Add to the loss `strength · Σ_l ‖W_l W_lᵀ − scale · I‖²_F`: the rows of each weight stay orthogonal.

    `W_l` is a weight with a row for each output, of a convolution `(out, in · kernel)`, of stacked projections
    (attention) all their rows; `scale` is the squared length that the rows are drawn to. The paper writes the term for
    rows whatever the shape. Where there are more rows than columns they cannot all be orthogonal; the term then differs
    from that of the columns, `‖WᵀW − scale · I‖²_F`, by the constant `scale² · (rows − columns)`, so that both have
    the same gradient. The smaller of the two products is computed and the constant added: the value is always that
    of the rows.

    All weights of linear, convolutional, recurrent and attention layers that require a gradient take part, the output
    layer too. Tables (embeddings), biases and the scales of
    normalisation layers do not. (The public code of FIRE adds `(γ² − scale)²` for the latter.) Whether the paper leaves
    out the output layer was not verified against its text.

    Args:
        model: a network with at least one such weight.
        optimizer: its optimizer(s); not touched.
        strength: finite and at least 0. 1e-3 is what public code uses, 1e-5 for a vision transformer. 0 adds nothing.
        scale: the squared length of a row, positive and finite. 1 in public code.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad argument; the model has no weight matrices.
        RuntimeError: at `penalty`, if weights were removed or resized meanwhile.

    References:
        Chung, Cherif, Meger and Precup, "Parseval Regularization for Continual Reinforcement Learning", NeurIPS
        2024, arXiv 2412.07224; after Cisse et al., "Parseval Networks", ICML 2017, arXiv 1704.08847.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        >>> method = Parseval(model, strength=0.5)
        >>> method.penalty(torch.ones(1, 2), torch.ones(1, 2)).item()  # 0.5 · (2² − 1)²
        4.5
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-3,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "1e-5 to 1e-3")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(
                f"scale is {scale}, expected a positive finite number, the squared length of a row; 1 is usual"
            )
        super().__init__(model, seed=seed)
        self._outputs = checked_matrix_names(model)
        weights = named_weights(model)
        self._shapes = {name: weights[name].shape for name in self._outputs}
        self.strength = strength
        self.scale = scale
        if optimizer is not None:
            self.attach(optimizer)

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength · Σ_l ‖W_l W_lᵀ − scale · I‖²_F`, a scalar, differentiable in the weights."""
        total = outputs.new_zeros(())
        if self.strength:
            for name, weight in trained(self.model, self._shapes):
                matrix = as_matrix(gathered(weight), self._outputs[name])
                rows, columns = matrix.shape
                # Autocast would multiply in half precision.
                with torch.autocast(matrix.device.type, enabled=False):
                    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
                identity = torch.eye(len(product), dtype=product.dtype, device=product.device)
                apart = (product - self.scale * identity).square().sum()
                total = total + (apart + self.scale**2 * max(rows - columns, 0)).to(total.device)
        return self.strength * total
