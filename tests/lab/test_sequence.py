"""Which test sets are tasks, and what is kept of them: on matrices whose figures are known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hare_tortoise.lab.comparison import Comparison, compare, ends
from hare_tortoise.lab.entries import SequenceFigure
from hare_tortoise.lab.sequence import Tasks, figures, find_tasks, matrix, seen_so_far
from tests.lab.synthetic_results import growing_recipe, growing_results, task_recipe, task_results

SCRATCH, WARM, EMA = task_recipe().methods


def rows(*tests: dict[str, float], names: list[str] | None = None) -> list[dict[str, Any]]:
    names = names or [f"chunk {place}" for place in range(len(tests))]
    return [
        {"chunk_name": n, "tests": t, "hare_test_accuracy": 0.5} for n, t in zip(names, tests, strict=True)
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([{"test": 1.0}] * 3, None),
        ([{"a": 1.0}, {"b": 1.0}, {"c": 1.0}], None),
        ([{"next": 1.0, "later": 1.0}] * 2, Tasks(("later", "next"), trained=False)),
        # as class_incremental has it: what counts is the mean, which is no task
        (
            [{"seen": 1.0, "increment 1": 1.0}, {"seen": 1.0, "increment 1": 1.0, "increment 2": 1.0}] * 1
            + [{"seen": 1.0, "increment 1": 1.0, "increment 2": 1.0, "increment 3": 1.0}],
            Tasks(("increment 1", "increment 2", "increment 3"), trained=True),
        ),
        # a new one at each time, whatever its name
        (
            [{"x": 1.0}, {"a": 1.0, "x": 1.0}, {"m": 1.0, "x": 1.0, "a": 1.0}],
            Tasks(("x", "a", "m"), trained=True),
        ),
    ],
    ids=["one test set", "each once", "no order", "classes seen", "new ones"],
)
def test_tasks_are_found(given: list[dict[str, float]], expected: Tasks | None) -> None:
    assert find_tasks(rows(*given)) == expected


def test_tasks_stand_in_their_order_not_in_that_of_their_names() -> None:
    # a resumed trial has its tests sorted by name, with task 10 before task 2
    tests = dict.fromkeys(sorted(f"task {n}" for n in range(1, 12)), 0.5)
    by_chunk = find_tasks(rows(*[tests] * 11, names=[f"task {n}" for n in range(1, 12)]))
    assert by_chunk == Tasks(tuple(f"task {n}" for n in range(1, 12)), trained=True)
    by_number = find_tasks(rows(*[tests] * 3, names=["x", "y", "z"]))
    assert by_number is not None
    assert by_number.names == by_chunk.names[:3]


def test_figures_of_a_matrix_by_hand() -> None:
    # R[i][j]: 0.9 / 0.7, 0.8 / 0.3, 0.6, 1.0; above the diagonal 0.1, 0.2, and 0.15
    found = rows(
        {"b": 0.1, "a": 0.9, "c": 0.15},
        {"b": 0.8, "a": 0.7, "c": 0.2},
        {"b": 0.6, "a": 0.3, "c": 1.0},
        names=["a", "b", "c"],
    )
    tasks = Tasks(("a", "b", "c"), trained=True)
    scratch = rows({"a": 0.95}, {"b": 0.9}, {"c": 1.0}, names=["a", "b", "c"])
    known = figures(found, tasks, scratch)
    assert known == pytest.approx(
        {
            "average accuracy": (0.3 + 0.6 + 1.0) / 3,
            "backward transfer": ((0.3 - 0.9) + (0.6 - 0.8)) / 2,
            "forgetting": ((0.9 - 0.3) + (0.8 - 0.6)) / 2,
            "next task": (0.1 + 0.2) / 2,
            "intransigence": (0.05 + 0.1 + 0.0) / 3,
        }
    )
    assert matrix(found, tasks)[1] == (0.1, 0.8, 0.6)  # one line for each task, not for each time
    assert seen_so_far(found, tasks) == pytest.approx([0.9, 0.75, (0.3 + 0.6 + 1.0) / 3])


def test_what_was_not_judged_has_no_figure() -> None:
    found = rows({"a": 0.9}, {"b": 0.8, "a": 0.7}, {"c": 1.0, "b": 0.6}, names=["a", "b", "c"])
    tasks = Tasks(("a", "b", "c"), trained=True)
    assert figures(found, tasks) == {}
    assert matrix(found, tasks)[0] == (0.9, 0.7, None)
    assert seen_so_far(found, tasks)[2] is None
    assert figures(found, Tasks(("a", "b", "c"), trained=False)) == {}


def test_the_hare_of_a_single_test_set_is_in_the_row_itself() -> None:
    found = rows({"a": 0.9}, {"b": 0.8, "a": 0.7}, names=["a", "b"])
    found[1]["hare_tests"] = {"b": 0.75, "a": 0.65}
    assert matrix(found, Tasks(("a", "b"), trained=True), "hare_tests") == ((0.5, 0.65), (None, 0.75))


@pytest.fixture(scope="module")
def compared() -> Comparison:
    recipe = task_recipe()
    return compare(recipe, task_results(recipe))


def figure(comparison: Comparison, method: str, name: str) -> SequenceFigure:
    entry = comparison.entry(method, 1.0)
    assert entry is not None
    [found] = [each for each in entry.sequence if each.name == name]
    return found


def test_figures_have_intervals_and_paired_differences(compared: Comparison) -> None:
    assert compared.tasks == tuple(f"task {n}" for n in range(1, 7))
    # the loss of 0.02 for each later task, over the five earlier ones: 0.02 · (1 + 2 + 3 + 4 + 5) / 5
    forgotten = figure(compared, EMA, "forgetting")
    assert forgotten.value.mean == pytest.approx(0.06)
    assert forgotten.to_warm_start is not None
    assert forgotten.to_warm_start.mean == pytest.approx(0.06 - 0.12)
    kept = figure(compared, EMA, "average accuracy")
    assert kept.value.half is not None
    assert kept.to_warm_start is not None
    # what the seeds have in common is taken out: 0.002 a seed is left, t(2) = 4.303
    assert kept.to_warm_start.half == pytest.approx(4.303 * 0.002 / np.sqrt(3), rel=1e-3)
    assert kept.to_warm_start.half is not None
    assert kept.value.half > 4 * kept.to_warm_start.half
    assert figure(compared, WARM, "forgetting").to_warm_start is None


def test_intransigence_is_against_from_scratch_on_the_same_seed(compared: Comparison) -> None:
    scratch = compared.entry(SCRATCH, 1.0)
    assert scratch is not None
    assert "intransigence" not in {each.name for each in scratch.sequence}
    assert figure(compared, WARM, "intransigence").value.mean == pytest.approx(-0.002)


def test_next_task_needs_what_was_judged_before_training() -> None:
    recipe = task_recipe()
    comparison = compare(recipe, task_results(recipe, all_at_once=False))
    names = {each.name for entry in comparison.entries for each in entry.sequence}
    assert "forgetting" in names
    assert "next task" not in names


def test_streams_with_one_test_set_have_none_of_it() -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    for result in results:
        for line in result.rows:
            line["tests"] = {"test": line["test_accuracy"]}
    comparison = compare(recipe, results)
    assert comparison.tasks == ()
    assert all(entry.sequence == () for entry in comparison.entries)
    assert find_tasks(ends(results[0])) is None
    assert {"tasks", "baselines", "score"}.isdisjoint(comparison.to_json())


def test_it_survives_json(compared: Comparison) -> None:
    assert Comparison.from_json(compared.to_json()) == compared
