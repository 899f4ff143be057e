"""A table: rows that came one after the other, kept as they are until it is known what came before them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn, Self

import torch
from torch import Tensor

from .examples import Augment, Batch, Examples, TensorExamples
from .stream import Task


@dataclass(frozen=True, eq=False)
class Table:
    """A data set whose rows stand in the order of time; a scenario encodes them by what came before.

    What is known beforehand is the schema: which columns there are, of which kind, how wide each becomes, and the
    classes. Nothing else of the future is in what a scenario makes of the past.

    Args:
        name: what to call it.
        columns: names of the numeric columns, then of the categorical ones.
        numeric: (N, n) float64; NaN where a value is missing, otherwise finite.
        categorical: (N, c) int64: the categories of each column, numbered as they first come; −1 where one is missing.
        slots: for each categorical column how many categories have an input of their own; later ones share one.
        train_targets: (N,) int64 in [0, outputs) for classes; (N, 1) float64 for numbers.
        outputs: number of classes; 1 for numbers.
        labels: the classes as they were written, in the order of their numbers. Empty for numbers.
        task: "classification" or "regression".
        missing: whether each numeric column gets an input beside it that is 1 where the value is missing.

    Raises:
        ValueError: the parts do not fit together.

    Example:
        >>> prices = torch.tensor([[3.0], [5.0], [float("nan")]], dtype=torch.float64)
        >>> none = torch.zeros(3, 0, dtype=torch.int64)
        >>> table = Table("mine", ("price",), prices, none, (), torch.tensor([0, 1, 0]), 2, ("down", "up"))
        >>> len(table), table.input_shape
        (3, (1,))
    """

    name: str
    columns: tuple[str, ...]
    numeric: Tensor
    categorical: Tensor
    slots: tuple[int, ...]
    train_targets: Tensor
    outputs: int
    labels: tuple[str, ...] = ()
    task: Task = "classification"
    missing: bool = False

    def __post_init__(self) -> None:
        count, kinds = len(self.train_targets), (self.numeric, self.categorical)
        widths = tuple(each.shape[1] for each in kinds)
        if {len(each) for each in kinds} != {count} or count == 0:
            raise ValueError(f"{self.name}: its parts have not the same number of rows, or none")
        if sum(widths) != len(self.columns) or sum(widths) == 0 or widths[1] != len(self.slots):
            raise ValueError(
                f"{self.name}: {len(self.columns)} names and {len(self.slots)} slots for {widths[0]} numeric and "
                f"{widths[1]} categorical columns: give a name to each, slots to each categorical one, one at least"
            )
        if (self.numeric.dtype, self.categorical.dtype) != (torch.float64, torch.int64):
            raise ValueError(f"{self.name}: give numeric columns as float64, categorical ones as int64")
        if bool(self.numeric.isinf().any()):
            raise ValueError(f"{self.name}: numbers must be finite, or NaN where they are missing")
        if not all(isinstance(slots, int) and slots >= 1 for slots in self.slots):
            raise ValueError(f"{self.name}: slots are {self.slots}: give whole numbers of at least 1")
        for codes in self.categorical.T:
            known = torch.cat([codes.new_tensor([-1]), codes]).cummax(0).values
            if int(codes.min()) < -1 or int((known[1:] - known[:-1]).max()) > 1:
                raise ValueError(f"{self.name}: number categories as they first come, from 0; see first_come")

    def __len__(self) -> int:
        return len(self.train_targets)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(D,): numbers, where they are missing (if asked for), slots and one more for each categorical column."""
        return (self.numeric.shape[1] * (1 + self.missing) + sum(self.slots) + len(self.slots),)

    @cached_property
    def digest(self) -> str:
        """sha256 over schema and content, in hexadecimal."""
        schema = (self.columns, self.slots, self.outputs, self.labels, self.task, self.missing)
        value = hashlib.sha256(repr(schema).encode())
        for tensor in (self.numeric, self.categorical, self.train_targets):
            value.update(f" {tensor.dtype} {tuple(tensor.shape)} ".encode())
            value.update(tensor.contiguous().numpy().data)
        return value.hexdigest()

    def take(self, rows: int | None = None, test_rows: int | None = None) -> Table:
        """The first rows alone.

        Args:
            rows: how many. None: all.
            test_rows: None, as the rows that come next are what a table is judged on.

        Raises:
            ValueError: there are not as many, or `test_rows` is given.
        """
        if test_rows is not None:
            raise ValueError(
                f"test_rows is {test_rows!r}, but {self.name} is judged on the rows that come next: leave it out"
            )
        if rows is None:
            return self
        if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= len(self):
            raise ValueError(
                f"rows is {rows!r}: give a whole number from 1 to the {len(self)} of {self.name}"
            )
        first = slice(0, rows)
        return replace(
            self,
            numeric=self.numeric[first],
            categorical=self.categorical[first],
            train_targets=self.train_targets[first],
        )

    def to(self, device: torch.device | str) -> Self:
        """The same table: it stays where it is, and what it is encoded to goes to a device."""
        return self

    @property
    def train_inputs(self) -> NoReturn:
        """None: what a row is encoded to depends on what came before."""
        self._refuse()

    @property
    def train_times(self) -> NoReturn:
        """None: the order of the rows is that of time, and no scenario may have another."""
        self._refuse()

    @property
    def test(self) -> NoReturn:
        """None: a table is judged on the rows that come next."""
        self._refuse()

    def part(self, rows: Tensor, targets: Tensor) -> NoReturn:
        """Refuse: a table is encoded by the scenario for it."""
        self._refuse()

    test_part = part

    def _refuse(self) -> NoReturn:
        raise ValueError(
            f"{self.name} is a table, whose rows come in the order of time: write --scenario "
            '"in-time-order(rows=1000)", or save arrays as an .npz file'
        )


