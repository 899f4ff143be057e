"""A stream: data that becomes available chunk by chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
        outputs: the size of the network's head now.
        active: (outputs,) bool, which outputs count now. None: all.
        prequential: the chunk is judged before it is trained on.
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
