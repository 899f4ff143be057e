from __future__ import annotations

from collections import Counter

import pytest

from hare_tortoise.streams import easy_hard
from tests.streams.task_sources import plain_images, rows_and_labels


def test_hard_and_easy_tasks_come_in_turn_with_classes_of_their_own() -> None:
    stream = easy_hard(plain_images(180, 9, test=36), tasks=7, hard_classes=3)
    classes = [set(rows_and_labels(chunk.train)[1]) for chunk in stream]
    assert [len(each) for each in classes] == [3, 1, 3, 1, 3, 1, 3]
    # 3 + 1 + 3 + 1 of nine; one is left, too few for the next
    assert len(set().union(*classes[:4])) == 8
    assert len(set().union(*classes[4:])) == 7
    assert [chunk.name for chunk in stream][:2] == ["task 1, hard", "task 2, easy"]


def test_labels_are_those_of_the_source_under_one_head() -> None:
    for chunk in easy_hard(plain_images(), tasks=5, hard_classes=4, validation=0.1):
        assert (chunk.outputs, chunk.active, chunk.everything) == (6, None, None)
        classes = set(rows_and_labels(chunk.train)[1])
        for examples, count in ((chunk.train, 18), (chunk.validation, 2), (chunk.tests["test"], 4)):
            rows, labels = rows_and_labels(examples)
            assert labels == [row % 6 for row in rows]
            assert Counter(labels) == dict.fromkeys(classes, count)


@pytest.mark.parametrize("rows", [7, 20, 50, 80, 100, 205])
def test_examples_come_again_where_there_are_fewer_all_as_often(rows: int) -> None:
    for index, chunk in enumerate(easy_hard(plain_images(), tasks=6, hard_classes=4, rows_per_task=rows)):
        times = Counter(rows_and_labels(chunk.train)[0])
        has = 20 if index % 2 else 80
        assert sum(times.values()) == len(chunk.train) == rows
        assert len(times) == min(rows, has)
        assert max(times.values()) - min(times.values()) <= 1


def test_what_comes_once_more_is_drawn_from_all_classes_anew_for_each_task() -> None:
    drawn = []
    for chunk in easy_hard(plain_images(120, 4), tasks=5, hard_classes=4, rows_per_task=160):
        times = Counter(rows_and_labels(chunk.train)[0])
        drawn.append({row for row, count in times.items() if count == max(times.values())})
    for more in drawn[::2]:
        assert len(more) == 40
        # ten of each class on average; a standard deviation is 2.3
        assert {row % 4 for row in more} == {0, 1, 2, 3}
    assert drawn[0] != drawn[2] != drawn[4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hard_classes": 7}, "7 classes"),
        ({"hard_classes": 0}, "hard_classes is 0"),
        ({"easy_classes": 1.5}, r"easy_classes is 1\.5"),
        ({"hard_classes": 1, "easy_classes": 8}, "8 classes"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        easy_hard(plain_images(), **settings)  # type: ignore[arg-type]
