from __future__ import annotations

from collections import Counter

import pytest
import torch

from hare_tortoise.streams import Chunk, Examples, Source, class_incremental
from tests.streams.task_sources import plain_images, rows_and_labels

CLASSES = 6


def numbers(examples: Examples | None) -> dict[int, int]:
    """How each class, a row's number modulo 6, is numbered in these examples; it must have one number."""
    pairs = {(row % CLASSES, label) for row, label in zip(*rows_and_labels(examples), strict=True)}
    assert len(pairs) == len(dict(pairs)) == len({label for _, label in pairs})
    return dict(pairs)


def rows(examples: Examples | None) -> set[int]:
    found = rows_and_labels(examples)[0]
    assert len(found) == len(set(found))
    return set(found)


def test_classes_are_numbered_as_they_come_and_kept() -> None:
    stream = class_incremental(plain_images(), increments=3, seed=1)
    last = numbers(stream[2].train)
    assert sorted(last.values()) == list(range(CLASSES))
    assert last != {each: each for each in range(CLASSES)}, "drawn, not as in the source"
    for index, chunk in enumerate(stream):
        seen = 2 * (index + 1)
        assert (chunk.outputs, stream.outputs, chunk.active) == (seen, CLASSES, None)
        assert chunk.everything is None
        of = numbers(chunk.train)
        assert of == {each: number for each, number in last.items() if number < seen}
        assert rows(chunk.train) == {row for row in range(120) if row % CLASSES in of}


def test_a_growing_head_is_judged_on_all_classes_so_far_first() -> None:
    stream = class_incremental(plain_images(), increments=3)
    arrival = {number: each for each, number in numbers(stream[2].train).items()}
    for index, chunk in enumerate(stream):
        assert list(chunk.tests) == ["seen", *(f"increment {k + 1}" for k in range(index + 1))]
        assert numbers(chunk.tests["seen"]) == numbers(chunk.train)
        assert len(chunk.tests["seen"]) == 8 * (index + 1)
        assert not chunk.test_active
        for k in range(index + 1):
            two = {arrival[2 * k]: 2 * k, arrival[2 * k + 1]: 2 * k + 1}
            assert numbers(chunk.tests[f"increment {k + 1}"]) == two
            assert len(chunk.tests[f"increment {k + 1}"]) == 8


def test_the_order_of_classes_is_that_of_the_seed() -> None:
    orders = {
        tuple(sorted(numbers(class_incremental(plain_images(), increments=6, seed=s)[5].train).items()))
        for s in range(5)
    }
    assert len(orders) == 5


@pytest.mark.parametrize("memory", [0, 7, 30, 1000])
def test_a_memory_holds_as_many_of_each_earlier_class_and_nothing_comes_back(memory: int) -> None:
    stream = class_incremental(plain_images(), increments=6, access="current", memory=memory, validation=0.1)
    before: set[int] = set()
    for index, chunk in enumerate(stream):
        of = Counter(rows_and_labels(chunk.train)[1])
        assert of.pop(index) == 18
        assert sum(of.values()) == min(memory, 18 * index)
        counts = [of[label] for label in range(index)]
        assert not counts or max(counts) - min(counts) <= 1
        old = {row for row, label in zip(*rows_and_labels(chunk.train), strict=True) if label < index}
        assert old <= before
        before = rows(chunk.train)
        assert len(rows(chunk.everything)) == 18 * (index + 1)
        assert rows(chunk.train) <= rows(chunk.everything)
        assert numbers(chunk.everything) == numbers(chunk.validation) == numbers(chunk.tests["seen"])
        assert not rows(chunk.validation) & rows(chunk.everything)


def test_a_rare_class_is_remembered_whole_and_the_others_fill_its_place() -> None:
    labels = torch.tensor([0] * 4 + [1] * 50 + [2] * 50)
    inputs = torch.arange(104.0)[:, None]
    source = Source("skewed", inputs, labels, inputs, labels, outputs=3, input_shape=(1,))
    for seed in range(6):
        stream = class_incremental(source, increments=3, access="current", memory=31, seed=seed)
        found = rows_and_labels(stream[2].train)
        new = [row for row, label in zip(*found, strict=True) if label == 2]
        old = Counter(int(labels[row]) for row in set(found[0]) - set(new))
        if 0 in old:
            assert sorted(old.values()) == [4, 27]
        else:
            assert sorted(old.values()) == [15, 16]


def mask_of(chunk: Chunk, name: str) -> list[int]:
    return chunk.test_active[name].nonzero().flatten().tolist()


def test_a_head_per_task_counts_the_classes_of_each_test_set_alone() -> None:
    stream = class_incremental(
        plain_images(), increments=3, access="current", head="task", validation=0.1, seed=2
    )
    for index, chunk in enumerate(stream):
        current = f"increment {index + 1}"
        assert next(iter(chunk.tests)) == current
        assert (
            set(chunk.tests) == chunk.test_active.keys() == {f"increment {k + 1}" for k in range(index + 1)}
        )
        assert chunk.active is not None
        assert chunk.active.dtype == torch.bool
        assert chunk.active.shape == (stream.outputs,)
        assert chunk.active.nonzero().flatten().tolist() == mask_of(chunk, current)
        for name, examples in chunk.tests.items():
            k = int(name.split()[1]) - 1
            assert set(rows_and_labels(examples)[1]) == {2 * k, 2 * k + 1} == set(mask_of(chunk, name))
        assert set(rows_and_labels(chunk.train)[1]) == {2 * index, 2 * index + 1}
        assert set(rows_and_labels(chunk.validation)[1]) == {2 * index, 2 * index + 1}
        assert chunk.everything is None
        assert chunk.outputs == 2 * (index + 1)


@pytest.mark.parametrize(
    ("settings", "outputs"),
    [
        ({"classes_per_chunk": 4}, [4, 6]),
        ({"classes_per_chunk": 2}, [2, 4, 6]),
        ({"classes_per_chunk": 9}, [6]),
        ({"increments": 4}, [2, 3, 4, 6]),
        ({}, [1, 2, 4, 5, 6]),
    ],
)
def test_groups_are_as_large_as_they_should_be(settings: dict[str, int], outputs: list[int]) -> None:
    stream = class_incremental(plain_images(), **settings)  # type: ignore[arg-type]
    assert [chunk.outputs for chunk in stream] == outputs
    assert [chunk.name for chunk in stream] == [f"{each} classes" for each in outputs]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"increments": 7}, "increments is 7"),
        ({"increments": 2, "classes_per_chunk": 3}, "one of them"),
        ({"classes_per_chunk": 0}, "classes_per_chunk is 0"),
        ({"access": "old"}, "access is 'old'"),
        ({"head": "many"}, "head is 'many'"),
        ({"memory": -1, "access": "current"}, "memory is -1"),
        ({"memory": 5}, "everything is kept"),
        ({"head": "task"}, "head is 'task'"),
        ({"head": "task", "access": "current", "memory": 5}, "head is 'task'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_incremental(plain_images(), **settings)  # type: ignore[arg-type]


def test_a_class_without_examples_is_an_error() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    source = Source("two", torch.zeros(4, 1), labels, torch.zeros(4, 1), labels, outputs=3, input_shape=(1,))
    with pytest.raises(ValueError, match="no example"):
        list(class_incremental(source, increments=3))
