"""Binary tasks made of pairs of classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hare_tortoise.streams.scenarios.tasks import Tasks, Tests, in_rounds, need_classes
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Stream


class Pairs(Tasks):
    """The tasks of `pairs`; settings are those of `Tasks`."""

    def __init__(self, source: Source, **settings: Any) -> None:
        super().__init__(source, **settings)
        self.outputs = 2
        self._pairs = in_rounds(source.outputs, [2] * self.tasks, self.seed)

    def _classes(self, index: int) -> Tensor:
        return self._pairs[index]

    def _labels(self, index: int) -> Tensor:
        labels = torch.full((self.source.outputs,), -1)
        labels[self._pairs[index]] = torch.arange(2)
        return labels


def pairs(
    source: Source,
    *,
    tasks: int = 10,
    rows_per_task: int | None = None,
    tests: Tests = "current",
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """Binary classifications, each of two classes of the source: the first of the pair is 0, the second is 1.

    All tasks share a head of two outputs. The classes are shuffled and paired in turn; a class comes again only when
    no two new ones are left, in a new shuffle (where their number is odd, one class stays out of each round). Dohare
    et al. go through one shuffle again and again, and set the head to zero at each task: for the latter add the
    method `head-reset`.

    Args:
        source: the data, with two classes at least.
        tasks: number of tasks, 1 or more.
        rows_per_task: examples of each task, of both classes together, drawn anew for each. None: all.
        tests: what each chunk is judged on: "current": the test examples of its pair; "seen": also those of all
            pairs before; "all": of every pair of the stream, the current one first.
        validation: share that is set aside for choosing, in [0, 1), of each class once for all tasks.
        seed: what pairs and rows are drawn from.

    Returns:
        A stream of `tasks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or there are not as many examples or classes.

    Reference:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024: Continual ImageNet, 600
        training and 100 test images a class.

    Example:
        >>> from hare_tortoise.streams import load_source, pairs
        >>> stream = pairs(load_source("digits"), tasks=7, rows_per_task=200)
        >>> stream.outputs, [len(chunk.train) for chunk in stream][:2]
        (2, [200, 200])
    """
    need_classes(source, "pairs")
    return Pairs(
        source,
        name="pairs",
        tasks=tasks,
        rows_per_task=rows_per_task,
        tests=tests,
        validation=validation,
        seed=seed,
    )
