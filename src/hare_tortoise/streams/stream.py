"""A stream: data that becomes available chunk by chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from .examples import Examples

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Chunk:
    """What is available at one point in time.

    Args:
        index: its place in the stream, 0 first.
        name: what to call it in a table.
        train: what may be trained on now. Where data accumulate, what came before is in it.
        everything: all that came so far, where `train` is less; what retraining from scratch would use.
            None: `train` is all there is.
        validation: what to choose on; never part of `train`, of this chunk or another. None: nothing is
            set aside.
        tests: what to judge on, by name; the first is the one that counts.
        outputs: the size of the network's head now. A head that grows is a full one whose later rows come into
            use: outputs from here on, up to the stream's, are masked.
        active: (outputs of the stream,) bool, which outputs count now, in training and where a test set has no mask
            of its own. None: all of the head.
        prequential: the first test set holds the data that come next in time: the mean over the chunks of the
            accuracy on it is the prequential one.
        test_active: by the name of a test set, which outputs count there, shaped as `active`; where a name is
            missing, `active` counts.
        baselines: accuracies on the first test set, 0 … 1, of predictors that learn nothing, by name; R² where
            numbers are predicted.
    """

    index: int
    name: str
    train: Examples
    validation: Examples | None
    tests: Mapping[str, Examples]
    outputs: int
    active: Tensor | None = None
    prequential: bool = False
    everything: Examples | None = None
    test_active: Mapping[str, Tensor] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)


class Stream(ABC):
    """Data that becomes available chunk by chunk; `stream[i]` is a pure function of the seed and `i`.

    Subclasses set the attributes and give `__len__`, `chunk` and `to`.

    Attributes:
        name: what to call it.
        task: "classification" or "regression".
        input_shape: the shape of one prepared input, for instance (3, 32, 32).
        outputs: the size of the network's head at the end of the stream.
    """

    name: str
    task: Task
    input_shape: tuple[int, ...]
    outputs: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, from 0 to the last one."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Stream:
        """The same stream with its data on `device`, put there once and shared by all chunks."""

    def __getitem__(self, index: int) -> Chunk:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"chunk {index} of {self.name}: there are {count}, counted from 0")
        return self.chunk(index % count)

    def __iter__(self) -> Iterator[Chunk]:
        return (self[index] for index in range(len(self)))
