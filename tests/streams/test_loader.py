"""The processes that read: what they hand out, how long they stay, and what they say when a row cannot be read."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from hare_tortoise.streams import LoaderExamples


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Drawing(Dataset[tuple[Tensor, int]]):
    """Its inputs are drawn from the global generators."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.tensor([float(torch.rand(())), random.random(), np.random.rand()]), row


class Refusing(Dataset[tuple[Tensor, int]]):
    """Row 5 cannot be read; row 7 ends its process."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        if row == 5:
            raise ValueError("row 5 is broken: mend it")
        if row == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(float(row)), row


def rows(data: LoaderExamples, size: int = 3, seed: int | None = None) -> list[list[int]]:
    made = None if seed is None else generator(seed)
    return [targets.tolist() for _, targets in data.batches(size, generator=made)]


def children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


def wait_until_gone(pids: set[int]) -> set[int]:
    deadline = time.monotonic() + 10
    while (left := pids & children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture
def before() -> set[int]:
    return children()


def counting(workers: int, count: int = 20) -> LoaderExamples:
    return LoaderExamples(TensorDataset(torch.arange(float(count)), torch.arange(count)), workers=workers)


def test_processes_stay_from_pass_to_pass_and_serve_all_parts(before: set[int]) -> None:
    data = counting(2)
    part = data.part(torch.tensor([4, 2, 9]), torch.tensor([40, 20, 90])).to("cpu")
    assert children() == before
    assert rows(data) == [list(range(start, min(start + 3, 20))) for start in range(0, 20, 3)]
    started = children() - before
    assert len(started) == 2
    assert rows(part) == [[40, 20, 90]]
    assert rows(data, seed=1) == rows(counting(0), seed=1)
    assert children() - before == started
    del data, part
    assert wait_until_gone(started) == set()


def test_a_pass_that_is_left_midway_leaves_nothing_behind(before: set[int]) -> None:
    data = counting(2)
    whole = rows(data, seed=2)
    started = children() - before
    for taken in (0, 1, 3):
        batches = data.batches(3, generator=generator(5))
        for _ in range(taken):
            next(batches)
        del batches
        assert rows(data, seed=2) == whole
    assert children() - before == started


def test_two_passes_at_once_do_not_mix(before: set[int]) -> None:
    data = counting(2)
    apart = rows(data, seed=1), rows(data, seed=2)
    started = children() - before
    first, second = (data.batches(3, generator=generator(seed)) for seed in (1, 2))
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(first, second, strict=True)]
    assert ([a for a, _ in pairs], [b for _, b in pairs]) == apart
    del first, second
    assert wait_until_gone(children() - before - started) == set()
    assert rows(data, seed=1) == apart[0]


def test_what_a_data_set_draws_in_workers_is_a_function_of_the_generator() -> None:
    def drawn(workers: int, seed: int) -> list[list[list[float]]]:
        data = LoaderExamples(Drawing(), workers=workers)
        return [
            [row for inputs, _ in data.batches(3, generator=generator(seed)) for row in inputs.tolist()]
            for _ in range(2)
        ]

    one, two, other = drawn(1, 0), drawn(2, 0), drawn(2, 1)
    assert one[0] == one[1] == two[0] == two[1]
    assert other[0] != two[0]
    assert len({value for row in two[0] for value in row}) == 36


def test_the_generator_goes_on_as_it_does_for_examples_in_memory() -> None:
    order = generator(3)
    torch.randperm(20, generator=order)
    used = generator(3)
    list(counting(0).batches(4, generator=used))
    assert torch.equal(order.get_state(), used.get_state())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_cannot_be_read_is_said_in_one_line(workers: int) -> None:
    data = LoaderExamples(Refusing(), rows=torch.tensor([1, 2, 5, 6]), workers=workers)
    with pytest.raises(ValueError, match=r"^row 5 is broken: mend it$"):
        rows(data, 1)
    assert rows(data.part(torch.tensor([1, 6]), torch.tensor([1, 6])), 1) == [[1], [6]]


def test_a_lost_process_is_told_and_the_next_pass_has_new_ones() -> None:
    data = LoaderExamples(Refusing(), rows=torch.tensor([1, 7]), workers=1)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        rows(data, 1)
    assert rows(data.part(torch.tensor([3, 4]), torch.tensor([3, 4])), 1) == [[3], [4]]


def test_examples_in_use_can_be_sent_to_another_process(before: set[int]) -> None:
    data = counting(1)
    batches: Any = data.batches(3)
    next(batches)
    sent = pickle.loads(pickle.dumps(data))
    assert rows(sent) == rows(counting(0))


def test_a_program_that_ends_midway_ends_with_its_processes(tmp_path: Path) -> None:
    program = tmp_path / "midway.py"
    program.write_text(
        "import multiprocessing, torch\n"
        "from torch.utils.data import TensorDataset\n"
        "from hare_tortoise.streams import LoaderExamples\n"
        "data = LoaderExamples(TensorDataset(torch.arange(90.0), torch.arange(90)), workers=2)\n"
        "batches = data.batches(3)\n"
        "next(batches)\n"
        "print(*(child.pid for child in multiprocessing.active_children()))\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    pids = done.stdout.split()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
