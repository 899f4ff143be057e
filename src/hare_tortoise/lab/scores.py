"""What a chunk asks of a network: which outputs count, the loss on them, and how right the answers are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hare_tortoise.methods.method import Loss
from hare_tortoise.streams import Chunk
from hare_tortoise.streams.stream import Task


@dataclass(frozen=True)
class Score:
    """How right some answers are.

    Args:
        accuracy: share of the examples whose largest output is their target; of numbers R².
        error: mean squared error; None for classes.
    """

    accuracy: float
    error: float | None = None


def blocked_outputs(chunk: Chunk, outputs: int, test: str | None = None) -> Tensor | None:
    """Say which outputs of a head do not count: (outputs,) bool on the CPU; None where all do.

    Those from ``chunk.outputs`` on and those that are not in ``chunk.active``. A test set with a mask of its own
    (``chunk.test_active``) goes by that alone.

    Args:
        chunk: what is available.
        outputs: of the whole head, as the stream has it.
        test: name of a test set of the chunk; None: what is trained on.

    Raises:
        ValueError: A mask has another length than the head, or leaves nothing.

    Example:
        >>> from hare_tortoise.streams import TensorExamples
        >>> examples = TensorExamples(torch.zeros(1, 1), torch.zeros(1))
        >>> chunk = Chunk(0, "first", examples, None, {"test": examples}, outputs=2)
        >>> blocked_outputs(chunk, 3).tolist(), blocked_outputs(chunk, 2)
        ([False, False, True], None)
    """
    active = chunk.active if test is None else chunk.test_active.get(test, chunk.active)
    blocked = torch.zeros(outputs, dtype=torch.bool)
    if test is None or test not in chunk.test_active:
        blocked[chunk.outputs :] = True
    if active is not None:
        if active.dtype != torch.bool or active.ndim != 1 or len(active) not in (chunk.outputs, outputs):
            raise ValueError(
                f"chunk {chunk.name}: the mask of its outputs is {active.dtype} of shape {tuple(active.shape)}, "
                f"expected bool of shape ({outputs},), one for each output of the stream"
            )
        blocked[: len(active)] |= ~active.cpu()
        blocked[len(active) :] = True
    if bool(blocked.all()):
        raise ValueError(f"chunk {chunk.name}: its mask leaves no output; give one active output at least")
    return blocked if bool(blocked.any()) else None


def loss_of(task: Task, blocked: Tensor | None) -> Loss:
    """Give the loss: cross-entropy over the outputs that count, or the mean squared error of numbers.

    A target that is blocked has an infinite loss: no chunk may hold one.

    Args:
        task: "classification" or "regression".
        blocked: (outputs,) bool on the device of the outputs; None: all count.

    Example:
        >>> loss = loss_of("classification", torch.tensor([False, False, True]))
        >>> round(loss(torch.zeros(1, 3), torch.tensor([0])).item(), 4)  # log 2
        0.6931
    """
    if task == "regression":
        return squared_error
    if blocked is None:
        return F.cross_entropy

    def masked_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.masked_fill(blocked, -math.inf), targets)

    return masked_cross_entropy


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, in the precision of the targets."""
    return F.mse_loss(outputs.to(targets.dtype), targets)


class Tally(ABC):
    """Adds up, batch by batch and on the device, how right answers are.

    Attributes:
        count: examples so far.
    """

    count: int = 0

    @abstractmethod
    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, without waiting for the device."""

    @property
    @abstractmethod
    def sums(self) -> Tensor:
        """What `score` needs, 1-D, on the device: those of several tallies can be read at once."""

    @abstractmethod
    def score(self, sums: list[float]) -> Score:
        """Give the score; `sums` are read from the device."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything that was added up."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Take up a saved state."""


class Hits(Tally):
    """Counts examples whose largest output, of those that count, is their target.

    Args:
        device: where outputs and targets are.
        blocked: (outputs,) bool, which outputs do not count; None: all do.
    """

    def __init__(self, device: torch.device, blocked: Tensor | None) -> None:
        self.right = torch.zeros((), dtype=torch.int64, device=device)
        self.blocked = blocked

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: outputs (N, outputs), targets (N,)."""
        if self.blocked is not None:
            outputs = outputs.masked_fill(self.blocked, -math.inf)
        self.right += (outputs.argmax(1) == targets).sum()
        self.count += len(targets)

    @property
    def sums(self) -> Tensor:
        """The number of hits."""
        return self.right.reshape(1)

    def score(self, sums: list[float]) -> Score:
        """Give the share of hits."""
        return Score(int(sums[0]) / self.count)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Hits and number of examples."""
        return {"right": self.right, "count": self.count}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Take up a saved state."""
        self.right.copy_(torch.as_tensor(state["right"]))
        self.count = int(state["count"])


class Fit(Tally):
    """Adds up squared errors, and the squared distances of targets from their mean (after Chan et al., 1979).

    Args:
        device: where outputs and targets are.
        outputs: numbers of one target.
    """

    def __init__(self, device: torch.device, outputs: int) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64  # all that MPS has
        self.mean = torch.zeros(outputs, dtype=exact, device=device)
        self.residual_and_spread = torch.zeros(2, dtype=exact, device=device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: outputs and targets (N, outputs)."""
        exact = self.mean.dtype
        known, before, new = targets.to(exact), self.count, len(targets)
        mean = known.mean(0)
        apart = mean - self.mean
        self.count += new
        residual = (outputs.to(exact) - known).square().sum()
        spread = (known - mean).square().sum() + apart.square().sum() * (before * new / self.count)
        self.residual_and_spread += torch.stack((residual, spread))
        self.mean += apart * (new / self.count)

    @property
    def sums(self) -> Tensor:
        """Squared errors and squared distances from the mean."""
        return self.residual_and_spread

    def score(self, sums: list[float]) -> Score:
        """Give R² and mean squared error; where all targets are alike R² is 1 without an error, else 0."""
        residual, spread = sums
        r_squared = 1 - residual / spread if spread else float(residual == 0)
        return Score(r_squared, residual / (self.count * len(self.mean)))

    def state_dict(self) -> dict[str, Tensor | int]:
        """Sums, mean and number of examples."""
        return {"sums": self.residual_and_spread, "mean": self.mean, "count": self.count}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Take up a saved state."""
        self.residual_and_spread.copy_(torch.as_tensor(state["sums"]))
        self.mean.copy_(torch.as_tensor(state["mean"]))
        self.count = int(state["count"])


def tally(task: Task, outputs: int, device: torch.device, blocked: Tensor | None) -> Tally:
    """Begin to add up what a task is judged by."""
    return Fit(device, outputs) if task == "regression" else Hits(device, blocked)


def read(tallies: list[Tally]) -> list[Score]:
    """Give the scores of several tallies of one task; the device is waited for once."""
    rows: list[list[float]] = torch.stack([each.sums for each in tallies]).tolist()
    return [each.score(row) for each, row in zip(tallies, rows, strict=True)]
