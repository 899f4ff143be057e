from __future__ import annotations

import pytest
import torch

from hare_tortoise.streams import Examples, Source, pairs
from hare_tortoise.streams.scenarios.tasks import in_rounds
from tests.streams.task_sources import plain_images, rows_and_labels


def pair(examples: Examples, classes: int) -> tuple[int, int]:
    """The class with the label 0 and the one with the label 1; each must be one."""
    rows, labels = rows_and_labels(examples)
    of = [{row % classes for row, label in zip(rows, labels, strict=True) if label == k} for k in (0, 1)]
    assert set(labels) == {0, 1}
    assert len(of[0]) == len(of[1]) == 1
    return of[0].pop(), of[1].pop()


@pytest.mark.parametrize("classes", [6, 7])
def test_no_class_comes_again_before_all_were_there(classes: int) -> None:
    stream = pairs(plain_images(20 * classes, classes, test=4 * classes), tasks=12)
    assert (stream.outputs, len(stream)) == (2, 12)
    found = [pair(chunk.train, classes) for chunk in stream]
    for start in range(0, 12, 3):
        of_round = [each for two in found[start : start + 3] for each in two]
        assert len(set(of_round)) == 6
    assert len(set(found)) > 6, "each round is a shuffle of its own"


def test_the_first_of_a_pair_is_0() -> None:
    expected = [tuple(each.tolist()) for each in in_rounds(6, [2] * 5, seed=4)]
    assert [pair(chunk.train, 6) for chunk in pairs(plain_images(), tasks=5, seed=4)] == expected


def test_a_task_has_all_examples_of_its_pair_and_is_tested_on_the_same_pair() -> None:
    for chunk in pairs(plain_images(), tasks=6, validation=0.1):
        assert chunk.validation is not None
        two = pair(chunk.train, 6)
        assert pair(chunk.tests["test"], 6) == pair(chunk.validation, 6) == two
        aside = rows_and_labels(chunk.validation)[0]
        trained = rows_and_labels(chunk.train)[0]
        assert sorted(trained + aside) == [row for row in range(120) if row % 6 in two]
        assert len(aside) == 4
        assert rows_and_labels(chunk.tests["test"])[0] == [row for row in range(24) if row % 6 in two]
        assert (chunk.outputs, chunk.active, chunk.everything) == (2, None, None)


def test_pairs_seen_before_are_judged_by_name() -> None:
    stream = pairs(plain_images(), tasks=5, tests="seen")
    own = [pair(chunk.train, 6) for chunk in stream]
    for index, chunk in enumerate(stream):
        assert next(iter(chunk.tests)) == f"task {index + 1}"
        assert len(chunk.tests) == index + 1
        for name, examples in chunk.tests.items():
            assert pair(examples, 6) == own[int(name.split()[1]) - 1]


def test_fewer_rows_of_both_classes() -> None:
    for chunk in pairs(plain_images(), tasks=3, rows_per_task=25):
        assert len(set(rows_and_labels(chunk.train)[0])) == 25
        pair(chunk.train, 6)
    with pytest.raises(ValueError, match="has 40 examples"):
        _ = pairs(plain_images(), rows_per_task=41)[0]


def test_one_class_makes_no_pair() -> None:
    zeros = torch.zeros(4, dtype=torch.int64)
    source = Source("one", torch.zeros(4, 1), zeros, torch.zeros(4, 1), zeros, outputs=1, input_shape=(1,))
    with pytest.raises(ValueError, match="2 classes"):
        pairs(source)
