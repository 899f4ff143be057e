"""L2 Init: draw the weights back to where they started."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change
from .support.anchored import Anchored
from .support.names import is_sharded, named_modules, named_weights
from .support.sharding import reshard
from .support.values import snapshot


class L2Init(Anchored):
    """Add to the loss `strength / 2 · Σ‖θ − θ0‖²`: the parameters are drawn to their initial values.

    The sum runs over the elements of all parameters that require a gradient, but for those of LayerNorm, which
    the authors' code leaves out as well. `θ0` are the weights when the method is built; another member of a
    chain that makes the network new (`FromScratch`) makes them new too. Add the term to the loss yourself:
    `loss = criterion(outputs, targets) + method.penalty(inputs, outputs, targets)`.

    Args:
        model: any network.
        optimizer: its optimizer(s); not touched.
        strength: of the pull, finite and at least 0. The authors sweep 1e-1 to 1e-5. 0 adds nothing.
        layer_norm: draw LayerNorm's scale and offset back too.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a strength that is negative or not finite, and for a state of another model.
        RuntimeError: at `penalty`, if parameters were added, removed or resized meanwhile.

    References:
        Kumar, Marklund and Van Roy, "Maintaining Plasticity in Continual Learning via Regenerative
        Regularization", CoLLAs 2024, arXiv 2308.11958.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> method = L2Init(model, strength=0.1)
        >>> _ = model.weight.data.add_(2.0)
        >>> round(method.penalty(torch.ones(1, 1), torch.ones(1, 1)).item(), 6)
        0.2
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-3,
        layer_norm: bool = False,
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(strength) and strength >= 0):
            raise ValueError(
                f"strength is {strength}, expected a finite number of at least 0; 1e-5 to 1e-1 are usual"
            )
        super().__init__(model, optimizer, seed=seed)
        self.strength = strength
        self.layer_norm = layer_norm
        self.theta0 = snapshot(model, self._names())

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength / 2 · Σ‖θ − θ0‖²`, a scalar, differentiable in the parameters."""
        total = outputs.new_zeros(())
        if self.strength:
            for theta, theta0 in self._pairs():
                total = total + _whole_sum((theta - theta0).square()).to(total.device)
        return self.strength / 2 * total

    def weights_changed(self, change: Change) -> None:
        """Take the weights of a new network as the initial ones."""
        if change.whole:
            self.theta0 = snapshot(self.model, self._names())

    def _names(self) -> list[str]:
        """Canonical names of the floating parameters that are drawn back once they require a gradient."""
        left_out = {
            id(parameter)
            for _, module in named_modules(self.model)
            if isinstance(module, nn.LayerNorm) and not self.layer_norm
            for parameter in module.parameters()
        }
        reshard(self.model)
        return [
            name
            for name, tensor in named_weights(self.model).items()
            if isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and id(tensor) not in left_out
        ]

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter that requires a gradient with its initial value, at least in float32."""
        reshard(self.model)
        weights = named_weights(self.model)
        for name, theta0 in self.theta0.items():
            theta = weights.get(name)
            if theta is None or theta.shape != theta0.shape:
                raise RuntimeError(
                    f"{name} is not in the model any more, or has another shape than its initial value; "
                    "build a new L2Init after changing the network"
                )
            if theta.requires_grad:
                if theta0.device != theta.device:
                    theta0 = self.theta0[name] = theta0.to(theta.device)
                yield theta.to(torch.promote_types(theta.dtype, torch.float32)), theta0


def _whole_sum(values: Tensor) -> Tensor:
    """Sum over all processes; the gradient of a shard is that of its own part."""
    total = values.sum()
    return cast(Any, total).full_tensor() if is_sharded(total) else total
