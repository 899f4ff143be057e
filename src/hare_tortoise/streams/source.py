"""A source: one data set, split in what may be trained on and what is judged on."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType

import torch
from torch import Tensor

from .examples import Examples, Prepare, TensorExamples
from .seeding import derived_generator
from .stream import Task


@dataclass(frozen=True, eq=False)
class Source:
    """One data set in memory, from which a scenario makes a stream.

    Args:
        name: what to call it.
        train_inputs: (N, …), uint8 or float.
        train_targets: (N,) int64 in [0, outputs) for classes; (N, outputs) float32 for numbers.
        test_inputs: (M, …), alike.
        test_targets: (M, …), alike.
        outputs: number of classes, or of numbers to predict.
        input_shape: the shape of one prepared input.
        task: "classification" or "regression".
        prepare: applied to each batch, of train and of test alike. None: nothing.
        train_times: (N,) int64, when each training example came, to be compared with each other alone. None: not known.

    Raises:
        ValueError: the parts do not fit together, or a label lies outside [0, outputs).

    Example:
        >>> x, y = torch.rand(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> Source("mine", x[:4], y[:4], x[4:], y[4:], outputs=3, input_shape=(2,)).task
        'classification'
    """

    name: str
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    outputs: int
    input_shape: tuple[int, ...]
    task: Task = "classification"
    prepare: Prepare | None = None
    train_times: Tensor | None = None

    def __post_init__(self) -> None:
        for split, inputs, targets in self._splits():
            if len(inputs) == 0 or len(inputs) != len(targets):
                raise ValueError(
                    f"{self.name}: {split} has {len(inputs)} inputs and {len(targets)} targets: "
                    "give as many of each, at least one"
                )
            if tuple(inputs.shape[1:]) != tuple(self.train_inputs.shape[1:]):
                raise ValueError(
                    f"{self.name}: {split} inputs have the shape {tuple(inputs.shape[1:])}, those of train "
                    f"{tuple(self.train_inputs.shape[1:])}: make them alike"
                )
            self._check_targets(split, targets)
        self._check_times()

    def _check_targets(self, split: str, targets: Tensor) -> None:
        if self.task == "classification":
            if targets.dtype != torch.int64:
                raise ValueError(f"{self.name}: {split} labels are {targets.dtype}: give int64")
            low, high = int(targets.min()), int(targets.max())
            if targets.ndim != 1 or low < 0 or high >= self.outputs:
                raise ValueError(
                    f"{self.name}: {split} labels of shape {tuple(targets.shape)} run from {low} to "
                    f"{high}: give one per example, between 0 and {self.outputs - 1}"
                )

    def _check_times(self) -> None:
        times = self.train_times
        if times is not None and (times.dtype != torch.int64 or times.shape != (len(self.train_targets),)):
            raise ValueError(
                f"{self.name}: train_times are {times.dtype} of shape {tuple(times.shape)}: give int64, one for each "
                f"of the {len(self.train_targets)} training examples"
            )

    def _splits(self) -> tuple[tuple[str, Tensor, Tensor], ...]:
        return (
            ("train", self.train_inputs, self.train_targets),
            ("test", self.test_inputs, self.test_targets),
        )

    @cached_property
    def digest(self) -> str:
        """sha256 over all arrays, their shapes and dtypes and how they are prepared, in hexadecimal."""
        value = hashlib.sha256(f"{self.task} {self.outputs} {name_of(self.prepare)}".encode())
        for _, inputs, targets in self._splits():
            for tensor in (inputs, targets):
                value.update(f" {tensor.dtype} {tuple(tensor.shape)} ".encode())
                value.update(tensor.cpu().contiguous().numpy().data)
        if self.train_times is not None:
            value.update(self.train_times.cpu().numpy().data)
        return value.hexdigest()

    def part(self, rows: Tensor, targets: Tensor) -> Examples:
        """Some of the training examples, with targets of their own.

        Args:
            rows: (N,) int64, of the training set.
            targets: (N,) or (N, …), one for each row.
        """
        return TensorExamples(self.train_inputs, targets, rows=rows, prepare=self.prepare)

    def test_part(self, rows: Tensor, targets: Tensor) -> Examples:
        """Some of the test examples, with targets of their own.

        Args:
            rows: (M,) int64, of the test set.
            targets: (M,) or (M, …), one for each row.
        """
        return TensorExamples(self.test_inputs, targets, rows=rows, prepare=self.prepare)

    def take(self, rows: int | None = None, test_rows: int | None = None) -> Source:
        """The same source with fewer examples, drawn once and for all, whatever the seed of a trial is.

        Args:
            rows: how many to train on. None: all.
            test_rows: how many to judge on. None: all.

        Raises:
            ValueError: there are not as many.
        """
        smaller = copy(self)
        for (split, inputs, targets), count in zip(self._splits(), (rows, test_rows), strict=True):
            if count is None:
                continue
            chosen = taken(self.name, split, count, len(inputs))
            if split == "train" and self.train_times is not None:
                object.__setattr__(smaller, "train_times", self.train_times[chosen])
            chosen = chosen.to(inputs.device)
            object.__setattr__(smaller, f"{split}_inputs", inputs[chosen])
            object.__setattr__(smaller, f"{split}_targets", targets[chosen])
        smaller.__dict__.pop("digest", None)
        return smaller

    @property
    def test(self) -> Examples:
        """The test set as examples."""
        return TensorExamples(self.test_inputs, self.test_targets, prepare=self.prepare)

    def to(self, device: torch.device | str) -> Source:
        """The same source with its tensors on `device`; itself if they are there already."""
        moved = {
            f"{split}_{kind}": tensor.to(device)
            for split, inputs, targets in self._splits()
            for kind, tensor in (("inputs", inputs), ("targets", targets))
        }
        same = all(moved[name] is getattr(self, name) for name in moved)
        if same:
            return self
        source = copy(self)
        for name, tensor in moved.items():
            object.__setattr__(source, name, tensor)
        return source


def taken(name: str, split: str, count: int, total: int) -> Tensor:
    """(count,) int64: which of `total` examples `take` draws, the same for every source of this size.

    Raises:
        ValueError: `count` is not a whole number from 1 to `total`.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= total:
        setting = "rows" if split == "train" else "test_rows"
        raise ValueError(f"{setting} is {count!r}: give a whole number from 1 to the {total} of {name}")
    return torch.randperm(total, generator=derived_generator(0, "take", split))[:count]


def name_of(prepare: Prepare | None) -> str:
    """What stands for a function in a digest: its repr, without the address that is another one in each process."""
    if isinstance(prepare, FunctionType):
        return repr(f"{prepare.__module__}.{prepare.__qualname__}")
    return repr(prepare)
