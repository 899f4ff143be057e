"""Examples whose inputs go through one more function than they did."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .examples import Augment, Batch, Examples, Prepare


class TransformedExamples(Examples):
    """Other examples, whose batches of inputs are transformed after everything else.

    Batch by batch `(transform(inputs), targets)`: nothing is copied, so that many tasks share one data set,
    wherever it lies. What is augmented is the stored input, before it is prepared and transformed.

    Args:
        examples: in memory, or read by a loader.
        transform: `inputs (N, …) -> inputs`, on the device of the batch.

    Example:
        >>> from hare_tortoise.streams import TensorExamples
        >>> data = TensorExamples(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
        >>> [x.tolist() for x, _ in TransformedExamples(data, lambda inputs: inputs.flip(1)).batches(1)]
        [[[2.0, 1.0]]]
    """

    def __init__(self, examples: Examples, transform: Prepare) -> None:
        self.examples = examples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.examples)

    def _iterate(
        self, bounds: list[tuple[int, int]], generator: torch.Generator | None, augment: Augment | None
    ) -> Iterator[Batch]:
        for inputs, targets in self.examples._iterate(bounds, generator, augment):
            yield self.transform(inputs), targets

    def to(self, device: torch.device | str) -> TransformedExamples:
        """The same examples, handed out on `device`; itself if they are there already."""
        moved = self.examples.to(device)
        return self if moved is self.examples else TransformedExamples(moved, self.transform)
