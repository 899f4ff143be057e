"""The same inputs under ever new labels: shuffled among the classes, or at random."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from hare_tortoise.streams.scenarios.tasks import Tasks, check_whole, need_classes
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream

RandomKind = Literal["uniform", "shuffled"]


class ShuffledLabels(Tasks):
    """The tasks of `shuffled_labels`; settings are those of `Tasks`."""

    def _labels(self, index: int) -> Tensor:
        return torch.randperm(self.outputs, generator=derived_generator(self.seed, "labels", index))


def shuffled_labels(
    source: Source,
    *,
    tasks: int = 10,
    rows_per_task: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """The same classification again and again, each time with the classes renamed.

    In task i class c has the label `p_i[c]`, of train, validation and test alike; `p_i` is a permutation of the
    classes that is drawn anew for each task, the first included. (The code of UPGD renames what was renamed
    before; as permutations are drawn uniformly, that is the same in distribution.)

    Args:
        source: the data, with two classes at least.
        tasks: number of tasks, 1 or more.
        rows_per_task: examples of each task, drawn anew for each. None: all.
        validation: share that is set aside for choosing, in [0, 1), once for all tasks.
        seed: what rows and permutations are drawn from.

    Returns:
        A stream of `tasks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or there are not as many examples or classes.

    Reference:
        Elsayed & Mahmood, "Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning", ICLR
        2024, arXiv 2404.00781: label-permuted EMNIST, 2,500 examples a task.

    Example:
        >>> from hare_tortoise.streams import load_source, shuffled_labels
        >>> stream = shuffled_labels(load_source("digits"), tasks=3, rows_per_task=200)
        >>> [len(chunk.train) for chunk in stream]
        [200, 200, 200]
    """
    need_classes(source, "shuffled-labels")
    return ShuffledLabels(
        source,
        name="shuffled-labels",
        tasks=tasks,
        rows_per_task=rows_per_task,
        validation=validation,
        seed=seed,
    )


class RandomLabels(Tasks):
    """The tasks of `random_labels`.

    Args:
        source: the data.
        rows: how many examples.
        labels: "uniform" or "shuffled".
        settings: of `Tasks`.

    Raises:
        ValueError: `rows` or `labels` lies outside its range.
    """

    def __init__(self, source: Source, *, rows: int, labels: RandomKind, **settings: Any) -> None:
        super().__init__(source, **settings)
        check_whole("rows", rows)
        count = len(source.train_targets)
        if rows > count:
            raise ValueError(f"rows is {rows}, but {source.name} has {count} examples: ask for fewer")
        if labels not in ("uniform", "shuffled"):
            raise ValueError(f"labels is {labels!r}: give 'uniform' or 'shuffled'")
        self.rows, self.labels = rows, labels

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        count, source = len(self.source.train_targets), self.source
        rows = torch.randperm(count, generator=derived_generator(self.seed, "rows"))[: self.rows]
        rows = rows.to(source.train_targets.device)
        generator = derived_generator(self.seed, "labels", index)
        if self.labels == "uniform":
            targets = torch.randint(self.outputs, (self.rows,), generator=generator).to(rows.device)
        else:
            order = torch.randperm(self.rows, generator=generator).to(rows.device)
            targets = source.train_targets.index_select(0, rows[order])
        train = source.part(rows, targets)
        return Chunk(
            index=index,
            name=f"task {index + 1}",
            train=train,
            validation=None,
            tests={"train": train},
            outputs=self.outputs,
        )


def random_labels(
    source: Source,
    *,
    tasks: int = 50,
    rows: int = 1200,
    labels: RandomKind = "uniform",
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """The same few examples again and again, each time with labels that have nothing to do with them.

    Nothing can be predicted here, only memorised: **what is judged is the training set itself**, so the one test
    set is named "train" and holds the examples and labels of the chunk. What is measured is trainability alone.

    Args:
        source: the data, with two classes at least.
        tasks: number of tasks, 1 or more.
        rows: examples, drawn once for all tasks.
        labels: "uniform": each label is drawn uniformly from the classes; "shuffled": the true labels are dealt out
            anew among the examples, so that each class keeps its number, as in the code of Kumar et al.
        validation: must be 0, as labels of examples that were not trained on cannot be predicted.
        seed: what examples and labels are drawn from.

    Returns:
        A stream of `tasks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or there are not as many examples or classes.

    Reference:
        Lyle et al., "Understanding Plasticity in Neural Networks", ICML 2023, arXiv 2303.01486; Kumar et al.,
        "Maintaining Plasticity in Continual Learning via Regenerative Regularization", CoLLAs 2024, arXiv 2308.11958:
        1,200 images, 50 tasks.

    Example:
        >>> from hare_tortoise.streams import load_source, random_labels
        >>> stream = random_labels(load_source("digits"), tasks=2, rows=100)
        >>> [(len(chunk.train), list(chunk.tests)) for chunk in stream]
        [(100, ['train']), (100, ['train'])]
    """
    need_classes(source, "random-labels")
    if validation:
        raise ValueError(
            f"validation is {validation!r}, but random labels of examples not trained on cannot be predicted: set it "
            "to 0"
        )
    return RandomLabels(source, name="random-labels", tasks=tasks, rows=rows, labels=labels, seed=seed)
