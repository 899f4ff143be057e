"""A table whose rows arrive in the order of time: judged on what comes next, encoded by what came before."""

from __future__ import annotations

from copy import copy
from typing import Self

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Examples
from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream
from hare_tortoise.streams.table import EncodedExamples, Encoding, Table


class InTimeOrder(Stream):
    """Parts of a table, one after the other; chunk i is tested on part i + 1, and later becomes training data.

    Everything in chunk i but its tests is a function of the rows up to the end of part i, and of the schema; the
    tests are of these rows and their own.

    Args:
        table: the rows.
        rows: of a part; what is left over at the end joins the last part, which is only tested on.
        memory: how many earlier rows are kept; None: all.
        horizon: parts of the test set "later"; None: all that come.
        validation: share of each part that is set aside, in [0, 1).
        seed: what is remembered and set aside is drawn from it.

    Raises:
        ValueError: something lies outside its range, or there are fewer than two parts.
    """

    def __init__(
        self,
        table: Table,
        *,
        rows: int,
        memory: int | None,
        horizon: int | None,
        validation: float,
        seed: int,
    ) -> None:
        _check_whole("rows", rows, 1)
        for name, value, least in (("memory", memory, 0), ("horizon", horizon, 1)):
            if value is not None:
                _check_whole(name, value, least, ", or None for all")
        if not is_number(validation) or not 0 <= validation < 1:
            raise ValueError(
                f"validation is {validation!r}: give the share to set aside, at least 0, below 1"
            )
        parts = len(table) // rows
        if parts < 2 or (validation and rows < 2):
            raise ValueError(
                f"in-time-order splits the {len(table)} rows of {table.name} into {parts} parts of {rows}: it needs "
                "two at least, and two rows in each where some are set aside; take fewer rows to a part"
            )
        self.name = "in-time-order"
        self.task = table.task
        self.input_shape = table.input_shape
        self.outputs = table.outputs
        self.seed = seed
        self._table, self._memory, self._horizon, self._validation = table, memory, horizon, validation
        self._ends = [*(rows * (part + 1) for part in range(parts - 1)), len(table)]
        self._device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        end, encoding = self._ends[index], Encoding(self._table, self._ends[index])
        aside = torch.cat([self._set_aside(part) for part in range(index + 1)])
        came = torch.arange(end)

        def examples(rows: Tensor) -> Examples:
            return EncodedExamples(encoding, rows, self._device)

        everything = came[~aside]
        kept = everything if self._memory is None else self._remembered(index, everything)
        tests = {"next": examples(torch.arange(end, self._ends[index + 1]))}
        last = len(self) if self._horizon is None else min(len(self), index + 1 + self._horizon)
        if last > index + 1:
            tests["later"] = examples(torch.arange(self._ends[index + 1], self._ends[last]))
        return Chunk(
            index=index,
            name=f"{end:,} rows",
            train=examples(kept),
            everything=None if self._memory is None else examples(everything),
            validation=examples(came[aside]) if self._validation else None,
            tests=tests,
            outputs=self.outputs,
            prequential=True,
            baselines=self._baselines(index),
        )

    def to(self, device: torch.device | str) -> Self:
        """The same stream, whose examples are handed out on `device`."""
        moved = copy(self)
        moved._device = torch.device(device)
        return moved

    def _part(self, part: int) -> tuple[int, int]:
        return (self._ends[part - 1] if part else 0), self._ends[part]

    def _set_aside(self, part: int) -> Tensor:
        """(rows of the part,) bool: which of them are for validation."""
        start, end = self._part(part)
        aside = torch.zeros(end - start, dtype=torch.bool)
        if self._validation:
            count = min(max(1, round(self._validation * (end - start))), end - start - 1)
            generator = derived_generator(self.seed, "validation", part)
            aside[torch.randperm(end - start, generator=generator)[:count]] = True
        return aside

    def _remembered(self, index: int, candidates: Tensor) -> Tensor:
        """The rows of the new part, and of the earlier ones those with the lowest ranks; in the order of time.

        A row gets its rank with its part, so that more parts to come change nothing.
        """
        start = self._part(index)[0]
        new, old = candidates[candidates >= start], candidates[candidates < start]
        ranks = [torch.zeros(0, dtype=torch.float64)]
        for part in range(index):
            first, end = self._part(part)
            generator = derived_generator(self.seed, "memory", part)
            ranks.append(torch.rand(end - first, generator=generator, dtype=torch.float64))
        lowest = torch.cat(ranks)[old].argsort(stable=True)[: self._memory]
        return torch.cat([old[lowest].sort().values, new])

    def _baselines(self, index: int) -> dict[str, float]:
        """What predictors reach on the next part that look at no input."""
        end, after = self._ends[index], self._ends[index + 1]
        targets = self._table.train_targets
        if self.task == "regression":
            # R² is the same; numbers that are all alike are zeros, not what rounding leaves
            targets = targets - targets[0]
        then, before = targets[end:after], targets[end - 1 : after - 1]
        if self.task == "regression":
            mean = targets[:end].mean()
            return {"same as last time": _r_squared(then, before), "mean so far": _r_squared(then, mean)}
        most = torch.bincount(targets[:end], minlength=self.outputs).argmax()
        return {
            "same as last time": float((then == before).double().mean()),
            "majority so far": float((then == most).double().mean()),
        }


