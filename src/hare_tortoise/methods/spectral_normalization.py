"""Spectral normalisation as a projection: the largest singular value of every weight is put back to a constant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Change
from .support.norms import quotient, scale, unless
from .support.parts import weights_of_part
from .support.projection import Projection
from .support.spectral import PowerIteration, matrix_names


class SpectralNormalization(Projection):
    """Divide each weight by its largest singular value after each optimizer step: `W ← bound · W / σ(W)`.

    `σ = uᵀ W v` comes from power iteration, whose vectors go on from step to step; it approaches the singular value
    from below and equals it once the vectors have converged. A kernel counts as the matrix (outputs, inputs · taps).
    With `leave_smaller=True` only what exceeds the bound is divided: `W ← W / max(1, σ(W) / bound)`.

    Miyato et al., and in reinforcement learning Bjorck et al. and Gogianu et al., write the network in terms of
    `W/σ(W)`, so that the gradient goes through `σ`, and an unbounded `W` stands behind it. Gogianu et al. have the
    division of larger ones only as an option. Here the weight itself is projected, as Gouk et al.
    do: nothing about the network or its names changes, the optimizer sees the plain gradient, and averages
    average the weights that are used. For the parametrised form take `torch.nn.utils.parametrizations.spectral_norm`;
    its weights are left alone by this method, as are those of the older `weight_norm` and `spectral_norm`, and an
    average copies its vectors. Biases, embeddings, normalisations and frozen weights stay.

    Load weights before the method is built, or its state after them: the vectors follow small steps, and after a jump
    they need some steps to catch up. A reset of `HareTortoise` is such a jump, if a small one: while an MLP was
    trained by Adam, singular values were up to 1.05 times the bound in the steps after it, and 1.01 ten steps later.

    Averages of a chain are not projected: put this method before them, so that they average projected weights. Their
    singular values are then at most the bound (the norm is convex), and smaller where the weights turned.

    Args:
        model: any network with linear, convolutional, recurrent or attention layers.
        optimizer: its optimizer(s); the state is not touched.
        head: the module of the output layer, such as `"head"`, which is left alone so that logits of any size can
            be reached; None: there is none, all layers are projected (Miyato et al.).
        bound: the singular value wanted, above 0 and finite.
        leave_smaller: leave weights alone whose largest singular value is below the bound.
        iterations: of the power method for each step, at least 1.
        seed: of the first vectors.

    Raises:
        ValueError: for a bad setting, a head that the model has not, or a model without weight matrices outside
            it; for a state of another model.
        RuntimeError: after a step, if layers were removed or resized meanwhile.

    References:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, arXiv 1802.05957.
        Bjorck, Gomes and Weinberger, "Towards Deeper Deep Reinforcement Learning with Spectral Normalization",
        NeurIPS 2021, arXiv 2106.01151. Gogianu et al., "Spectral Normalisation for Deep Reinforcement Learning: an
        Optimisation Perspective", ICML 2021, arXiv 2105.05246. Gouk et al., "Regularisation of Neural Networks by
        Enforcing Lipschitz Continuity", Machine Learning 2021, arXiv 1804.04368.
        The formulas are those of torch and of the code of Gogianu et al.; the projection of Gouk et al. is known from
        their abstract, and not verified against their text.

    Example:
        >>> import torch
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[4.0, 0.0], [0.0, 2.0]]))
        >>> method = SpectralNormalization(model, head=None)
        >>> method.after_step()
        >>> [[round(value, 4) for value in row] for row in model.weight.tolist()]
        [[1.0, 0.0], [0.0, 0.5]]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"head"})

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        head: str | None,
        bound: float = 1.0,
        leave_smaller: bool = False,
        iterations: int = 1,
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(bound) and bound > 0):
            raise ValueError(f"bound is {bound}, expected a finite number above 0: the singular value wanted")
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"iterations is {iterations!r}, expected a whole number of at least 1")
        super().__init__(model, seed=seed)
        left_out = () if head is None else weights_of_part(model, head)
        self.head = head
        self.bound = bound
        self.leave_smaller = leave_smaller
        self.iterations = iterations
        names = [name for name in matrix_names(model) if name not in left_out]
        self._power = PowerIteration(model, self.generator, names)
        if optimizer is not None:
            self.attach(optimizer)

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        """Divide the weights."""
        projected = self.trained(weights, self._power.outputs)
        self._power.advance(self.iterations, skipped)
        sigmas = self._power.sigmas()
        factors = [quotient(self.bound, sigmas[name]) for name in projected]
        if self.leave_smaller:
            factors = [factor.clamp(max=1.0) for factor in factors]
        scale(projected.values(), unless(skipped, factors))

    def weights_changed(self, change: Change) -> None:
        """Find the singular vectors anew."""
        self._power.start()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the singular vectors are a part of it."""
        return super().state_dict() | {"power": self._power.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._power.load_state_dict(state["power"])

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        self._power.check_state(state.get("power", {}))
