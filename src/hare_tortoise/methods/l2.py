"""L2 regularisation: a term for the loss that draws the weights to zero."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Method
from .support.names import named_weights
from .support.penalties import check_strength, penalised_names, trained, whole_sum


class L2(Method):
    """Add to the loss `strength / 2 · Σ‖θ‖²`: the parameters are drawn to zero.

    The sum runs over the elements of all parameters that require a gradient, but for those of LayerNorm, which the
    L2 agent of Kumar et al. leaves out as well, and of its kin (RMSNorm, GroupNorm with one group). Other
    papers sum over the weights alone, or write the term without the half: `strength` is then twice theirs.

    The `weight_decay` of AdamW is something else: it shrinks each weight by `lr · weight_decay · θ` beside the step.
    Here the pull `strength · θ` is a part of the gradient, which Adam divides by the root of its second moment:
    weights with large gradients are drawn less. With plain SGD the two are the same, `strength = weight_decay`.

    Args:
        model: any network.
        optimizer: its optimizer(s); not touched. A `weight_decay` that it has adds to the pull.
        strength: of the pull, finite and at least 0. 1e-5 to 1e-3 are usual. 0 adds nothing.
        layer_norm: draw the scale and offset of LayerNorm and its kin to zero too.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a strength that is negative or not finite.

    References:
        Krogh and Hertz, "A Simple Weight Decay Can Improve Generalization", NeurIPS 1991; as a baseline for
        plasticity in Kumar, Marklund and Van Roy, CoLLAs 2024, arXiv 2308.11958.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> method = L2(model, strength=0.1)
        >>> round(method.penalty(torch.ones(1, 1), torch.ones(1, 1)).item(), 6)
        0.2
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-4,
        layer_norm: bool = False,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "1e-5 to 1e-3")
        super().__init__(model, optimizer, seed=seed)
        self.strength = strength
        self.layer_norm = layer_norm

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength / 2 · Σ‖θ‖²`, a scalar, differentiable in the parameters."""
        total = outputs.new_zeros(())
        if self.strength:
            names = penalised_names(self.model, layer_norm=self.layer_norm)
            weights = named_weights(self.model)
            for _, theta in trained(self.model, {name: weights[name].shape for name in names}):
                total = total + whole_sum(theta.square()).to(total.device)
        return self.strength / 2 * total
