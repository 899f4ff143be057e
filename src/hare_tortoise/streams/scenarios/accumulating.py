"""A stream whose data accumulate: what the scenarios of the paper are made of."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Literal, Self

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Examples
from hare_tortoise.streams.label_noise import check_ratio, is_number, noisy_labels
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream

Order = Literal["random", "time"]


class Accumulating(Stream):
    """A stream whose chunk i holds everything that came up to i (the paper's full access).

    One permutation of the training set says in which order examples come: drawn from the seed, or that of their times
    (as the source has them where they are equal; then what is set aside is the latest of each part). The labels
    of a chunk are drawn anew over all its examples at its own share of noise, and stay as they are within
    it. Of each part that arrives, the last `validation · m` (rounded, at least one) of its m examples are
    set aside and stay so: an example is never trained on in one chunk and chosen on in another. Their
    labels carry the same noise as those trained on, since that is all one would have at that time; the
    test set is clean.

    Args:
        source: the data.
        name: what to call the stream.
        ends: for each chunk how many training examples have come by then; rising, each at most all.
        names: what to call each chunk.
        noise: for each chunk the share of wrong labels, in [0, 1].
        validation: the share that is set aside, in [0, 1).
        order: "random", or "time": by the times of the source.
        seed: what order and noise are drawn from.

    Raises:
        ValueError: something lies outside its range, a chunk is empty, or noise is asked of a regression.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        ends: Sequence[int],
        names: Sequence[str],
        noise: Sequence[float],
        validation: float = 0.0,
        order: Order = "random",
        seed: int = 0,
    ) -> None:
        if order not in ("random", "time"):
            raise ValueError(f"order is {order!r}: give 'random' or 'time'")
        if order == "time" and source.train_times is None:
            raise ValueError(
                f"order is 'time', but {source.name} does not say when its examples came: take a source that does, for "
                "instance image-folder(path='…', times='name'), or leave order out"
            )
        for ratio in noise:
            check_ratio(ratio)
        if source.task == "regression" and any(noise):
            raise ValueError(
                f"label_noise is {tuple(noise)}, but {source.name} has numbers, no labels: set it to 0"
            )
        if not is_number(validation) or not 0 <= validation < 1:
            raise ValueError(
                f"validation is {validation!r}: give the share to set aside, at least 0, below 1"
            )
        parts = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        least = 2 if validation else 1
        count = len(source.train_targets)
        if count < least * len(parts):
            raise ValueError(
                f"{name}: the {count} training examples of {source.name} cannot make {len(parts)} parts, as each needs "
                f"{least} at least; take fewer chunks or more data"
            )
        if min(parts) < least:
            raise ValueError(
                f"{name} splits the {count} training examples of {source.name} "
                f"into parts of {parts}: each needs {least} at least; take fewer chunks or more data"
            )
        self.source = source
        self.name = name
        self.task = source.task
        self.input_shape = source.input_shape
        self.outputs = source.outputs
        self.seed = seed
        self.order = order
        self.validation = validation
        self._ends, self._names, self._noise = tuple(ends), tuple(names), tuple(noise)

    def __len__(self) -> int:
        return len(self._ends)

    def _set_aside(self, index: int) -> Tensor:
        """(ends[index],) bool: which of the examples, in their order of arrival, are for validation."""
        aside = torch.zeros(self._ends[index], dtype=torch.bool)
        start = 0
        for end in self._ends[: index + 1]:
            count = (
                min(max(1, round(self.validation * (end - start))), end - start - 1) if self.validation else 0
            )
            aside[end - count : end] = True
            start = end
        return aside

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        source, rows = self.source, self._arrived(index)
        targets = self._labels(index)
        aside = self._set_aside(index).to(rows.device)

        def part(which: Tensor) -> Examples:
            return source.part(rows[which], targets[which])

        kept = self._kept(index)
        return Chunk(
            index=index,
            name=self._names[index],
            train=part(~aside if kept is None else kept.to(rows.device) & ~aside),
            everything=None if kept is None else part(~aside),
            validation=part(aside) if self.validation else None,
            tests={"test": source.test},
            outputs=source.outputs,
        )

    def _arrived(self, index: int) -> Tensor:
        """(ends[index],) int64: the rows of the source that have come by then, in their order of arrival."""
        times = self.source.train_times
        if self.order == "time" and times is not None:
            order = times.argsort(stable=True)
        else:
            count = len(self.source.train_targets)
            order = torch.randperm(count, generator=derived_generator(self.seed, "order"))
        return order[: self._ends[index]].to(self.source.train_targets.device)

    def _labels(self, index: int) -> Tensor:
        """(ends[index],) labels of those rows, with the noise of this chunk."""
        targets = self.source.train_targets.index_select(0, self._arrived(index))
        if not self._noise[index]:
            return targets
        generator = derived_generator(self.seed, "label noise", index)
        return noisy_labels(targets, self._noise[index], self.source.outputs, generator)

    def _kept(self, index: int) -> Tensor | None:
        """(ends[index],) bool: which of those rows may be trained on. None: all, as nothing is given up here."""
        return None

    def to(self, device: torch.device | str) -> Self:
        """The same stream with its data on `device`, put there once and shared by all chunks."""
        moved = copy(self)
        moved.source = self.source.to(device)
        return moved
