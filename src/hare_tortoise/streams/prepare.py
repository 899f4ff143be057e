"""From what is stored to what a network is given: applied to each batch on its device."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalise:
    """Inputs to float32 with mean 0 and standard deviation 1: `(inputs − mean) / std`.

    Args:
        mean: one number for each channel (dimension 1 of a batch), in the units of the stored inputs.
        std: likewise, above 0.

    Raises:
        ValueError: lengths differ, or a number is not finite or a `std` not above 0.

    Example:
        >>> Normalise(mean=(2.0,), std=(4.0,))(torch.tensor([[[6, 2]]], dtype=torch.uint8))
        tensor([[[1., 0.]]])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    _ready: dict[tuple[torch.device, int], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"there are {len(self.mean)} means and {len(self.std)} stds: give one of each per channel"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or not all(std > 0 for std in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} must be finite, and each std above 0")

    def __call__(self, inputs: Tensor) -> Tensor:
        """(N, C, …) of any dtype to float32, a new tensor."""
        key = inputs.device, inputs.ndim
        if key not in self._ready:
            shape = (-1, *[1] * (inputs.ndim - 2))
            mean = torch.tensor(self.mean, dtype=torch.float64)
            std = torch.tensor(self.std, dtype=torch.float64)
            self._ready[key] = tuple(  # type: ignore[assignment]
                each.float().view(shape).to(inputs.device) for each in (1 / std, -mean / std)
            )
        scale, shift = self._ready[key]
        return inputs.to(torch.float32, copy=True).mul_(scale).add_(shift)

    def __getstate__(self) -> dict[str, object]:
        return {"mean": self.mean, "std": self.std, "_ready": {}}

    @classmethod
    def of(cls, inputs: Tensor, *, per_channel: bool = True) -> Normalise:
        """The mean and standard deviation of `inputs` (the population's, in float64).

        Args:
            inputs: (N, C, …), not empty.
            per_channel: for each of the C entries of dimension 1. False: one of each over everything.

        Returns:
            What normalises such inputs. A channel that never changes is only shifted (its `std` is 1).

        Example:
            >>> Normalise.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
            Normalise(mean=(2.0, 5.0), std=(1.0, 1.0))
        """
        inputs = inputs.reshape(len(inputs), inputs.shape[1] if per_channel else 1, -1)
        count = len(inputs) * inputs.shape[2]
        mean = torch.zeros(inputs.shape[1], dtype=torch.float64, device=inputs.device)
        squares = torch.zeros_like(mean)
        blocks = [inputs[start : start + 1024] for start in range(0, len(inputs), 1024)]
        for block in blocks:
            mean += block.double().sum(2).sum(0) / count
        for block in blocks:
            squares += (block.double() - mean[:, None]).square_().sum(2).sum(0) / count
        std = squares.sqrt()
        std[std <= 1e-12 * mean.abs()] = 1.0
        return cls(tuple(mean.tolist()), tuple(std.tolist()))


@dataclass(frozen=True)
class Rescale:
    """Inputs to float32 in other units: `inputs · scale`; uint8 images to [0, 1] by default.

    Args:
        scale: finite, not 0.

    Example:
        >>> Rescale()(torch.tensor([[0, 255]], dtype=torch.uint8))
        tensor([[0., 1.]])
    """

    scale: float = 1 / 255

    def __call__(self, inputs: Tensor) -> Tensor:
        """Any shape and dtype to float32, a new tensor."""
        return inputs.to(torch.float32, copy=True).mul_(self.scale)
