"""ReGraMa: units that learn nothing are recycled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .redo import ReDo
from .support.fresh import Fresh
from .support.names import named_weights
from .support.sharding import reshard
from .support.values import whole

Gradient = Literal["weights", "activations"]


class ReGraMa(ReDo):
    """Recycle units that hardly learn, every so many steps: incoming weights `← fresh`, outgoing weights `← 0`.

    As `ReDo`, by gradients: unit `i` of a layer, with the incoming weights `w_i`, is inactive if

        mean|∂L/∂w_i| ≤ threshold · mean_k mean|∂L/∂w_k|

    for the gradient `∂L/∂w` with which the step was made. Scaling the loss or clipping its gradient changes
    nothing. The paper's equation has the gradient `∂L/∂h_i` by the activation of the unit, averaged over samples
    (`gradient="activations"`); its code takes that by the incoming weights, which is also what its proof needs (that a
    dead ReLU has no gradient): by the output of a ReLU the gradient of a dead unit is not zero. So "weights" is the
    default. A layer all of whose gradients are zero is left alone, as nothing tells its units apart (the code resets
    all of it). The code zeroes no outgoing weights, the paper does; here they are zeroed. It resets scale and offset
    of normalisations by their own gradients as well; here they go with their unit.

    Args:
        model: any network of linear and convolutional layers; those that cannot be paired are named in a warning.
        optimizer: its optimizer(s), whose state for recycled weights is cleared.
        threshold: share of the layer's mean at or below which a unit is inactive, at least 0.
        every: optimizer steps from one look to the next, at least 1.
        gradient: by the incoming "weights", or by the "activations".
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
        seed: of the draws.

    Raises:
        ValueError: for a bad setting; without `fresh`, for parameters that no `reset_parameters` initialises, by
            name; at the first forward in training, for a network without any such units.
        TypeError: `fresh` is not a function.
        RuntimeError: at a look, when the gradients are gone: call `after_step()` before `zero_grad()`.

    References:
        Liu et al., "Measure gradients, not activations! Enhancing neuronal activity in deep reinforcement
        learning", NeurIPS 2025, arXiv 2505.24061.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> _ = nn.init.constant_(model[0].bias[:1], -100.0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> method = ReGraMa(model, optimizer, every=1)
        >>> model(torch.randn(8, 2)).sum().backward()
        >>> optimizer.step()
        >>> bool(model[0].bias[0] > -1), model[2].weight[0, 0].item()
        (True, 0.0)
    """

    observes = "gradients"

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        threshold: float = 0.01,
        every: int = 1000,
        gradient: Gradient = "weights",
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        if gradient not in get_args(Gradient):
            raise ValueError(f'gradient is {gradient!r}, expected "weights" or "activations"')
        self.gradient: Gradient = gradient
        super().__init__(model, optimizer, threshold=threshold, every=every, fresh=fresh, seed=seed)

    def observing(self) -> bool:
        """Whether gradients by activations must be watched; those by weights need no watching."""
        return self.gradient == "activations" and super().observing()

    def activities(self) -> dict[str, Tensor]:
        """How much units could learn, by set, without the sets that the step did not use."""
        found = super().activities()
        if not found and self.gradient == "weights":
            raise RuntimeError(
                f"none of {', '.join(self.groups)} has a gradient, expected those of the step: let the optimizer call "
                "the method, or call after_step() before zero_grad()"
            )
        return found

    def activity(self, name: str) -> Tensor | None:
        """How much the units of a set could learn, shape (units,); None: they have no gradient."""
        if self.gradient == "activations":
            return super().activity(name)
        reshard(self.model)
        weights = named_weights(self.model)
        gradients = [weights[weight].grad for weight in self.groups[name].incoming]
        found = [whole(gradient) for gradient in gradients if gradient is not None]
        if not found:
            return None
        return torch.stack([by_rows(gradient) for gradient in found]).sum(0)

    def dormant(self, activity: Tensor) -> Tensor:
        """Which units are inactive; none where all are alike."""
        return super().dormant(activity) & (activity.mean() > 0)


def by_rows(tensor: Tensor) -> Tensor:
    """Sums of absolute values over all but the first dimension, at least in float32."""
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    sums: Tensor = torch.linalg.vector_norm(tensor.detach().flatten(1), 1, 1, dtype=dtype)
    return sums
