"""Permuted inputs: the same data in ever new disguises."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Prepare
from hare_tortoise.streams.scenarios.tasks import Tasks, Tests
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Stream

Order = Literal["composed", "independent"]


class Permute:
    """Inputs with their elements in another order: `outputs[n, j] = inputs[n, permutation[j]]`.

    Elements are all entries of a flat input; of an image, (channels, height, width), they are its pixels, whose
    channels stay together.

    Args:
        permutation: (K,) int64, each of 0 … K − 1 once.
    """

    def __init__(self, permutation: Tensor) -> None:
        self.permutation = permutation

    def __call__(self, inputs: Tensor) -> Tensor:
        """(N, …) with K elements to the same shape, a new tensor."""
        if self.permutation.device != inputs.device:
            self.permutation = self.permutation.to(inputs.device)
        flat = inputs.flatten(2 if inputs.ndim == 4 else 1)
        return flat.index_select(-1, self.permutation).view_as(inputs)


class Permuted(Tasks):
    """The tasks of `permuted`.

    Args:
        source: the data.
        order: "composed" or "independent".
        settings: of `Tasks`.

    Raises:
        ValueError: `order` is something else.
    """

    def __init__(self, source: Source, *, order: Order, **settings: Any) -> None:
        super().__init__(source, **settings)
        if order not in ("composed", "independent"):
            raise ValueError(f"order is {order!r}: give 'composed' or 'independent'")
        self.order = order
        shape = self.input_shape
        self._count = math.prod(shape[1:] if len(shape) == 3 else shape)
        self._latest = -1, torch.arange(self._count)

    def _drawn_permutation(self, index: int) -> Tensor:
        return torch.randperm(self._count, generator=derived_generator(self.seed, "permutation", index))

    def _permutation(self, index: int) -> Tensor:
        """(K,) int64: which element of the source's input stands where in a task."""
        if self.order == "independent":
            return self._drawn_permutation(index) if index else torch.arange(self._count)
        # tasks are mostly asked for in turn: go on from the last one where that is possible
        reached, whole = self._latest if self._latest[0] <= index else (-1, torch.arange(self._count))
        for task in range(reached + 1, index + 1):
            whole = whole[self._drawn_permutation(task)]
        self._latest = index, whole
        return whole

    def _transform(self, index: int) -> Prepare:
        return Permute(self._permutation(index))


def permuted(
    source: Source,
    *,
    tasks: int = 10,
    rows_per_task: int | None = None,
    order: Order = "composed",
    tests: Tests = "current",
    test_rows: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """The same classification, or regression, again and again, each time with the elements of the inputs permuted.

    Task i trains on `x[c_i]` and is judged on test inputs permuted alike, with `c_i = c_{i−1}[p_i]` ("composed": the
    new permutation `p_i` is applied to what was permuted before, the first task is permuted as well) or `c_i = p_i`
    ("independent": anew each time, the first task is left as it is). As uniformly drawn permutations make one when
    composed, the two differ in the first task alone. The elements of an image are its pixels; channels stay together.

    Args:
        source: the data.
        tasks: number of tasks, 1 or more.
        rows_per_task: examples of each task, drawn anew for each. None: all.
        order: "composed" (Dohare et al.) or "independent" (Kumar et al.).
        tests: what each chunk is judged on: "current": its own task; "seen": also all before; "all": every task
            of the stream, the current one first.
        test_rows: how many test examples, the same for all tasks and seeds. None: all.
        validation: share that is set aside for choosing, in [0, 1), once for all tasks; permuted alike.
        seed: what rows and permutations are drawn from.

    Returns:
        A stream of `tasks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or there are not as many examples.

    Reference:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024; Kumar et al., "Maintaining
        Plasticity in Continual Learning via Regenerative Regularization", CoLLAs 2024, arXiv 2308.11958.

    Example:
        >>> from hare_tortoise.streams import load_source, permuted
        >>> stream = permuted(load_source("digits"), tasks=3, rows_per_task=500, tests="seen")
        >>> [(chunk.name, len(chunk.train), list(chunk.tests)) for chunk in stream][:2]
        [('task 1', 500, ['task 1']), ('task 2', 500, ['task 2', 'task 1'])]
    """
    return Permuted(
        source if test_rows is None else source.take(None, test_rows),
        name="permuted",
        tasks=tasks,
        rows_per_task=rows_per_task,
        order=order,
        tests=tests,
        validation=validation,
        seed=seed,
    )
