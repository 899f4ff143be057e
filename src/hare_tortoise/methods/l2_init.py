"""L2 Init: draw the weights back to where they started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change
from .support.anchored import Anchored
from .support.penalties import check_strength, penalised_names, trained, whole_sum
from .support.values import snapshot

Distance = Literal["l2", "l1", "huber"]


def _huber(shift: Tensor) -> Tensor:
    size = shift.abs()
    inner = size.clamp(max=1)
    return inner * (size - inner / 2)


# With a factor for the sum: a factor for each element would be one more pass over the weights.
_ELEMENTWISE: dict[Distance, tuple[float, Callable[[Tensor], Tensor]]] = {
    "l2": (0.5, torch.square),
    "l1": (1, torch.abs),
    "huber": (1, _huber),
}


class L2Init(Anchored):
    """Add to the loss `strength / 2 · Σ‖θ − θ0‖²`: the parameters are drawn to their initial values.

    The sum runs over the elements of all parameters that require a gradient, but for those of LayerNorm, which
    the authors' code leaves out as well, and of its kin (RMSNorm, GroupNorm with one group). `θ0` are
    the weights when the method is built; another member of a chain that makes the network new (`FromScratch`) makes
    them new too. Parameters that are added later are left alone. Add the term to the loss yourself:
    `loss = criterion(outputs, targets) + method.penalty(inputs, outputs, targets)`.

    With another `distance` the term is `strength · Σ|θ − θ0|` (L1 Init) or `strength · Σ huber(θ − θ0)` (Huber
    Init): `d² / 2` up to a distance of 1, `|d| − 1/2` beyond. The authors compare with both.

    Args:
        model: any network.
        optimizer: its optimizer(s); not touched.
        strength: of the pull, finite and at least 0. The authors sweep 1e-1 to 1e-5. 0 adds nothing.
        distance: "l2", "l1" or "huber".
        layer_norm: draw the scale and offset of LayerNorm and its kin back too.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a strength that is negative or not finite, another word for the distance, and a state of
            another model.
        RuntimeError: at `penalty`, if parameters were removed or resized meanwhile.

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
        distance: Distance = "l2",
        layer_norm: bool = False,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "1e-5 to 1e-1")
        if distance not in get_args(Distance):
            raise ValueError(f'distance is {distance!r}, expected "l2", "l1" or "huber"')
        super().__init__(model, optimizer, seed=seed)
        self.strength = strength
        self.distance: Distance = distance
        self.layer_norm = layer_norm
        self.theta0 = snapshot(model, self._names())

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the strength times the distance, a scalar, differentiable in the parameters."""
        total = outputs.new_zeros(())
        factor, elementwise = _ELEMENTWISE[self.distance]
        if self.strength:
            for theta, theta0 in self._pairs():
                total = total + whole_sum(elementwise(theta - theta0)).to(total.device)
        return self.strength * factor * total

    def weights_changed(self, change: Change) -> None:
        """Take the weights of a new network as the initial ones."""
        if change.whole:
            self.theta0 = snapshot(self.model, self._names())

    def _names(self) -> list[str]:
        """Canonical names of the floating parameters that are drawn back once they require a gradient."""
        return penalised_names(self.model, layer_norm=self.layer_norm)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter that requires a gradient with its initial value, at least in float32."""
        shapes = {name: tensor.shape for name, tensor in self.theta0.items()}
        for name, theta in trained(self.model, shapes):
            theta0 = self.theta0[name]
            if theta0.device != theta.device:
                theta0 = self.theta0[name] = theta0.to(theta.device)
            yield theta, theta0