def _r_squared(targets: Tensor, predicted: Tensor) -> float:
    residual = float((targets - predicted).square().sum())
    spread = float((targets - targets.mean()).square().sum())
    return 1 - residual / spread if spread else float(residual == 0)


def _check_whole(name: str, value: object, least: int, also: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}{also}")


def in_time_order(
    source: Source | Table,
    *,
    rows: int = 1000,
    memory: int | None = None,
    horizon: int | None = 10,
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """A table arrives part by part, in the order of time; each chunk is tested on the part that comes next.

    The mean over the chunks of the accuracy on "next" is prequential: test on the next rows, then train on them.
    "later" are the parts after the next. Numbers are standardised by the rows up to the end of the newest part,
    categories have the inputs that these rows gave them: nothing goes by the future. So the same row, remembered, is
    encoded a little differently later.

    Beside the methods stand two that look at no input, on "next": "same as last time", the label of the row before
    (which a network does not get to know within a part), and "majority so far", or "mean so far" of numbers.

    Args:
        source: a table.
        rows: of a part, 1 or more; what is left over at the end joins the last part, which is only tested on.
        memory: how many earlier rows are trained on beside the new part: a sample in which each earlier row has the
            same chance, and what was once given up never comes back. 0: none. None: all.
        horizon: parts of "later", 1 or more. None: all that come.
        validation: share of each part that is set aside for choosing, in [0, 1), drawn at random.
        seed: what is remembered and set aside is drawn from it.

    Returns:
        A stream with a chunk for each part but the last.

    Raises:
        ValueError: the source is no table, an argument lies outside its range, or there are fewer than two parts.

    Reference:
        Gama, Sebastião & Rodrigues, "On evaluating stream learning algorithms", Machine Learning 90, 2013.

    Example:
        >>> import torch
        >>> from hare_tortoise.streams import Table, in_time_order
        >>> hours, none = torch.arange(10.0, dtype=torch.float64)[:, None], torch.zeros(10, 0, dtype=torch.int64)
        >>> table = Table("mine", ("hour",), hours, none, (), torch.arange(10) % 2, 2, ("down", "up"))
        >>> [(chunk.name, len(chunk.train), len(chunk.tests["next"])) for chunk in in_time_order(table, rows=4)]
        [('4 rows', 4, 6)]
    """
    if not isinstance(source, Table):
        raise ValueError(
            f"{source.name} is no table with an order of time: give --source elec2, or "
            "--source \"table(path='mine.csv', target='label')\""
        )
    return InTimeOrder(source, rows=rows, memory=memory, horizon=horizon, validation=validation, seed=seed)