def first_come(words: Sequence[str | None]) -> Tensor:
    """Number categories as they first come, from 0; −1 where one is missing.

    Example:
        >>> first_come(["red", "blue", None, "red"]).tolist()
        [0, 1, -1, 0]
    """
    known: dict[str, int] = {}
    return torch.tensor([-1 if word is None else known.setdefault(word, len(known)) for word in words])


class Encoding:
    """What the first rows of a table say about how to encode any of its rows.

    A number x becomes (x − m) / s, with mean m and standard deviation s (the population's) of the values that are
    there in these rows; 0 where it is missing, and everywhere in a column that holds no two different values by then,
    as nothing is known of its scale. A category has the slot of its number; one that none of these rows has, or for
    which no slot is left, the last input of its column; one that is missing none. Numbers to predict are standardised
    likewise, but only shifted where they have been all alike.

    Args:
        table: the rows.
        count: how many of them have been seen, at least 1.
    """

    def __init__(self, table: Table, count: int) -> None:
        self.table = table
        self.count = count

    # worked out when first asked for: who lays out a stream asks for sizes alone
    @cached_property
    def of_numbers(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each numeric column, (n,) each; infinite where there are no two values."""
        return _statistics(self.table.numeric[: self.count])

    @cached_property
    def of_targets(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the numbers to predict, (1,) each; 1 where they have been all alike."""
        # from the first on, so that numbers that are all alike become zeros, not what rounding leaves
        first = self.table.train_targets[0]
        mean, std = _statistics(self.table.train_targets[: self.count] - first)
        return first + mean, torch.where(std.isinf(), 1.0, std)

    @cached_property
    def seen(self) -> Tensor:
        """(c,) number of categories of each column."""
        # numbered as they first come: the largest tells how many there are
        return self.table.categorical[: self.count].amax(0) + 1

    def inputs(self, rows: Tensor) -> Tensor:
        """(R,) rows to (R, D) float32: numbers, where they are missing, then the inputs of each category."""
        numbers, (mean, std) = self.table.numeric[rows], self.of_numbers
        parts = [((numbers - mean) / std).nan_to_num(nan=0.0).float()]
        if self.table.missing:
            parts.append(numbers.isnan().float())
        codes = self.table.categorical[rows]
        for column, slots in enumerate(self.table.slots):
            of_column = codes[:, column]
            known = of_column < min(int(self.seen[column]), slots)
            places = torch.where(known, of_column, slots)
            one_hot = torch.zeros(len(rows), slots + 1)
            there = (of_column >= 0).nonzero().flatten()
            one_hot[there, places[there]] = 1.0
            parts.append(one_hot)
        return torch.cat(parts, dim=1)

    def targets(self, rows: Tensor) -> Tensor:
        """(R,) classes as they are; (R, 1) numbers to float32, standardised."""
        targets = self.table.train_targets[rows]
        if self.table.task == "classification":
            return targets
        mean, std = self.of_targets
        return ((targets - mean) / std).float()


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column of (N, n), without NaN; infinite where there are no two values.

    Summed by numpy, row after row: the same bits whatever the number of threads.
    """
    import numpy as np

    array = values.numpy()
    there = ~np.isnan(array)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, array, 0.0).sum(0) / count
    apart = np.where(there, array - mean, 0.0)
    std = np.sqrt((apart * apart).sum(0) / count)
    # a constant column has a tiny one by rounding
    std[std <= 1e-12 * np.abs(mean)] = np.inf
    return torch.from_numpy(mean), torch.from_numpy(std)


class EncodedExamples(Examples):
    """Rows of a table as they are encoded at one point in time; encoded when they are first asked for.

    Args:
        encoding: what was seen by then.
        rows: (R,) int64.
        device: where they are handed out.
    """

    def __init__(self, encoding: Encoding, rows: Tensor, device: torch.device | str = "cpu") -> None:
        self.encoding = encoding
        self.rows = rows
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _encoded(self) -> TensorExamples:
        inputs, targets = self.encoding.inputs(self.rows), self.encoding.targets(self.rows)
        return TensorExamples(inputs.to(self.device), targets.to(self.device))

    def _iterate(
        self, bounds: list[tuple[int, int]], generator: torch.Generator | None, augment: Augment | None
    ) -> Iterator[Batch]:
        return self._encoded._iterate(bounds, generator, augment)

    def to(self, device: torch.device | str) -> EncodedExamples:
        """The same examples, handed out on `device`; itself if they are there already."""
        same = torch.device(device) == self.device
        return self if same else EncodedExamples(self.encoding, self.rows, device)
