"""Weight clipping: keep every weight within a multiple of the bound of its initialisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .support.names import local
from .support.norms import unless
from .support.parts import weights_of_part
from .support.projection import Projection, matrix_layers


class WeightClipping(Projection):
    """Clip the weights after each optimizer step: `W_l ← clip(W_l, −zeta · s_l, zeta · s_l)`, `s_l = 1/√fan_in`.

    The same bound holds for the bias of the layer. `s_l` is the bound of torch's own initialiser of linear and
    convolutional layers, whatever the model was initialised with (so do the authors): weights from a wider
    initialiser are cut at the first step. Layers are those with weight matrices: linear, convolutional,
    recurrent, attention. Embeddings, position embeddings and the scales and offsets of normalisations have no
    `fan_in` and are left alone. There the authors' code differs: it clips every parameter with one dimension by the
    bound of the weight that stands before it in the list, which at `zeta=20` holds the scales of the last stage of a
    ResNet-18 at 0.29. Frozen parameters stay.

    Averages of a chain are not clipped: put this method before them, so that they average clipped weights. An average
    that starts within the bounds stays there; one that starts outside, because the initial weights do, gets there
    in time, and is clipped one step after a reset has put it back.

    Args:
        model: any network with such layers.
        optimizer: its optimizer(s); the state is not touched.
        zeta: multiple of the initial bound, above 0; the authors try 1 to 5, and 20 for ResNet-18. Infinity
            clips nothing.
        head: a module that is not clipped, such as `"head"` (the authors' option to leave out the last layer);
            None: all are.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a `zeta` that is not above 0, a head that the model has not, or a model without such layers.
        RuntimeError: after a step, if layers were removed or resized meanwhile.

    References:
        Elsayed, Lan, Lyle and Mahmood, "Weight Clipping for Deep Continual and Reinforcement Learning", RLC 2024,
        arXiv 2407.01704. Bounds, options and values are those of the authors' code; not verified against the
        paper's text.

    Example:
        >>> model = nn.Linear(4, 1)
        >>> method = WeightClipping(model, zeta=2.0)
        >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 0.5, 0.9, 3.0]]))
        >>> method.after_step()
        >>> model.weight.tolist()  # 2/√4 = 1
        [[-1.0, 0.5, 0.8999999761581421, 1.0]]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        zeta: float = 2.0,
        head: str | None = None,
        seed: int = 0,
    ) -> None:
        if not zeta > 0:
            raise ValueError(f"zeta is {zeta}, expected a number above 0; 1 to 5 are usual")
        super().__init__(model, seed=seed)
        left_out = () if head is None else weights_of_part(model, head)
        self.zeta = zeta
        self.head = head
        self.bounds = {
            name: 1 / math.sqrt(layer.fan_in)
            for layer in matrix_layers(model)
            for name in (layer.weight, layer.bias)
            if name is not None and name not in left_out
        }
        if not self.bounds:
            raise ValueError(
                f"model ({type(model).__name__}) has no linear, convolutional, recurrent or attention layers"
                f"{'' if head is None else ' outside the head'}, expected some whose weights can be clipped"
            )
        if optimizer is not None:
            self.attach(optimizer)

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        """Clip the weights."""
        clipped = self.trained(weights, self.bounds)
        parts = [local(tensor) for tensor in clipped.values()]
        bounds = [self.zeta * self.bounds[name] for name in clipped]
        if not parts:
            return
        if skipped is None:
            torch._foreach_clamp_max_(parts, bounds)
            torch._foreach_clamp_min_(parts, [-bound for bound in bounds])
            return
        there = [part.new_full((), bound) for part, bound in zip(parts, bounds, strict=True)]
        for part, bound in zip(parts, unless(skipped, there, math.inf), strict=True):
            part.clamp_(-bound, bound)
