"""Examples: labelled data that is handed out in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor

Prepare = Callable[[Tensor], Tensor]
Augment = Callable[[Tensor, torch.Generator], Tensor]
Batch = tuple[Tensor, Tensor]


def batch_bounds(count: int, size: int, *, merge: bool) -> list[tuple[int, int]]:
    """Where each batch starts and ends among `count` examples.

    With `merge`, a last batch of one example is joined to the one before it (BatchNorm cannot train on
    one), unless `size` is 1 or there is no other batch. Nothing is ever dropped.

    Args:
        count: number of examples, 0 or more.
        size: examples in a batch, 1 or more.
        merge: join a last batch of one to the one before.

    Returns:
        Pairs (start, end), without gaps, from 0 to `count`.

    Raises:
        ValueError: `size` is not a whole number of at least 1.

    Example:
        >>> batch_bounds(9, 4, merge=True), batch_bounds(9, 4, merge=False)
        ([(0, 4), (4, 9)], [(0, 4), (4, 8), (8, 9)])
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"the batch size is {size!r}: give a whole number of at least 1")
    starts = list(range(0, count, size))
    if merge and size > 1 and len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True)) if starts else []


class Examples(ABC):
    """Labelled data that is handed out in batches, in order or shuffled."""

    @abstractmethod
    def __len__(self) -> int: ...

    def batches(
        self, size: int, *, generator: torch.Generator | None = None, augment: Augment | None = None
    ) -> Iterator[Batch]:
        """Every example once, as pairs (inputs, targets).

        Without a generator: in order, the last batch as small as it comes (evaluation). With one: shuffled
        by it, augmented by draws from it, and a last batch of one is joined to the one before. What is
        handed out is a function of the generator's state alone; the global generators are not touched.

        Args:
            size: examples in a batch, 1 or more.
            generator: what to shuffle and augment with; best a CPU generator, so that the order does not
                depend on the device of the data.
            augment: `(inputs, generator) -> inputs`, applied to the raw inputs before they are prepared.

        Returns:
            An iterator over pairs: inputs (size, …) and targets (size, …).

        Raises:
            ValueError: `size` is not a whole number of at least 1, or there is an augmentation but nothing to
                draw from.
        """
        if augment is not None and generator is None:
            raise ValueError(
                "augment is given without a generator to draw from: give generator=, or leave both out"
            )
        return self._iterate(batch_bounds(len(self), size, merge=generator is not None), generator, augment)

    def at(self, places: Sequence[int]) -> Batch:
        """Some of the examples as one batch; only these are read.

        Args:
            places: which, from 0 to the last one; one at least.

        Example:
            >>> TensorExamples(torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([0, 1, 2])).at([2, 0])
            (tensor([[7.],
                    [5.]]), tensor([2, 0]))
        """
        batches = list(self._iterate([(place, place + 1) for place in places], None, None))
        inputs, targets = zip(*batches, strict=True)
        return torch.cat(inputs), torch.cat(targets)

    @abstractmethod
    def _iterate(
        self, bounds: list[tuple[int, int]], generator: torch.Generator | None, augment: Augment | None
    ) -> Iterator[Batch]:
        """The batches of `batches`, whose settings are checked, from each start to each end in `bounds`."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Examples:
        """The same examples, handed out on `device`."""

    def steps(self, size: int) -> int:
        """How many batches of `size` a shuffled pass has: the optimizer steps of an epoch."""
        return len(batch_bounds(len(self), size, merge=True))


class TensorExamples(Examples):
    """Examples that live in memory as tensors: indexed, not loaded.

    Example n is `inputs[rows[n]]` with the target `targets[n]`. Several of these can share one tensor of
    inputs, as the chunks of a stream do; only `targets` and `rows` are their own.

    Args:
        inputs: (M, …), any dtype; uint8 images stay uint8 until they are handed out.
        targets: (N,) or (N, …), one per example, on the device of the inputs.
        rows: (N,) int64, rows of `inputs`. None: all of them, N = M.
        prepare: applied to each batch of inputs when it is handed out, for instance `Normalise`.

    Raises:
        ValueError: lengths or devices do not fit together, or a row lies outside the inputs.

    Example:
        >>> inputs, targets = torch.arange(6.0).view(3, 2), torch.tensor([0, 1])
        >>> data = TensorExamples(inputs, targets, rows=torch.tensor([2, 0]))
        >>> [(x.tolist(), y.tolist()) for x, y in data.batches(2)]
        [([[4.0, 5.0], [0.0, 1.0]], [0, 1])]
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, *, rows: Tensor | None = None, prepare: Prepare | None = None
    ) -> None:
        count = len(inputs) if rows is None else len(rows)
        if len(targets) != count:
            raise ValueError(
                f"there are {len(targets)} targets for {count} examples: give one target for each"
            )
        for name, tensor in (("targets", targets), ("rows", rows)):
            if tensor is not None and tensor.device != inputs.device:
                raise ValueError(
                    f"{name} are on {tensor.device}, the inputs on {inputs.device}: put them on one device"
                )
        if rows is not None:
            if rows.dtype != torch.int64 or rows.ndim != 1:
                raise ValueError(
                    f"rows are {rows.dtype} of shape {tuple(rows.shape)}: give int64 of shape (N,)"
                )
            if count and (int(rows.min()) < 0 or int(rows.max()) >= len(inputs)):
                raise ValueError(
                    f"rows run from {int(rows.min())} to {int(rows.max())}, the inputs have rows 0 to "
                    f"{len(inputs) - 1}: keep them inside"
                )
        self.inputs = inputs
        self.targets = targets
        self.rows = rows
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.targets)

    def _iterate(
        self, bounds: list[tuple[int, int]], generator: torch.Generator | None, augment: Augment | None
    ) -> Iterator[Batch]:
        rows, targets = self.rows, self.targets
        if generator is None:
            targets = targets.clone()
        else:
            order = torch.randperm(len(self), generator=generator, device=generator.device)
            order = order.to(targets.device)
            rows = order if rows is None else rows.index_select(0, order)
            targets = targets.index_select(0, order)
        for start, end in bounds:
            # Copies, not views: what is done to a batch in place must not reach the data.
            stored = self.inputs
            inputs = stored[start:end].clone() if rows is None else stored.index_select(0, rows[start:end])
            if augment is not None and generator is not None:
                inputs = augment(inputs, generator)
            yield inputs if self.prepare is None else self.prepare(inputs), targets[start:end]

    def to(self, device: torch.device | str) -> Self:
        """The same examples with all tensors on `device`; itself if they are there already."""
        inputs = self.inputs.to(device)
        if inputs is self.inputs:
            return self
        moved = copy(self)
        moved.inputs = inputs
        moved.targets = self.targets.to(device)
        moved.rows = None if self.rows is None else self.rows.to(device)
        return moved
