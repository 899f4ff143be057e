"""Wasserstein regularisation: draw the distribution of each tensor's weights back to the initial one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change
from .support.anchored import Anchored
from .support.names import write
from .support.penalties import check_strength, gathered, penalised_names, trained
from .support.values import snapshot, whole


class WassersteinInit(Anchored):
    """Add to the loss `strength · Σ_l Σ_i (sort(θ_l)_i − sort(θ0_l)_i)²`: weights keep their initial distribution.

    For each tensor `l` this is its number of elements times the squared 2-Wasserstein distance between the
    distribution of its elements now and at the start. Unlike `L2Init` it leaves the elements free to change places.
    A tensor whose elements were all equal at the start (biases of zero) is drawn as `L2Init` draws it. The sum runs
    over all parameters that require a gradient, but for those of LayerNorm and its kin, as in `L2Init`; the paper
    speaks of the parameters of each layer, so weight and bias are two tensors here. There is no half in the paper's
    equation.

    `θ0` are the weights when the method is built; another member of a chain that makes the network new
    (`FromScratch`) makes them new too.

    Args:
        model: any network.
        optimizer: its optimizer(s); not touched.
        strength: of the pull, finite and at least 0. Juliani and Ash use 0.01 with PPO. 0 adds nothing.
        layer_norm: draw the scale and offset of LayerNorm and its kin (RMSNorm, GroupNorm with one group) back too.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a strength that is negative or not finite, and for a state of another model.
        RuntimeError: at `penalty`, if parameters were removed or resized meanwhile.

    References:
        Lewandowski, Tanaka, Schuurmans and Machado, "Directions of Curvature as an Explanation for Loss of
        Plasticity", arXiv 2312.00246.

    Example:
        >>> import torch
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 1.0]]))
        >>> method = WassersteinInit(model, strength=0.1)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 0.0]]))  # as if it were [0, 3]
        >>> round(method.penalty(torch.ones(1, 2), torch.ones(1, 1)).item(), 6)
        0.4
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-2,
        layer_norm: bool = False,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "1e-4 to 1e-1")
        super().__init__(model, optimizer, seed=seed)
        self.strength = strength
        self.layer_norm = layer_norm
        self._remember()

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength · Σ_l Σ_i (sort(θ_l)_i − sort(θ0_l)_i)²`, a scalar, differentiable in the parameters."""
        total = outputs.new_zeros(())
        if self.strength:
            shapes = {name: tensor.shape for name, tensor in self.theta0.items()}
            for name, theta in trained(self.model, shapes):
                if self.theta0[name].device != theta.device:
                    self.theta0[name] = self.theta0[name].to(theta.device)
                ordered = gathered(theta).flatten().sort().values
                apart = ordered - whole(self.theta0[name]).flatten()
                total = total + apart.square().sum().to(total.device)
        return self.strength * total

    def weights_changed(self, change: Change) -> None:
        """Take the weights of a new network as the initial ones."""
        if change.whole:
            self._remember()

    def _remember(self) -> None:
        """Keep the weights, each tensor sorted; a shard is one of the sorted tensor."""
        self.theta0 = snapshot(self.model, penalised_names(self.model, layer_norm=self.layer_norm))
        for tensor in self.theta0.values():
            write(tensor, whole(tensor).flatten().sort().values.view(tensor.shape))
