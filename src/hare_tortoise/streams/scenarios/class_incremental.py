"""Classes that arrive in groups."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Examples
from hare_tortoise.streams.scenarios.tasks import Tasks, check_whole, need_classes, rows_of
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream

Access = Literal["all", "current"]
Head = Literal["growing", "task"]


class ClassIncremental(Tasks):
    """The increments of `class_incremental`.

    Args:
        source: the data.
        ends: for each increment how many classes have come by then; rising, the last is all.
        access: "all" or "current".
        memory: how many examples of earlier classes are kept where access is "current".
        head: "growing" or "task".
        settings: of `Tasks`.
    """

    def __init__(
        self, source: Source, *, ends: list[int], access: Access, memory: int, head: Head, **settings: Any
    ) -> None:
        super().__init__(source, tasks=len(ends), **settings)
        _check(access, memory, head)
        self.access, self.memory, self.head = access, memory, head
        self._ends = [0, *ends]
        self._arrival = torch.randperm(source.outputs, generator=derived_generator(self.seed, "classes"))
        self._numbers = self._arrival.argsort()

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        task = self.head == "task"
        seen = self._ends[index + 1]
        everything = rows_of(self._kept, self._arrival[:seen])
        new = self._of_task(index)[0]
        train = everything if self.access == "all" else torch.cat([new, self._remembered(index)])
        aside = rows_of(self._aside, self._classes(index) if task else self._arrival[:seen])
        return Chunk(
            index=index,
            name=f"{seen} classes",
            train=self._part(index, train),
            everything=self._part(index, everything) if self.access == "current" and not task else None,
            validation=self._part(index, aside) if self.validation else None,
            tests=self._tests(index),
            outputs=seen,
            active=self._mask(index) if task else None,
            test_active={f"increment {k + 1}": self._mask(k) for k in range(index + 1)} if task else {},
        )

    def _classes(self, index: int) -> Tensor:
        return self._arrival[self._ends[index] : self._ends[index + 1]]

    def _labels(self, index: int) -> Tensor:
        return self._numbers

    def _mask(self, index: int) -> Tensor:
        """(outputs,) bool: the outputs of the classes of an increment."""
        mask = torch.zeros(self.outputs, dtype=torch.bool)
        mask[self._ends[index] : self._ends[index + 1]] = True
        return mask.to(self.source.train_targets.device)

    def _remembered(self, index: int) -> Tensor:
        """As many rows of each earlier class as there is room for: a first one of each, then a second of each."""
        old = self._arrival[: self._ends[index]].tolist()
        turns = torch.cat([torch.arange(len(self._kept[each])) for each in old] + [torch.arange(0)])
        # a stable order: among classes, those that came first have the place that is left
        chosen = turns.argsort(stable=True)[: self.memory]
        return rows_of(self._kept, self._arrival[: self._ends[index]])[chosen] if old else chosen

    def _tests(self, index: int) -> dict[str, Examples]:
        each = {f"increment {k + 1}": self._kept_test(k) for k in range(index + 1)}
        if self.head == "task":
            current = f"increment {index + 1}"
            return {current: each[current]} | each
        return {"seen": self._test_of_seen(index)} | each

    def _test_of_seen(self, index: int) -> Examples:
        rows = rows_of(self._tested, self._arrival[: self._ends[index + 1]]).sort().values
        rows = rows.to(self.source.test_targets.device)
        return self.source.test_part(
            rows, self._numbered(index, self.source.test_targets.index_select(0, rows))
        )


def _check(access: str, memory: object, head: str) -> None:
    if access not in ("all", "current"):
        raise ValueError(f"access is {access!r}: give 'all' or 'current'")
    if head not in ("growing", "task"):
        raise ValueError(f"head is {head!r}: give 'growing' or 'task'")
    check_whole("memory", memory, 0)
    if memory and access == "all":
        raise ValueError(
            f"memory is {memory}, but with access 'all' everything is kept: give access='current'"
        )
    if head == "task" and (access == "all" or memory):
        raise ValueError(
            f"head is 'task', which answers for the classes of one increment alone, with access {access!r} and memory "
            f"{memory}: give access='current' and memory=0"
        )


def _ends(classes: int, increments: int | None, classes_per_chunk: int | None) -> list[int]:
    """How many classes have come at the end of each increment."""
    if classes_per_chunk is not None:
        if increments is not None:
            raise ValueError(
                f"increments is {increments} and classes_per_chunk is {classes_per_chunk}: give one of them"
            )
        check_whole("classes_per_chunk", classes_per_chunk)
        return [*range(classes_per_chunk, classes, classes_per_chunk), classes]
    count = 5 if increments is None else increments
    check_whole("increments", count)
    if count > classes:
        raise ValueError(
            f"increments is {count}, but there are {classes} classes: ask for no more than these"
        )
    return [round(classes * (index + 1) / count) for index in range(count)]


def class_incremental(
    source: Source,
    *,
    increments: int | None = None,
    classes_per_chunk: int | None = None,
    access: Access = "all",
    memory: int = 0,
    head: Head = "growing",
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """Classes arrive in groups, in an order drawn from the seed; each chunk brings all examples of new classes.

    Classes are numbered in their order of arrival, so that the outputs in use are the first ones.

    With a "growing" head a chunk has as many outputs as classes have come, `chunk.outputs`; the head of the network
    has them all from the start, and those of classes to come are masked. The first test set, "seen", is of all classes
    so far; then comes each increment's own, answered among all classes so far. With one head per "task" the outputs of
    the current increment are trained (`chunk.active`), and each increment's test set, the current one first, is
    answered among its own classes (`chunk.test_active`).

    Args:
        source: the data, with two classes at least.
        increments: number of groups, as equal as can be. None, and no `classes_per_chunk`: 5.
        classes_per_chunk: number of classes in a group instead; the last group may be smaller.
        access: "all": earlier examples are kept (Dohare et al.); "current": new ones and what is remembered;
            then `chunk.everything` is what came, for retraining from scratch (with a head per task: None).
        memory: how many examples of earlier classes are remembered, as many of each, 0 or more.
        head: "growing" or "task"; the latter with access "current" and no memory, since a chunk trains one task.
        validation: share that is set aside for choosing, in [0, 1), of each class once for all; in a chunk, those
            of all classes so far, or of its own with a head per task.
        seed: what the order of classes and the memory are drawn from.

    Returns:
        A stream of as many chunks as groups.

    Raises:
        ValueError: an argument lies outside its range, or two do not go together.

    Reference:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024: CIFAR-100, 5 classes at a
        time, old ones kept: `classes_per_chunk=5`.

    Example:
        >>> from hare_tortoise.streams import class_incremental, load_source
        >>> stream = class_incremental(load_source("digits"), classes_per_chunk=4)
        >>> [(chunk.name, chunk.outputs, len(chunk.tests)) for chunk in stream]
        [('4 classes', 4, 2), ('8 classes', 8, 3), ('10 classes', 10, 4)]
    """
    need_classes(source, "class-incremental")
    return ClassIncremental(
        source,
        name="class-incremental",
        ends=_ends(source.outputs, increments, classes_per_chunk),
        access=access,
        memory=memory,
        head=head,
        validation=validation,
        seed=seed,
    )
