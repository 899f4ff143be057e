"""A sequence of tasks: what the scenarios with tasks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Literal, Self

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Examples, Prepare
from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream
from hare_tortoise.streams.transformed import TransformedExamples

Tests = Literal["current", "seen", "all"]


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}")


class Tasks(Stream):
    """A stream of tasks made of one source, one task a chunk; nothing of an earlier task is there in a later one.

    What a task is, subclasses say: `_classes` which classes it has, `_labels` how they are numbered in it,
    `_transform` what becomes of its inputs. Each task draws `rows_per_task` examples anew. With `validation`, this
    share of each class (rounded, at least one) is set aside for the whole stream, and a task takes this share of
    its examples from there: an example is never trained on in one task and chosen on in another.

    Args:
        source: the data.
        name: what to call the stream.
        tasks: how many, 1 or more.
        rows_per_task: examples of a task, those for validation included. None: all there are.
        tests: "current": the test set of the task, named "test"; "seen": of this task and of all before; "all": of
            all tasks of the stream; these are named "task 1", "task 2" and so on, the current one first.
        validation: the share that is set aside, in [0, 1).
        seed: what everything is drawn from.

    Raises:
        ValueError: something lies outside its range, or there are not as many examples.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        tasks: int,
        rows_per_task: int | None = None,
        tests: Tests = "current",
        validation: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_whole("tasks", tasks)
        if rows_per_task is not None:
            check_whole("rows_per_task", rows_per_task, 2 if validation else 1)
        if tests not in ("current", "seen", "all"):
            raise ValueError(f"tests is {tests!r}: give 'current', 'seen' or 'all'")
        if not is_number(validation) or not 0 <= validation < 1:
            raise ValueError(
                f"validation is {validation!r}: give the share to set aside, at least 0, below 1"
            )
        # a source whose rows cannot be chosen, such as a table, says so
        source.part(torch.zeros(0, dtype=torch.int64), source.train_targets[:0])
        self.source = source
        self.name = name
        self.task = source.task
        self.input_shape = source.input_shape
        self.outputs = source.outputs
        self.tasks, self.rows_per_task, self.tests = tasks, rows_per_task, tests
        self.validation, self.seed = validation, seed
        self._kept, self._aside = self._set_aside()
        self._tested = _by_class(source, source.test_targets, torch.arange(len(source.test_targets)))
        self._test_sets: dict[int, Examples] = {}

    def __len__(self) -> int:
        return self.tasks

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        train, aside = self._rows(index)
        return Chunk(
            index=index,
            name=f"task {index + 1}",
            train=self._part(index, train),
            validation=self._part(index, aside) if self.validation else None,
            tests=self._tests(index),
            outputs=self.outputs,
        )

    def _classes(self, index: int) -> Tensor | None:
        """(k,) int64: the classes of a task. None: all, or there are none."""
        return None

    def _labels(self, index: int) -> Tensor | None:
        """(classes of the source,) int64: how each class is numbered in a task. None: as in the source."""
        return None

    def _transform(self, index: int) -> Prepare | None:
        """What becomes of the prepared inputs of a task. None: nothing."""
        return None

    def _set_aside(self) -> tuple[list[Tensor], list[Tensor]]:
        """The rows of each class that may be trained on, and those that are for validation, in random order."""
        count = len(self.source.train_targets)
        order = torch.randperm(count, generator=derived_generator(self.seed, "order"))
        kept, aside = [], []
        for rows in _by_class(self.source, self.source.train_targets, order):
            share = max(1, round(self.validation * len(rows))) if self.validation else 0
            left = max(len(rows) - share, min(1, len(rows)))
            kept.append(rows[:left])
            aside.append(rows[left:])
        return kept, aside

    def _rows(self, index: int) -> tuple[Tensor, Tensor]:
        """(n,) and (m,) int64: the rows that a task trains on, and those it is chosen on."""
        kept, aside = self._of_task(index)
        if self.rows_per_task is None:
            return kept, aside
        if self.rows_per_task > len(kept) + len(aside):
            raise ValueError(
                f"rows_per_task is {self.rows_per_task}, but task {index + 1} of {self.name} over {self.source.name} "
                f"has {len(kept) + len(aside)} examples: ask for fewer"
            )
        # the share is rounded for each class there and for the task here: a few examples may be missing
        count = min(max(1, round(self.validation * self.rows_per_task)), len(aside)) if self.validation else 0
        wanted = min(self.rows_per_task - count, len(kept))
        return self._drawn(kept, wanted, "rows", index), self._drawn(aside, count, "validation rows", index)

    def _of_task(self, index: int) -> tuple[Tensor, Tensor]:
        """All rows of the classes of a task: those to train on, and those set aside."""
        classes = self._classes(index)
        kept = rows_of(self._kept, classes)
        self._need(kept, "example to train on", index)
        return kept, rows_of(self._aside, classes)

    def _need(self, rows: Tensor, what: str, index: int) -> None:
        if not len(rows):
            classes = self._classes(index)
            raise ValueError(
                f"task {index + 1} of {self.name} has the classes {None if classes is None else classes.tolist()}, of "
                f"which {self.source.name} has no {what}: take more of its rows"
            )

    def _drawn(self, rows: Tensor, count: int, purpose: str, index: int) -> Tensor:
        """(count,) of these rows, without replacement."""
        return rows[torch.randperm(len(rows), generator=derived_generator(self.seed, purpose, index))[:count]]

    def _part(self, index: int, rows: Tensor) -> Examples:
        """These training examples as they are in a task."""
        rows = rows.to(self.source.train_targets.device)
        targets = self._numbered(index, self.source.train_targets.index_select(0, rows))
        return self._transformed(index, self.source.part(rows, targets))

    def _test(self, index: int) -> Examples:
        """The test set of a task."""
        classes, labels = self._classes(index), self._labels(index)
        if classes is None and labels is None:
            examples: Examples = self.source.test
        else:
            rows = rows_of(self._tested, classes).sort().values.to(self.source.test_targets.device)
            self._need(rows, "test example", index)
            targets = self._numbered(index, self.source.test_targets.index_select(0, rows))
            examples = self.source.test_part(rows, targets)
        return self._transformed(index, examples)

    def _kept_test(self, index: int) -> Examples:
        """The test set of a task, made once, as other chunks are judged on it too."""
        if index not in self._test_sets:
            self._test_sets[index] = self._test(index)
        return self._test_sets[index]

    def _tests(self, index: int) -> dict[str, Examples]:
        if self.tests == "current":
            return {"test": self._test(index)}
        others = range(index if self.tests == "seen" else self.tasks)
        order = [index, *(task for task in others if task != index)]
        return {f"task {task + 1}": self._kept_test(task) for task in order}

    def _numbered(self, index: int, targets: Tensor) -> Tensor:
        labels = self._labels(index)
        return targets if labels is None else labels.to(targets.device)[targets]

    def _transformed(self, index: int, examples: Examples) -> Examples:
        transform = self._transform(index)
        return examples if transform is None else TransformedExamples(examples, transform)

    def to(self, device: torch.device | str) -> Self:
        """The same stream with its data on `device`, put there once and shared by all chunks."""
        moved = copy(self)
        moved.source = self.source.to(device)
        moved._test_sets = {}
        return moved


