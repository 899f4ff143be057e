from __future__ import annotations

import pytest
import torch

from hare_tortoise.streams import Examples, random_labels, shuffled_labels
from tests.streams.task_sources import plain_images, rows_and_labels


def renaming(examples: Examples) -> dict[int, int]:
    """What the class of each row, its number modulo 6, is called; it must be called one thing."""
    pairs = {(row % 6, label) for row, label in zip(*rows_and_labels(examples), strict=True)}
    assert len(pairs) == 6
    assert {name for _, name in pairs} == set(range(6))
    return dict(pairs)


def test_each_task_renames_the_classes_everywhere_alike() -> None:
    found = []
    for chunk in shuffled_labels(plain_images(), tasks=12, validation=0.2):
        assert chunk.validation is not None
        assert chunk.outputs == 6
        assert renaming(chunk.train) == renaming(chunk.tests["test"]) == renaming(chunk.validation)
        found.append(tuple(sorted(renaming(chunk.train).items())))
    # 12 of 720 permutations: two alike have a chance of 9 %, three of 0.04 %
    assert len(set(found)) >= 11


def test_renamings_are_uniform() -> None:
    counts = torch.zeros(3, 3)
    stream = shuffled_labels(plain_images(30, 3, test=6), tasks=600)
    for index in range(600):
        for true, name in zip(*(rows_and_labels(stream[index].tests["test"])), strict=True):
            counts[true % 3, name] += 0.5
    # 200 expected in each place; five standard deviations are 58
    assert 142 < float(counts.min()) <= float(counts.max()) < 258


def test_random_labels_are_judged_on_what_they_are_trained_on() -> None:
    stream = random_labels(plain_images(), tasks=4, rows=60)
    rows = []
    for chunk in stream:
        assert list(chunk.tests) == ["train"]
        assert rows_and_labels(chunk.tests["train"]) == rows_and_labels(chunk.train)
        assert chunk.validation is None
        assert chunk.everything is None
        rows.append(rows_and_labels(chunk.train)[0])
    assert rows[0] == rows[1] == rows[2] == rows[3]
    assert len(set(rows[0])) == 60
    labels = [tuple(rows_and_labels(chunk.train)[1]) for chunk in stream]
    assert len(set(labels)) == 4


def test_random_labels_know_nothing_of_the_classes() -> None:
    counts = torch.zeros(6, 6)
    for chunk in random_labels(plain_images(), tasks=60, rows=120):
        for row, label in zip(*rows_and_labels(chunk.train), strict=True):
            counts[row % 6, label] += 1
    # 7,200 draws, 200 in each place; five standard deviations are 70
    assert 130 < float(counts.min()) <= float(counts.max()) < 270


def test_shuffled_random_labels_keep_the_number_of_each_class() -> None:
    labels = plain_images().train_targets
    stream = random_labels(plain_images(), tasks=5, rows=50, labels="shuffled")
    counts = set()
    for chunk in stream:
        rows, found = rows_and_labels(chunk.train)
        counts.add(tuple(torch.bincount(torch.tensor(found), minlength=6).tolist()))
        assert sorted(found) == sorted(labels[rows].tolist())
        assert found != labels[rows].tolist()
    assert len(counts) == 1
    uniform = random_labels(plain_images(), tasks=5, rows=50)
    assert len({tuple(sorted(rows_and_labels(chunk.train)[1])) for chunk in uniform}) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 121}, "rows is 121"),
        ({"rows": 0}, "rows is 0"),
        ({"rows": 9, "labels": "true"}, "labels is 'true'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_labels(plain_images(), **settings)  # type: ignore[arg-type]
