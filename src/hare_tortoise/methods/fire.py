"""FIRE: replace each weight matrix by the nearest one whose singular values are all 1, scaled by its shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .support.dense import Dense, dense_layers
from .support.deployed import refuse_while_lent
from .support.names import named_weights, unwrap, write
from .support.sharding import reshard
from .support.values import whole


class FIRE(Method):
    """Frobenius-isometry reinitialisation at each arrival of data: `W ← √(d_out / d_in) · U Vᵀ`, `W = U Σ Vᵀ`.

    `U Vᵀ = W (WᵀW)^(−1/2)`, the polar factor, is the matrix nearest to `W` among those whose singular values are all
    1. It is approximated from `X = W / ‖W‖_F` by Newton-Schulz steps `X ← 1.5·X − 0.5·X Xᵀ X`. Of a convolution the
    matrix (d_out, d_in) at each place of the kernel is treated apart and divided by the number of places; groups of
    channels are treated apart (the authors' code has no groups). Linear and convolutional layers are changed, not
    transposed ones; frozen weights, biases, norms and buffers stay. A zero matrix stays zero, and directions in
    which a matrix is far smaller than in others stay smaller than 1: each step enlarges a small singular value by 1.5.

    The average of a chain is changed by the same map of its own weights: both are then isometries, and a reset of
    the hare keeps it one. (In the authors' RL code the target network gets a copy of the new weights.) Outside a
    chain averages do not follow.

    Args:
        model: any network with a linear or convolutional layer.
        optimizer: its optimizer(s); the state is not touched.
        iterations: of Newton-Schulz, at least 1. The authors' 10.
        layers: pattern of names of layers, or several, as in file names (`*` stands for anything, dots too).
        parts: for layers whose rows pack several matrices of equal size: one word of truth for each, whether it is
            changed. The authors change in a vision transformer the query and key projections only, which for the
            networks here is `layers="*.query_key_value", parts=(True, True, False)`, and in a language model all
            layers, packed projections as three matrices.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: `iterations` is no whole number or below 1; a pattern matches no layer; `parts` are no words of
            truth, all false, or do not divide the rows; a layer computes its weight from other tensors.

    References:
        Han et al., "FIRE: Frobenius-Isometry Reinitialization for Balancing the Stability-Plasticity Tradeoff",
        ICLR 2026, arXiv 2602.08040. The factor of convolutions (√(d_out / d_in) / k² at each place of a k × k
        kernel) is that of the authors' code; it was not verified against the text of the paper.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0, -4.0], [1.0, 0.0]]))
        >>> FIRE(model).new_data()
        >>> [[round(value, 2) + 0.0 for value in row] for row in model.weight.tolist()]
        [[0.0, -1.0], [1.0, 0.0]]
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        iterations: int = 10,
        layers: str | Sequence[str] = "*",
        parts: Sequence[bool] = (True,),
        seed: int = 0,
    ) -> None:
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"iterations is {iterations!r}, expected a whole number of at least 1")
        super().__init__(model, seed=seed)
        self.iterations = iterations
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        self.parts = tuple(parts)
        self._check_parts(dense_layers(self.model, self.layers))
        if optimizer is not None:
            self.attach(optimizer)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Replace the weights of the layers by their polar factors."""
        refuse_while_lent(self.model, "new_data()")
        reshard(self.model)
        weights = named_weights(self.model)
        groups = {
            layer.weight: layer.groups
            for layer in dense_layers(self.model, self.layers)
            if weights[layer.weight].requires_grad
        }

        @torch.no_grad()
        def apply(weights: Mapping[str, Tensor]) -> None:
            # In the order of the layers: gathering a sharded weight is a collective call.
            for name in filter(weights.__contains__, groups):
                theta = weights[name]
                value = whole(theta).to(torch.promote_types(theta.dtype, torch.float32))
                blocks = [
                    isometry(block, self.iterations, groups[name]) if chosen else block
                    for block, chosen in zip(value.chunk(len(self.parts)), self.parts, strict=True)
                ]
                write(theta, torch.cat(blocks))

        apply(weights)
        self.changed(Change(apply))

    def _check_parts(self, layers: Sequence[Dense]) -> None:
        if not all(isinstance(part, bool) for part in self.parts) or not any(self.parts):
            raise ValueError(
                f"parts is {self.parts}, expected True or False for each of the matrices that the rows pack, True once "
                "at least: (True,) for layers that are one matrix"
            )
        weights = named_weights(self.model)
        for layer in layers:
            rows = weights[layer.weight].shape[0]
            if rows % len(self.parts) or (len(self.parts) > 1 and layer.groups > 1):
                raise ValueError(
                    f"parts has {len(self.parts)} entries, but {layer.name or type(unwrap(self.model)).__name__} has "
                    f"{rows} rows in {layer.groups} groups, which cannot be divided so: choose by layers= those that "
                    "pack as many matrices"
                )


def isometry(weight: Tensor, iterations: int, groups: int = 1) -> Tensor:
    """Return `√(d_out / d_in) / places · polar(W)` for the matrix W at each place of the kernel.

    Args:
        weight: of shape (outputs, inputs / groups, places of the kernel, if any).
        iterations: of Newton-Schulz.
        groups: of output channels that are treated apart.

    >>> isometry(torch.tensor([[2.0], [0.0]]), iterations=10)
    tensor([[1.4142],
            [0.0000]])
    """
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    # (groups · places, rows, columns)
    kernels = weight.reshape(groups, rows, columns, -1).permute(0, 3, 1, 2)
    places = kernels.shape[1]
    factors = newton_schulz(kernels, iterations) * (math.sqrt(rows / columns) / places)
    return factors.permute(0, 2, 3, 1).reshape(weight.shape)


def newton_schulz(matrices: Tensor, iterations: int) -> Tensor:
    """Approximate the polar factors of matrices of shape (..., rows, columns); a zero matrix stays zero.

    >>> newton_schulz(torch.tensor([[5.0, 0.0], [0.0, -5.0]]), iterations=20)
    tensor([[ 1.,  0.],
            [ 0., -1.]])
    """
    wide = matrices.shape[-1] > matrices.shape[-2]
    x: Tensor = matrices.mT if wide else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    for _ in range(iterations):
        # X ← 1.5·X − 0.5·X XᵀX
        x = 1.5 * x - 0.5 * x @ (x.mT @ x)
    return x.mT if wide else x
