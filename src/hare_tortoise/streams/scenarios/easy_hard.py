"""Hard tasks of several classes and easy tasks of one, in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.streams.scenarios.tasks import Tasks, Tests, check_whole, in_rounds, need_classes
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream


class EasyHard(Tasks):
    """The tasks of `easy_hard`.

    Args:
        source: the data.
        hard_classes: of the tasks 1, 3, 5 and so on.
        easy_classes: of the others.
        settings: of `Tasks`.

    Raises:
        ValueError: there are not as many classes.
    """

    def __init__(self, source: Source, *, hard_classes: int, easy_classes: int, **settings: Any) -> None:
        super().__init__(source, **settings)
        check_whole("hard_classes", hard_classes)
        check_whole("easy_classes", easy_classes)
        need_classes(source, "easy-hard", max(hard_classes, easy_classes))
        sizes = [easy_classes if task % 2 else hard_classes for task in range(self.tasks)]
        self._taken = in_rounds(source.outputs, sizes, self.seed)

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        chunk = super().chunk(index)
        return replace(chunk, name=f"task {index + 1}, {'easy' if index % 2 else 'hard'}")

    def _classes(self, index: int) -> Tensor:
        return self._taken[index]

    def _rows(self, index: int) -> tuple[Tensor, Tensor]:
        kept, aside = self._of_task(index)
        if self.rows_per_task is None:
            return kept, aside
        passes, rest = divmod(self.rows_per_task, len(kept))
        return torch.cat([kept.repeat(passes), self._drawn(kept, rest, "rows", index)]), aside


def easy_hard(
    source: Source,
    *,
    tasks: int = 30,
    hard_classes: int = 5,
    easy_classes: int = 1,
    rows_per_task: int | None = None,
    tests: Tests = "current",
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """Tasks of several classes and tasks of one class in turn, the first a hard one (5+1).

    Labels are those of the source: one head of all its classes, none of which is masked, so that an easy task is
    learned when every answer is its class. Each task has classes of its own, drawn without replacement; a new
    shuffle begins when too few are left for the next task. Kumar et al. train 625 steps of 16 on each task, easy
    or hard: `rows_per_task=10000` and one epoch, in which examples come again where there are fewer.

    Args:
        source: the data, with as many classes as a task needs.
        tasks: number of tasks, 1 or more.
        hard_classes: classes of the tasks 1, 3, 5 and so on.
        easy_classes: classes of the tasks 2, 4, 6 and so on.
        rows_per_task: examples of one epoch of each task. Where its classes have fewer, each comes as often as any
            other (give or take one); where they have more, they are drawn anew. None: each once.
        tests: what each chunk is judged on: "current": the test examples of its classes; "seen": also those of all
            tasks before; "all": of every task of the stream, the current one first.
        validation: share that is set aside for choosing, in [0, 1), of each class once for all tasks; not part of
            `rows_per_task`.
        seed: what classes and rows are drawn from.

    Returns:
        A stream of `tasks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or there are not as many classes.

    Reference:
        Kumar et al., "Maintaining Plasticity in Continual Learning via Regenerative Regularization", CoLLAs 2024,
        arXiv 2308.11958: 5+1 CIFAR, 30 tasks of CIFAR-100.

    Example:
        >>> from hare_tortoise.streams import easy_hard, load_source
        >>> stream = easy_hard(load_source("digits"), tasks=4, hard_classes=4, rows_per_task=300)
        >>> [(chunk.name, len(chunk.train)) for chunk in stream][:2]
        [('task 1, hard', 300), ('task 2, easy', 300)]
    """
    need_classes(source, "easy-hard")
    return EasyHard(
        source,
        name="easy-hard",
        hard_classes=hard_classes,
        easy_classes=easy_classes,
        tasks=tasks,
        rows_per_task=rows_per_task,
        tests=tests,
        validation=validation,
        seed=seed,
    )
