"""Bits with a number that a network of threshold units gives them: made for the slowly-changing regression."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

import torch
from torch import Tensor

from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.stream import Task


@dataclass(frozen=True)
class Bits:
    """Inputs of `inputs` bits, of which the first `fixed` change slowly, and how their targets come about.

    Args:
        inputs: bits of an example (m).
        fixed: how many of them are alike in a chunk.
        units: of the target network.
        beta: share of its inputs that must agree with a unit's weights for it to fire.
    """

    inputs: int
    fixed: int
    units: int
    beta: float
    name: str = "bits"
    task: Task = "regression"
    outputs: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("inputs", self.inputs, 1),
            ("fixed", self.fixed, 0),
            ("units", self.units, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}")
        if self.fixed > self.inputs:
            raise ValueError(f"fixed is {self.fixed}: there are {self.inputs} bits; give at most as many")
        if not is_number(self.beta) or not math.isfinite(self.beta):
            raise ValueError(f"beta is {self.beta!r}: give a finite number, such as 0.7")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(m,)."""
        return (self.inputs,)

    @property
    def digest(self) -> str:
        """sha256 over the settings, in hexadecimal: they are all there is."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def train_targets(self) -> Tensor:
        """None: (0, 1). Examples are made by the scenario."""
        return torch.zeros(0, 1)

    @property
    def train_inputs(self) -> NoReturn:
        """None: examples are made by the scenario."""
        self._refuse()

    @property
    def test(self) -> NoReturn:
        """None: likewise."""
        self._refuse()

    def network(self, seed: int) -> TargetNetwork:
        """A target network, drawn from a seed."""
        generator = derived_generator(seed, "target network")

        def signs(*shape: int) -> Tensor:
            return torch.randint(2, shape, generator=generator).float() * 2 - 1

        return TargetNetwork(
            signs(self.units, self.inputs), signs(self.units), signs(self.units), signs(1), self.beta
        )

    def take(self, rows: int | None = None, test_rows: int | None = None) -> Self:
        """Itself: the scenario says how many examples there are.

        Raises:
            ValueError: a number is given.
        """
        if rows is not None or test_rows is not None:
            raise ValueError("bits are made by the scenario: write slowly-changing(rows=…, test_rows=…)")
        return self

    def to(self, device: torch.device | str) -> Self:
        """Itself: there is nothing to move."""
        return self

    def part(self, rows: Tensor, targets: Tensor) -> NoReturn:
        """Refuse: examples are made by the scenario for it."""
        self._refuse()

    test_part = part

    def _refuse(self) -> NoReturn:
        raise ValueError("bits come in one scenario only: write --scenario slowly-changing")


@dataclass(frozen=True)
class TargetNetwork:
    """One layer of linear threshold units, summed with signs; all weights and biases are +1 or −1.

    Unit i fires where `w_i · x + b_i > τ_i`, with `τ_i = β (m + 1) − S_i` and `S_i = (m − Σ_j w_ij + b_i) / 2`. The
    target is `v · f + c`, f being 1 for the units that fire, else 0. S_i counts the weights that are −1, up to half a
    one for the bias.

    Args:
        weights: (units, m), w.
        biases: (units,), b.
        signs: (units,), v.
        offset: (1,), c.
        beta: β.

    Reference:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 2024; the formula, sign of the bias
        included, is that of the authors' code (`lop/nets/fix_ltu_net.py`, `lop/utils/ltu.py`).
    """

    weights: Tensor
    biases: Tensor
    signs: Tensor
    offset: Tensor
    beta: float

    def __call__(self, inputs: Tensor) -> Tensor:
        """(N, m) bits to (N, 1) numbers."""
        size = self.weights.shape[1]
        thresholds = self.beta * (size + 1) - (size - self.weights.sum(1) + self.biases) / 2
        firing = (inputs @ self.weights.T + self.biases > thresholds).float()
        return firing @ self.signs[:, None] + self.offset


def bits(
    *, inputs: int = 20, fixed: int = 15, units: int = 100, beta: float = 0.7, root: Path | None = None
) -> Bits:
    """Made-up bits, and the network that gives them their targets; for the scenario `slowly-changing`.

    The defaults are those of the publication.

    Args:
        inputs: bits of an example.
        fixed: how many of them, the first, are alike in a chunk.
        units: linear threshold units of the target network.
        beta: a unit fires where about this share of its inputs agrees with its weights.
        root: not needed.

    Returns:
        What the scenario draws examples by.

    Raises:
        ValueError: an argument lies outside its range.

    Reference:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 2024.
    """
    return Bits(inputs, fixed, units, beta)