def _by_class(source: Source, targets: Tensor, order: Tensor) -> list[Tensor]:
    """For each class the rows that have it, in the order given; one list of all where there are no classes."""
    if source.task == "regression":
        return [order]
    in_order = targets.cpu()[order]
    counts = torch.bincount(in_order, minlength=source.outputs).tolist()
    return list(torch.split(order[in_order.argsort(stable=True)], counts))


def rows_of(rows: Sequence[Tensor], classes: Tensor | None) -> Tensor:
    """The rows of some classes, or of all."""
    return torch.cat([rows[each] for each in classes.tolist()] if classes is not None else list(rows))


def in_rounds(classes: int, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Classes for each task, drawn without replacement; a new round begins when too few are left for the task.

    Args:
        classes: how many there are.
        sizes: for each task how many it needs, at most all.
        seed: what the order of each round is drawn from.

    Returns:
        For each task (size,) int64.

    Example:
        >>> [len(each) for each in in_rounds(5, [2, 2, 2], seed=0)]
        [2, 2, 2]
    """
    taken, place, rounds = [], classes, 0
    for size in sizes:
        if place + size > classes:
            order = torch.randperm(classes, generator=derived_generator(seed, "classes", rounds))
            place, rounds = 0, rounds + 1
        taken.append(order[place : place + size])
        place += size
    return taken


def need_classes(source: Source, scenario: str, least: int = 2) -> None:
    """Refuse a source without as many classes."""
    if source.task != "classification" or source.outputs < least:
        has = "numbers to predict" if source.task == "regression" else f"{source.outputs} classes"
        raise ValueError(
            f"{scenario} needs {least} classes at least, but {source.name} has {has}: take another source"
        )
