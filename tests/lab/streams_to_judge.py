"""Streams of digits with masks, and with numbers to predict, for the tests of the laboratory."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from hare_tortoise.streams import Chunk, Examples, Source, Stream, TensorExamples
from hare_tortoise.streams.stream import Task

ROWS = 160


class Judged(Stream):
    """Digits in chunks of 160 rows, two test sets of 50 and 60 rows each."""

    name = "judged"
    task: Task = "classification"
    input_shape = (64,)

    def __init__(self, source: Source, chunks: int, outputs: int) -> None:
        ((self.inputs, self.labels),) = source.part(
            torch.arange(len(source.train_targets)), source.train_targets
        ).batches(10_000)
        self.inputs = self.inputs.flatten(1)
        self.chunks, self.outputs = chunks, outputs

    def __len__(self) -> int:
        return self.chunks

    def targets(self, rows: Tensor) -> Tensor:
        return self.labels[rows]

    def examples(self, rows: Tensor) -> Examples:
        return TensorExamples(self.inputs[rows], self.targets(rows))

    def chunk(self, index: int) -> Chunk:
        start = index * ROWS
        return Chunk(
            index=index,
            name=f"chunk {index}",
            train=self.examples(torch.arange(start, start + ROWS)),
            validation=None,
            tests={
                "a": self.examples(torch.arange(1000, 1050)),
                "b": self.examples(torch.arange(1100, 1160)),
            },
            outputs=self.outputs,
            baselines={"same": 0.25},
        )

    def to(self, device: torch.device | str) -> Self:
        return self


class Masked(Judged):
    """A head that grows: the chunk i has the classes below 4 + 2·i, of which class 1 is masked in training."""

    def chunk(self, index: int) -> Chunk:
        plain, head = super().chunk(index), 4 + 2 * index
        active = torch.arange(self.outputs) != 1
        both = torch.arange(self.outputs) < head
        pool = torch.arange(index * 400, 1400)

        def part(counts: Tensor, first: int, count: int) -> Examples:
            of_these = pool[counts[self.labels[pool]]]
            return self.examples(of_these[first : first + count])

        return Chunk(
            index=index,
            name=plain.name,
            train=part(active & both, 0, ROWS),
            validation=part(active & both, 160, 20),
            tests={"a": part(active & both, 180, 50), "b": part(both, 230, 60)},
            outputs=head,
            active=active,
            test_active={"b": both},
        )


class Numbers(Judged):
    """Two numbers to predict for each digit: linear in its pixels, far from 0."""

    task: Task = "regression"

    def targets(self, rows: Tensor) -> Tensor:
        weights = torch.randn(64, 2, generator=torch.Generator().manual_seed(5)) / 8
        return self.inputs[rows] @ weights + torch.tensor([0.0, 3.0])


def plain(source: Source, *, validation: float = 0.0, seed: int = 0) -> Stream:
    """Two chunks of all ten classes."""
    return Judged(source, 2, 10)


def masked(source: Source, *, validation: float = 0.0, seed: int = 0) -> Stream:
    """Two chunks with a growing head and masks."""
    return Masked(source, 2, 10)


def numbers(source: Source, *, validation: float = 0.0, seed: int = 0) -> Stream:
    """Two chunks of numbers to predict."""
    return Numbers(source, 2, 2)
