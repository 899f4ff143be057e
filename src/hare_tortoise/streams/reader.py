"""Worker processes that read a data set in batches, and stay from pass to pass."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from hare_tortoise.streams.seeding import derived_generator


@dataclass(frozen=True)
class _Refused:
    """What a data set says against a row, on its way from a worker: as an exception it would bring its traceback."""

    why: str


class _InBatches(Dataset[Any]):
    """A data set whose item is a batch; what the workers hold."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, wanted: tuple[int, list[int]]) -> Any:
        seed, rows = wanted
        if get_worker_info() is not None:
            _seed_everything(seed)
        try:
            return default_collate([self.dataset[row] for row in rows])
        except ValueError as error:
            return _Refused(str(error))


def _seed_everything(seed: int) -> None:
    # torch.manual_seed would note the whole call stack for devices that are not in use here
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


class _Pass(Sampler[tuple[int, list[int]]]):
    """Which rows make the batches of this pass; a list only while a batch is sent to its worker."""

    def __init__(self) -> None:
        self.rows, self.bounds, self.seed = torch.empty(0, dtype=torch.int64), [(0, 0)], 0

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        rows, seed = self.rows, self.seed
        return ((seed + place, rows[start:end].tolist()) for place, (start, end) in enumerate(self.bounds))


def _as_it_is(batch: Any) -> Any:
    return batch


class Reader:
    """Reads batches of a data set by a `DataLoader` whose processes start once and serve one pass after the other.

    A pass that is left midway costs the next one the batches under way; a second pass while one is under way gets
    processes of its own. They end with the reader, at the latest with this process.

    Args:
        dataset: has `__getitem__`.
        workers: processes that read, 0 or more. 0: this one.
    """

    def __init__(self, dataset: Dataset[Any], workers: int) -> None:
        self.dataset = dataset
        self.workers = workers
        self._kept: dict[bool, tuple[DataLoader[Any], _Pass]] = {}
        self._busy = False

    def read(self, rows: Tensor, bounds: Sequence[tuple[int, int]], *, seed: int, pin: bool) -> Iterator[Any]:
        """The batches of `rows` from each start to each end in `bounds`.

        Args:
            rows: (N,) int64.
            bounds: pairs (start, end) of places in `rows`.
            seed: what the global generators of the workers are seeded with, one more for each batch; at least 0.
            pin: hand them out in pinned memory.

        Raises:
            ValueError: the data set raised it, with its message.
        """
        alone = not self._busy and self.workers > 0
        loader, plan = self._kept.get(pin) or self._start(pin) if alone else self._start(pin)
        plan.rows, plan.bounds, plan.seed = rows, list(bounds), seed
        if alone:
            self._kept[pin], self._busy = (loader, plan), True
        try:
            for batch in loader:
                if isinstance(batch, _Refused):
                    raise ValueError(batch.why)
                yield batch
        except RuntimeError:
            # a worker was lost: its loader cannot go on
            self._kept.pop(pin, None)
            raise
        finally:
            if alone:
                self._busy = False

    def _start(self, pin: bool) -> tuple[DataLoader[Any], _Pass]:
        plan = _Pass()
        loader: DataLoader[Any] = DataLoader(
            _InBatches(self.dataset),
            batch_size=None,
            sampler=plan,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=_as_it_is,
            pin_memory=pin,
            # without one of its own it would draw from the global generator
            generator=derived_generator(0, "workers"),
        )
        return loader, plan

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_busy": False}
