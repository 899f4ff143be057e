"""A source whose inputs are read when they are asked for."""

from __future__ import annotations

import hashlib
from copy import copy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .examples import Examples, Prepare
from .loader import LoaderExamples
from .source import Source, name_of, taken


class LoaderSource(Source):
    """One data set that need not fit in memory: train and test are rows of a `Dataset`, read by a `DataLoader`.

    Scenarios that choose rows work over it as over any source; one that changes the inputs themselves needs them in
    memory and says so.

    Args:
        name: what to call it.
        dataset: has `__len__` and `__getitem__`, which gives pairs (input, label). The training examples come first.
        train_targets: (N,) int64 in [0, outputs), of the first N rows.
        test_targets: (M,) int64 likewise, of the M rows after them.
        outputs: number of classes.
        input_shape: the shape of one prepared input.
        content: what stands for the inputs in the digest, as they are not all read for it; for instance the names and
            sizes of their files, hashed.
        prepare: applied to each batch on its device. None: nothing.
        train_times: (N,) int64, when each training example came. None: not known.
        workers: processes that read, 0 or more; one set of them for all examples of the source.

    Raises:
        ValueError: the parts do not fit together, or a label lies outside [0, outputs).

    Example:
        >>> dataset = torch.utils.data.TensorDataset(torch.arange(5.0), torch.tensor([0, 1, 0, 0, 1]))
        >>> labels = dataset.tensors[1]
        >>> source = LoaderSource(
        ...     "mine", dataset, labels[:3], labels[3:], outputs=2, input_shape=(), content="v1", workers=0
        ... )
        >>> [x.tolist() for x, _ in source.test.batches(2)]
        [[3.0, 4.0]]
    """

    content: str
    examples: LoaderExamples
    train_rows: Tensor
    test_rows: Tensor

    def __init__(
        self,
        name: str,
        dataset: Dataset[Any],
        train_targets: Tensor,
        test_targets: Tensor,
        *,
        outputs: int,
        input_shape: tuple[int, ...],
        content: str,
        prepare: Prepare | None = None,
        train_times: Tensor | None = None,
        workers: int = 2,
    ) -> None:
        count, total = len(train_targets), len(dataset)  # type: ignore[arg-type]
        if count + len(test_targets) != total:
            raise ValueError(
                f"{name}: there are {count} + {len(test_targets)} targets for the {total} rows of the data set: give "
                "one for each, those of train first"
            )
        parts = {
            "name": name,
            "train_targets": train_targets.cpu(),
            "test_targets": test_targets.cpu(),
            "outputs": outputs,
            "input_shape": input_shape,
            "task": "classification",
            "prepare": prepare,
            "train_times": train_times,
            "content": content,
            "examples": LoaderExamples(dataset, prepare=prepare, workers=workers),
            "train_rows": torch.arange(count),
            "test_rows": torch.arange(count, total),
        }
        for attribute, value in parts.items():
            object.__setattr__(self, attribute, value)
        for split, targets in (("train", self.train_targets), ("test", self.test_targets)):
            if len(targets) == 0:
                raise ValueError(f"{name}: {split} has no examples: give at least one")
            self._check_targets(split, targets)
        self._check_times()

    def __repr__(self) -> str:
        counts = f"{len(self.train_targets)} to train on, {len(self.test_targets)} to test on"
        return f"LoaderSource({self.name!r}, {counts}, not in memory)"

    @property
    def train_inputs(self) -> Tensor:
        """There are none.

        Raises:
            ValueError: always.
        """
        raise self._not_in_memory()

    @property
    def test_inputs(self) -> Tensor:
        """There are none.

        Raises:
            ValueError: always.
        """
        raise self._not_in_memory()

    def _not_in_memory(self) -> ValueError:
        return ValueError(
            f"{self.name} is read from files as it is needed, and this needs all its inputs in memory: give the "
            "source in_memory=True, fewer or smaller images, or take a scenario that only chooses rows"
        )

    @cached_property
    def digest(self) -> str:
        """sha256 over `content`, the rows and labels, the times and how inputs are prepared, in hexadecimal."""
        value = hashlib.sha256(f"{self.content} {self.outputs} {name_of(self.prepare)}".encode())
        times = [] if self.train_times is None else [self.train_times]
        for tensor in (self.train_rows, self.train_targets, self.test_rows, self.test_targets, *times):
            value.update(f" {tuple(tensor.shape)} ".encode())
            value.update(tensor.numpy().tobytes())
        return value.hexdigest()

    def part(self, rows: Tensor, targets: Tensor) -> Examples:
        """Some of the training examples, with targets of their own; read when they are asked for."""
        return self.examples.part(self.train_rows[rows.cpu()], targets)

    def test_part(self, rows: Tensor, targets: Tensor) -> Examples:
        """Some of the test examples, likewise."""
        return self.examples.part(self.test_rows[rows.cpu()], targets)

    @property
    def test(self) -> LoaderExamples:
        """The test set as examples."""
        return self.examples.part(self.test_rows, self.test_targets)

    def take(self, rows: int | None = None, test_rows: int | None = None) -> LoaderSource:
        """The same source with fewer examples: those that a source in memory would take."""
        smaller = copy(self)
        for split, count in (("train", rows), ("test", test_rows)):
            if count is not None:
                of_split = [each for each in _FOR_EACH if each.startswith(split)]
                chosen = taken(self.name, split, count, len(getattr(self, f"{split}_targets")))
                for attribute in of_split:
                    whole: Tensor | None = getattr(self, attribute)
                    object.__setattr__(smaller, attribute, None if whole is None else whole[chosen])
        smaller.__dict__.pop("digest", None)
        return smaller

    def to(self, device: torch.device | str) -> LoaderSource:
        """The same source, whose examples are handed out on `device`; labels stay where they are."""
        moved = copy(self)
        object.__setattr__(moved, "examples", self.examples.to(device))
        return moved


_FOR_EACH = ("train_rows", "train_targets", "train_times", "test_rows", "test_targets")
