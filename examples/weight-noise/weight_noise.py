"""A method in a package of its own: a little noise on every weight after each optimizer step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hare_tortoise import Method


class WeightNoise(Method):
    """Add noise after each optimizer step: `θ ← θ + std · ε`, `ε` drawn from N(0, 1).

    Args:
        model: any network.
        optimizer: its optimizer(s).
        std: of the noise, at least 0.
        seed: of the draws.

    Raises:
        ValueError: `std` is negative.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        std: float = 1e-4,
        seed: int = 0,
    ) -> None:
        if not std >= 0:
            raise ValueError(f"std is {std}, expected at least 0; 1e-4 is a start")
        super().__init__(model, optimizer, seed=seed)
        self.std = std

    @torch.no_grad()
    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Add the noise; nothing where the gradient scaler skipped the step."""
        if skipped is True:
            return
        # a product, not a question: asking whether the step was skipped would wait for the device
        scale = self.std if skipped is None else self.std * (1.0 - torch.as_tensor(skipped).float())
        for theta in self.model.parameters():
            noise = torch.randn(theta.shape, generator=self.generator)
            theta.add_(noise.to(theta) * scale)
