"""Spectral regularisation: keep the largest singular value of each layer near one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change, Method
from .support.names import named_modules, named_weights
from .support.norm_layers import is_norm
from .support.penalties import check_strength, gathered, trained, whole_sum
from .support.spectral import PowerIteration


class SpectralRegularization(Method):
    """Add to the loss `strength · Σ_l [(σ(W_l)^k − 1)² + ‖b_l‖^(2k)]`: singular values stay near one, biases small.

    `σ(W_l)` is the largest singular value of a weight with a row for each output, of a convolution `(out, in ·
    kernel)`, of stacked projections (attention) all their rows. It is followed by power iteration, one after
    each step, with vectors that are a part of the state: `σ = uᵀ W v`. The scale `γ` of a normalisation layer
    acts as a diagonal matrix, whose largest singular value is `max|γ|`: `(max|γ|^k − 1)²` is added for it, and
    its offset is a bias. All of these that require a gradient take part; tables (embeddings), class tokens and
    the like do not. What a weight is computed from (a parametrization, weight norm) is left alone.

    Load weights before the method is built, or its state after them: its vectors follow small steps, not a jump.

    What was verified: that each layer's largest singular value is drawn to one, by one power iteration a step (the
    paper's abstract, and summaries of it). The survey arXiv 2411.04832 writes the bias term as `‖b‖^k`, a public
    re-implementation as `‖b‖^(2k)`. The latter is taken: it is `(σ^k − target)²` for a vector with target 0. This term,
    the treatment of normalisation layers and the default `k = 2` were not verified against the paper's text.

    Args:
        model: a network with at least one weight matrix.
        optimizer: its optimizer(s); without, call `after_step()` after each step, which moves the vectors.
        strength: finite and at least 0; 0 adds nothing.
        k: the exponent, finite and at least 1. The larger, the harder large singular values are pushed.
        normalization: take part with the scales of normalisation layers; their offsets are biases in any case.
        seed: of the vectors.

    Raises:
        ValueError: for a bad argument; the model has no weight matrices; a state of another model.
        RuntimeError: at `penalty`, if weights were removed or resized meanwhile.

    References:
        Lewandowski, Bortkiewicz, Kumar, György, Schuurmans, Ostaszewski and Machado, "Learning Continually by
        Spectral Regularization", ICLR 2025, arXiv 2406.06811.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
        >>> method = SpectralRegularization(model, strength=0.5)
        >>> round(method.penalty(torch.ones(1, 2), torch.ones(1, 2)).item(), 4)  # 0.5 · (2² − 1)²
        4.5
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-3,
        k: float = 2,
        normalization: bool = True,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "1e-5 to 1e-2")
        if not (math.isfinite(k) and k >= 1):
            raise ValueError(
                f"k is {k}, expected a finite number of at least 1, the exponent (below 1 the slope at a bias of zero "
                "is infinite); 2 is usual"
            )
        super().__init__(model, seed=seed)
        self.strength = strength
        self.k = k
        self.normalization = normalization
        self._power = PowerIteration(model, self.generator)
        self._scales, self._biases = _vectors(model)
        if optimizer is not None:
            self.attach(optimizer)

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength · Σ_l [(σ(W_l)^k − 1)² + ‖b_l‖^(2k)]`, a scalar, differentiable in the parameters."""
        total = outputs.new_zeros(())
        if not self.strength:
            return total
        for sigma in self._power.sigmas(trained_only=True).values():
            # σ = uᵀWv may come out negative while the vectors have yet to follow a sudden change.
            total = total + (sigma.abs() ** self.k - 1).square().to(total.device)
        if self.normalization:
            for _, scale in trained(self.model, self._scales):
                total = total + (gathered(scale).abs().amax() ** self.k - 1).square().to(total.device)
        for _, bias in trained(self.model, self._biases):
            total = total + (whole_sum(bias.square()) ** self.k).to(total.device)
        return self.strength * total

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Move the vectors by one power iteration; not after a step that was skipped."""
        if skipped is not True:
            self._power.advance(skipped=skipped if isinstance(skipped, Tensor) else None)

    def weights_changed(self, change: Change) -> None:
        """Find the vectors of weights that were changed by another member of the chain."""
        self._power.start()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the vectors are a part of it."""
        return super().state_dict() | {"vectors": self._power.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state, the vectors included."""
        super().load_state_dict(state)
        self._power.load_state_dict(state["vectors"])

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        self._power.check_state(state.get("vectors", {}))


def _vectors(model: nn.Module) -> tuple[dict[str, torch.Size], dict[str, torch.Size]]:
    """The scales of normalisation layers and the biases of all layers: shapes by canonical name."""
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    scales: dict[str, torch.Size] = {}
    biases: dict[str, torch.Size] = {}
    for _, module in named_modules(model):
        for name, tensor in module._parameters.items():
            if tensor is None or not tensor.is_floating_point():
                continue
            # A table such as relative_position_bias_table is no bias of a layer.
            if "bias" in name and (tensor.ndim == 1 or is_norm(module)):
                biases[names[id(tensor)]] = tensor.shape
            elif name == "weight" and is_norm(module):
                scales[names[id(tensor)]] = tensor.shape
    return scales, biases
