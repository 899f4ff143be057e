"""What holds for every scenario that is a sequence of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hare_tortoise.streams import (
    SCENARIOS,
    Chunk,
    Examples,
    Source,
    Stream,
    TransformedExamples,
    load_source,
)
from hare_tortoise.streams.scenarios.tasks import Tasks, in_rounds
from tests.streams.task_sources import handed_out, plain_images, read_by_a_loader, rows_and_labels

# each with a setting that makes it draw all that it can draw
SETTINGS: dict[str, dict[str, Any]] = {
    "class-incremental": {"increments": 3, "access": "current", "memory": 9},
    "easy-hard": {"tasks": 5, "hard_classes": 3, "rows_per_task": 70},
    "gradual": {"chunks": 5, "memory": 7},
    "pairs": {"tasks": 5, "rows_per_task": 20, "tests": "seen"},
    "permuted": {"tasks": 5, "rows_per_task": 30, "tests": "seen"},
    "random-labels": {"tasks": 5, "rows": 30},
    "rotated": {"tasks": 5, "rows_per_task": 30},
    "shuffled-labels": {"tasks": 5, "rows_per_task": 30},
}
everyone = pytest.mark.parametrize("name", SETTINGS)
Make = Callable[..., Stream]


def make(name: str, source: Source | None = None, **settings: Any) -> Stream:
    given = plain_images() if source is None else source
    return SCENARIOS[name](given, **{**SETTINGS[name], **settings})


def parts(chunk: Chunk) -> dict[str, Examples | None]:
    return {
        "train": chunk.train,
        "validation": chunk.validation,
        "everything": chunk.everything,
        **{f"test {name}": examples for name, examples in chunk.tests.items()},
    }


def assert_same(a: Chunk, b: Chunk) -> None:
    assert (a.index, a.name, a.outputs) == (b.index, b.name, b.outputs)
    assert list(parts(a)) == list(parts(b))
    for one, other in zip(parts(a).values(), parts(b).values(), strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            (inputs, targets), (others, other_targets) = handed_out(one), handed_out(other)
            assert torch.equal(inputs, others)
            assert torch.equal(targets, other_targets)


@everyone
def test_a_chunk_does_not_depend_on_which_others_were_asked_for(name: str) -> None:
    source = load_source("digits", rows=200, test_rows=100)
    settings = {"shape": (1, 8, 8)} if name == "rotated" else {}
    validation = 0.0 if name == "random-labels" else 0.2
    first = make(name, source, validation=validation, seed=5, **settings)
    chunks = list(first)
    again = make(name, source, validation=validation, seed=5, **settings)
    for index in [len(again) - 1, 0, 1, 1, len(again) - 2]:
        assert_same(chunks[index], again[index])
    assert_same(chunks[1], make(name, source, validation=validation, seed=5, **settings).to("cpu")[1])


@everyone
def test_streams_of_other_seeds_differ(name: str) -> None:
    found = {str([rows_and_labels(chunk.train) for chunk in make(name, seed=seed)]) for seed in range(4)}
    assert len(found) == 4


@everyone
def test_what_is_set_aside_is_never_trained_on(name: str) -> None:
    if name == "random-labels":
        with pytest.raises(ValueError, match="validation"):
            make(name, validation=0.1)
        return
    trained: set[int] = set()
    chosen_on: set[int] = set()
    for chunk in make(name, validation=0.2):
        assert chunk.validation is not None
        assert len(chunk.validation) > 0
        trained |= set(rows_and_labels(chunk.train)[0] + rows_and_labels(chunk.everything)[0])
        chosen_on |= set(rows_and_labels(chunk.validation)[0])
    assert not trained & chosen_on
    assert all(chunk.validation is None for chunk in make(name))


@everyone
def test_sources_that_are_read_by_a_loader_give_the_same(name: str) -> None:
    in_memory, on_disk = make(name, seed=2), make(name, read_by_a_loader(plain_images()), seed=2)
    for index in range(len(in_memory)):
        assert_same(in_memory[index], on_disk[index])


@everyone
def test_no_chunk_copies_the_inputs(name: str) -> None:
    source = plain_images()
    for chunk in make(name, source):
        for examples in parts(chunk).values():
            inner = examples.examples if isinstance(examples, TransformedExamples) else examples
            if inner is not None:
                assert inner.inputs.data_ptr() in {  # type: ignore[attr-defined]
                    source.train_inputs.data_ptr(),
                    source.test_inputs.data_ptr(),
                }


@everyone
@pytest.mark.parametrize("settings", [{"validation": 1.0}, {"validation": "half"}, {"validation": -0.1}])
def test_bad_shares_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation"):
        make(name, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": 0}, "tasks is 0"),
        ({"tasks": 2.0}, r"tasks is 2\.0"),
        ({"rows_per_task": 0}, "rows_per_task is 0"),
        ({"rows_per_task": 1, "validation": 0.5}, "at least 2"),
        ({"tests": "some"}, "tests is 'some'"),
        ({"rows_per_task": 121}, "has 120 examples"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(make("permuted", **settings))


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"permuted", "rotated"}))
def test_numbers_to_predict_are_no_classes(name: str) -> None:
    x, y = torch.zeros(20, 1, 4, 4), torch.zeros(20, 2)
    source = Source("numbers", x, y, x, y, outputs=2, input_shape=(1, 4, 4), task="regression")
    with pytest.raises(ValueError, match="numbers to predict"):
        make(name, source)


def test_a_task_draws_its_rows_anew_and_each_once() -> None:
    drawn = [rows_and_labels(chunk.train)[0] for chunk in make("permuted", rows_per_task=50, tasks=20)]
    assert all(len(rows) == len(set(rows)) == 50 for rows in drawn)
    assert len({frozenset(rows) for rows in drawn}) == 20
    # 20 draws of 50 out of 120: a row stays out of all of them with a chance of 2e-5
    assert len(set().union(*drawn)) == 120


@pytest.mark.parametrize("validation", [0.05, 0.2, 0.5, 0.9])
def test_the_share_set_aside_is_of_each_class_and_of_each_task(validation: float) -> None:
    aside = round(20 * validation)
    for rows, parts_of_all in ((None, 6 * aside), (40, round(40 * validation)), (120, 6 * aside)):
        stream = make("permuted", rows_per_task=rows, validation=validation)
        for chunk in stream:
            assert chunk.validation is not None
            assert len(chunk.validation) == parts_of_all
            assert len(chunk.train) == (rows or 120) - parts_of_all
    labels = rows_and_labels(make("permuted", rows_per_task=None, validation=validation)[0].validation)[1]
    assert torch.bincount(torch.tensor(labels), minlength=6).tolist() == [aside] * 6


def test_a_source_whose_rows_cannot_be_chosen_says_so() -> None:
    with pytest.raises(ValueError, match="slowly-changing"):
        make("permuted", load_source("bits"))


def test_rounds_use_every_class_before_any_comes_again() -> None:
    taken = in_rounds(7, [3] * 8, seed=4)
    for first, second in zip(taken[::2], taken[1::2], strict=True):
        assert len({*first.tolist(), *second.tolist()}) == 6
    assert len({tuple(each.tolist()) for each in taken}) > 4


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_examples_is_named(split: str) -> None:
    zeros, ones = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    train, test = (zeros, ones) if split == "train" else (ones, zeros)
    source = Source("one", torch.zeros(6, 1), train, torch.zeros(6, 1), test, outputs=2, input_shape=(1,))

    class Second(Tasks):
        def _classes(self, index: int) -> torch.Tensor:
            return torch.tensor([1])

    with pytest.raises(ValueError, match=f"one has no .*{split}"):
        Second(source, name="second", tasks=1)[0]


def test_every_scenario_of_tasks_is_tested_here() -> None:
    others = {"growing", "limited", "warm-start", "in-time-order", "slowly-changing"}
    assert SCENARIOS.keys() - others == SETTINGS.keys()
