"""Examples that do not fit in memory: read by a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hare_tortoise.streams.examples import Augment, Batch, Examples, Prepare
from hare_tortoise.streams.reader import Reader


class LoaderExamples(Examples):
    """Examples read from a `Dataset` by a `DataLoader` as they are needed.

    Example n is `dataset[rows[n]]`, a pair (input, target), with the target replaced by `targets[n]` where
    they are given. Order and augmentation come from the generator of `batches`, drawn as for `TensorExamples`, and so
    do the seeds of the global generators in the workers, anew for each batch: what a data set draws there does not
    depend on their number. Without workers, what it draws is its own affair. The processes start with the first
    pass and stay for the next ones; the data set that they hold is that of then. A ValueError of the data set comes
    out with its message alone.

    Args:
        dataset: has `__len__` and `__getitem__`, which gives pairs (input, target).
        rows: (N,) int64, rows of `dataset`. None: all of them.
        targets: (N,) or (N, …), to use in place of those of the data set. None: those of the data set.
        prepare: applied to each batch of inputs on its device.
        workers: processes that read, 0 or more. 0: this one.
        device: where batches are handed out.

    Raises:
        ValueError: `workers` is negative, a row lies outside the data set, or there are not as many targets
            as rows.

    Example:
        >>> dataset = torch.utils.data.TensorDataset(torch.arange(3.0), torch.arange(3))
        >>> [(x.tolist(), y.tolist()) for x, y in LoaderExamples(dataset).batches(2)]
        [([0.0, 1.0], [0, 1]), ([2.0], [2])]
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        rows: Tensor | None = None,
        targets: Tensor | None = None,
        prepare: Prepare | None = None,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        total = len(dataset)  # type: ignore[arg-type]
        self.rows = torch.arange(total) if rows is None else rows.cpu()
        if workers < 0:
            raise ValueError(f"workers is {workers!r}: give the number of reading processes, 0 or more")
        self.reader = Reader(dataset, workers)
        self.targets = None if targets is None else targets.cpu()
        self.prepare = prepare
        self.device = torch.device(device)
        self._check()

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, rows: Tensor, targets: Tensor) -> Self:
        """Other rows of the same data set with targets of their own, read by the same processes.

        Args:
            rows: (N,) int64, rows of the data set.
            targets: (N,) or (N, …), one for each.

        Raises:
            ValueError: a row lies outside the data set, or there are not as many targets as rows.
        """
        other = copy(self)
        other.rows, other.targets = rows.cpu(), targets.cpu()
        other._check()
        return other

    def _check(self) -> None:
        total = len(self.reader.dataset)  # type: ignore[arg-type]
        if len(self.rows) and (int(self.rows.min()) < 0 or int(self.rows.max()) >= total):
            raise ValueError(
                f"rows run from {int(self.rows.min())} to {int(self.rows.max())}, the data set has rows 0 to "
                f"{total - 1}: keep them inside"
            )
        if self.targets is not None and len(self.targets) != len(self.rows):
            raise ValueError(
                f"there are {len(self.targets)} targets for {len(self.rows)} examples: give one for each"
            )

    def _iterate(
        self, bounds: list[tuple[int, int]], generator: torch.Generator | None, augment: Augment | None
    ) -> Iterator[Batch]:
        order, seed = torch.arange(len(self)), 0
        if generator is not None:
            order = torch.randperm(len(self), generator=generator, device=generator.device).cpu()
            # drawn from a copy: what comes after is drawn as it is for examples in memory
            after = generator.clone_state()
            seed = int(torch.randint(2**62, (), generator=after, device=after.device))
        read = self.reader.read(self.rows[order], bounds, seed=seed, pin=self.device.type == "cuda")
        for (start, end), (inputs, targets) in zip(bounds, read, strict=True):
            if self.targets is not None:
                targets = self.targets[order[start:end]]
            inputs = inputs.to(self.device, non_blocking=True)
            if augment is not None and generator is not None:
                inputs = augment(inputs, generator)
            inputs = inputs if self.prepare is None else self.prepare(inputs)
            yield inputs, targets.to(self.device, non_blocking=True)

    def to(self, device: torch.device | str) -> Self:
        """The same examples, handed out on `device`."""
        moved = copy(self)
        moved.device = torch.device(device)
        return moved
