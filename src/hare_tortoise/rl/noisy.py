"""A linear layer that explores by noise on its weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hare_tortoise.networks.layers import check_count

_SIGMA = 0.5


class NoisyLinear(nn.Module):
    """A linear layer with learned noise on its weights, factorised and Gaussian.

    With `f(x) = sign(x)·√|x|` and `ε_in`, `ε_out` standard normal, one number for each input and each output:

        y = (μ_w + σ_w ⊙ f(ε_out) f(ε_in)ᵀ) x + μ_b + σ_b ⊙ f(ε_out)      in training
        y = μ_w x + μ_b                                                  in evaluation

    The noise is the same for all rows and stays until `resample`. It is drawn from torch's global generator when the
    layer is built. It is no weight: it is in no state and no average; draw it again after loading. Initial values,
    for `p` inputs: `μ` uniform between `∓1/√p`, `σ = 0.5/√p`. Methods that reset units (ReDo) reset their `μ` and leave
    `σ` alone.

    Args:
        inputs: number of inputs, at least 1.
        outputs: number of outputs, at least 1.

    Raises:
        ValueError: if a number is not an integer of at least 1.

    References:
        Fortunato et al., "Noisy Networks for Exploration", ICLR 2018, arXiv 1706.10295, sections 3 and 3.2.

    Example:
        >>> layer = NoisyLinear(3, 2)
        >>> before = layer(torch.ones(1, 3))
        >>> layer.resample(torch.Generator().manual_seed(0))
        >>> bool((layer(torch.ones(1, 3)) == before).any())
        False
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = check_count("inputs", inputs), check_count("outputs", outputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.weight_sigma = nn.Parameter(torch.empty(outputs, inputs))
        self.bias_sigma = nn.Parameter(torch.empty(outputs))
        # Buffers would be averaged into the tortoise, and counted in its distance.
        self.noise_in, self.noise_out = torch.empty(inputs), torch.empty(outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the means and the noise anew; put the scales of the noise to their initial value."""
        bound = 1 / math.sqrt(self.inputs)
        for mean in (self.weight, self.bias):
            nn.init.uniform_(mean, -bound, bound)
        for sigma in (self.weight_sigma, self.bias_sigma):
            nn.init.constant_(sigma, _SIGMA * bound)
        self.resample()

    def resample(self, generator: torch.Generator | None = None) -> None:
        """Draw the noise anew, first of the inputs, then of the outputs.

        Args:
            generator: to draw from, on any device; None: torch's global generator.
        """
        device = self.noise_in.device if generator is None else generator.device
        for noise in (self.noise_in, self.noise_out):
            drawn = torch.randn(len(noise), generator=generator, device=device)
            noise.copy_(drawn.sign() * drawn.abs().sqrt())

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs)."""
        if not self.training:
            return functional.linear(inputs, self.weight, self.bias)
        noise = self.noise_out[:, None] * self.noise_in
        weight = self.weight + self.weight_sigma * noise
        return functional.linear(inputs, weight, self.bias + self.bias_sigma * self.noise_out)

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"inputs={self.inputs}, outputs={self.outputs}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NoisyLinear:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.noise_in, self.noise_out = fn(self.noise_in), fn(self.noise_out)
        return self
