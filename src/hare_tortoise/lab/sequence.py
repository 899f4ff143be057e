"""Accuracies on several test sets over a stream: which task is whose, the whole matrix, what is kept and forgotten."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hare_tortoise.lab.trial import Row
from hare_tortoise.measures.sequences import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    intransigence,
)

# what each figure is called, in the order of the tables
AVERAGE, BACKWARD, FORGOTTEN = "average accuracy", "backward transfer", "forgetting"
NEXT, INTRANSIGENCE = "next task", "intransigence"
FIGURES = (AVERAGE, BACKWARD, FORGOTTEN, NEXT, INTRANSIGENCE)
# those that are accuracies; the others are differences of accuracies
SHARES = frozenset({AVERAGE, NEXT})

Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Tasks:
    """The test sets of a stream on which a network is judged again and again.

    Args:
        names: of the test sets, in the order of the tasks.
        trained: whether task ``i`` is what chunk ``i`` trains on, for every chunk; only then there is an order of
            which forgetting and transfer can be said.
    """

    names: tuple[str, ...]
    trained: bool


def find_tasks(ends: Sequence[Row]) -> Tasks | None:
    """Find the tasks of a stream from the rows at the ends of its chunks.

    The task of a chunk is the test set of the chunk's name; where there is none, the one that has the number of the
    chunk, counted from 1, in its name, or the only one that is new there.

    Args:
        ends: of one trial, in order.

    Returns:
        None where less than two test sets are judged at several chunks: there is no matrix to look at.

    Example:
        >>> rows = [{"chunk_name": n, "tests": dict.fromkeys("ab", 0.5)} for n in "ab"]
        >>> find_tasks(rows)
        Tasks(names=('a', 'b'), trained=True)
    """
    counts = Counter(name for row in ends for name in row.get("tests") or {})
    if sum(count > 1 for count in counts.values()) < 2:
        return None
    own, seen = [], set[str]()
    for place, row in enumerate(ends, start=1):
        tests = set(row.get("tests") or {})
        own.append(_own(str(row["chunk_name"]), place, tests, tests - seen))
        seen |= tests
    found = [name for name in own if name is not None]
    if len(found) == len(ends) and len(set(found)) == len(found):
        return Tasks(tuple(found), trained=True)
    first = {name: place for place in reversed(range(len(ends))) for name in ends[place].get("tests") or {}}
    return Tasks(tuple(sorted(first, key=lambda name: (first[name], _natural(name)))), trained=False)


def matrix(ends: Sequence[Row], tasks: Tasks, key: str = "tests") -> Matrix:
    """Lay out accuracies as ``[task][chunk]``; None where a task was not judged.

    Args:
        ends: rows of one trial at the ends of its chunks.
        tasks: of the stream.
        key: ``tests`` for the deployed network, ``hare_tests`` for the trained one.
    """
    return tuple(tuple(_accuracies(row, key).get(name) for row in ends) for name in tasks.names)


def _accuracies(row: Row, key: str) -> Mapping[str, float]:
    tests: Mapping[str, float] = row.get("tests") or {}
    found: Mapping[str, float] | None = row.get(key)
    if key == "tests":
        return tests
    if found:
        return found
    # of a single test set the row says it once, without a name
    single: float = row["hare_test_accuracy"]
    return dict.fromkeys(tests, single) if len(tests) == 1 else {}


def mean_matrix(matrices: Sequence[Matrix]) -> Matrix:
    """Average matrices over the seeds, entry by entry; None where one of them has none.

    Example:
        >>> mean_matrix([((0.5, None),), ((1.0, None),)])
        ((0.75, None),)
    """

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return tuple(
        tuple(mean(cell) for cell in zip(*lines, strict=True)) for lines in zip(*matrices, strict=True)
    )


def seen_so_far(ends: Sequence[Row], tasks: Tasks) -> list[float | None]:
    """Give the mean accuracy over the tasks trained on so far, at the end of each chunk; None where one is missing."""
    table = matrix(ends, tasks)
    means: list[float | None] = []
    for time in range(len(ends)):
        values = [table[task][time] for task in range(time + 1)]
        known = [value for value in values if value is not None]
        means.append(sum(known) / len(known) if len(known) == len(values) else None)
    return means


def figures(ends: Sequence[Row], tasks: Tasks, scratch: Sequence[Row] | None = None) -> Mapping[str, float]:
    """Say what is kept and what is gained over a sequence of tasks, of the deployed network.

    `hare_tortoise.measures.sequences` has the formulas. *Next task* is forward transfer without its baseline, the
    accuracy on each task before it is trained on: of two methods on one seed the difference is the same.
    *Intransigence* is against from scratch on the same seed, as it was run there.

    Args:
        ends: rows of one trial at the ends of its chunks.
        tasks: of the stream.
        scratch: the rows of from scratch on the same seed; None where it did not run.

    Returns:
        Figures by name; those that need an accuracy that was not taken are missing.
    """
    if not tasks.trained:
        return {}
    R = _square(ends, tasks)
    lower = torch.ones_like(R, dtype=torch.bool).tril()
    found = {}
    if _known(R[-1]):
        found[AVERAGE] = average_accuracy(R)
    if _known(R[-1]) and _known(R.diagonal()):
        found[BACKWARD] = backward_transfer(R)
    if _known(R[lower]):
        found[FORGOTTEN] = forgetting(R)
    if _known(R.diagonal(1)):
        found[NEXT] = forward_transfer(R, [0.0] * len(R))
    if scratch is not None and _known(R.diagonal()):
        reference = _square(scratch, tasks).diagonal()
        if _known(reference):
            found[INTRANSIGENCE] = intransigence(R, reference)
    return found


def _own(chunk: str, place: int, tests: set[str], new: set[str]) -> str | None:
    if chunk in tests:
        return chunk
    numbered = [name for name in tests if re.findall(r"\d+", name) == [str(place)]]
    likely = numbered if len(numbered) == 1 else list(new)
    return likely[0] if len(likely) == 1 else None


def _square(ends: Sequence[Row], tasks: Tasks) -> Tensor:
    """The accuracies as (chunk, task), NaN where there is none."""
    table = matrix(ends, tasks)
    rows = [[math.nan if value is None else value for value in line] for line in table]
    return torch.tensor(rows, dtype=torch.float64).T


def _known(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that has task 2 before task 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
