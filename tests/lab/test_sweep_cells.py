"""Settings from results: figures, the choice on validation data, and which beat their parents and controls."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hare_tortoise.lab.sweep_cells import beats, cells_from, opponents, ranking
from tests.lab.sweep_results import BESIDE, SCRATCH_EMA, by_method, curves, grid_recipe, grid_units, pair

RECIPE = grid_recipe((0.9, 0.99), (10, None))
UNITS = grid_units(RECIPE)
BASE = {
    pair(0.9, 10): [[0.5, 0.8], [0.6, 0.8], [0.7, 0.8]],
    pair(0.9, None): [[0.5, 0.7], [0.6, 0.7], [0.7, 0.7]],
    pair(0.99, 10): [[0.4, 0.9], [0.5, 0.9], [0.6, 0.9]],
    pair(0.99, None): [[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]],
    **{method: [[0.4, 0.6], [0.5, 0.6], [0.6, 0.6]] for method in BESIDE},
}


def test_figures_are_means_over_seeds_with_students_interval() -> None:
    cell = cells_from(curves(RECIPE, BASE), UNITS)[0]
    average = cell.estimate("test", "average")
    assert average is not None
    assert average.low is not None
    # averages 0.65, 0.70, 0.75: standard deviation 0.05, t of two degrees of freedom 4.302653
    assert average.mean == pytest.approx(0.7)
    assert average.mean - average.low == pytest.approx(4.302653 * 0.05 / math.sqrt(3), rel=1e-6)
    assert cell.by_seed("test", "final") == {0: 0.8, 1: 0.8, 2: 0.8}
    assert cell.state == "complete"


def test_the_choice_is_on_validation_data_alone() -> None:
    results = curves(RECIPE, BASE)
    # what is worst on test data is best on validation data
    worst = pair(0.99, None)
    results = [
        dataclasses.replace(r, rows=tuple(row | {"validation_accuracy": 0.99} for row in r.rows))
        if r.method == worst
        else r
        for r in results
    ]
    ranked = ranking(cells_from(results, UNITS))
    assert [each.cell.unit.method for each in ranked] == [
        worst,
        pair(0.9, 10),
        pair(0.99, 10),
        pair(0.9, None),
    ]
    assert [each.place for each in ranked] == [1, 2, 3, 4]


def test_final_and_average_may_choose_otherwise() -> None:
    cells = cells_from(curves(RECIPE, BASE), UNITS)
    # averages: 0.70, 0.65, 0.70, 0.50; finals: 0.8, 0.7, 0.9, 0.9; of equals the first as written
    assert ranking(cells, "average")[0].cell.unit.method == pair(0.9, 10)
    assert ranking(cells, "final")[0].cell.unit.method == pair(0.99, 10)


def test_what_is_behind_is_paired_and_told_apart_from_a_tie() -> None:
    accuracies = BASE | {
        pair(0.9, 10): [[0.80], [0.70], [0.60]],
        pair(0.9, None): [[0.79], [0.69], [0.59]],
        pair(0.99, 10): [[0.60], [0.80], [0.60]],
        pair(0.99, None): [[0.5], [0.4], [0.3]],
        **{method: [[0.1]] * 3 for method in BESIDE},
    }
    first, second, third, _ = ranking(cells_from(curves(RECIPE, accuracies), UNITS))
    assert (first.behind, first.tied) == (None, False)
    assert second.behind is not None
    assert second.behind.mean == pytest.approx(-0.01)
    assert not second.tied  # always one point: no width
    assert third.tied


def test_pruned_failed_and_missing_settings_have_no_place() -> None:
    results = curves(RECIPE, BASE)
    failed = next(r for r in results if r.method == pair(0.9, None))
    results = [dataclasses.replace(r, failure="the loss was nan") if r is failed else r for r in results]
    results = [r for r in results if not (r.method == pair(0.99, None) and r.seed == 2)]
    units = by_method(UNITS)
    cells = cells_from(results, UNITS, {units[pair(0.99, 10)]: 1})
    states = {cell.unit.method: cell.state for cell in cells}
    assert states[pair(0.99, 10)] == "pruned"
    assert states[pair(0.9, None)] == "failed"
    assert states[pair(0.99, None)] == "missing"
    ranked = ranking(cells, "final")
    assert (ranked[0].place, ranked[0].cell.unit.method) == (1, pair(0.9, 10))
    assert [each.place for each in ranked[1:]] == [None, None, None]
    pruned = next(cell for cell in cells if cell.state == "pruned")
    assert (pruned.chunks, pruned.by_seed("test", "final")) == (1, {0: 0.4, 1: 0.5, 2: 0.6})


def test_without_validation_data_nothing_is_chosen() -> None:
    results = [
        dataclasses.replace(r, rows=tuple({k: v for k, v in row.items() if k[0] != "v"} for row in r.rows))
        for r in curves(RECIPE, BASE)
    ]
    cells = cells_from(results, UNITS)
    assert cells[0].estimate("test", "final") is not None
    with pytest.raises(ValueError, match=r"validation=0\.1"):
        ranking(cells)


def test_a_larger_budget_is_no_better_setting() -> None:
    cells = cells_from([], grid_units(RECIPE.replace(budgets=(0.5, 1.0))))
    with pytest.raises(ValueError, match="several budgets"):
        ranking(cells)


def test_opponents_are_the_parents_and_controls_of_its_own_panel() -> None:
    other = grid_recipe((0.9,), (10, None), lr=3e-3)
    cells = cells_from([], (*grid_units(other), *UNITS))
    ours = next(cell for cell in cells if cell.unit is UNITS[0])
    found = opponents(ours, cells)
    assert {cell.unit.recipe.name for cells in found.values() for cell in cells} == {RECIPE.name}
    assert {cell.unit.method for cell in found["parent"]} == {pair(0.9, None), "warm-start"}
    assert {cell.unit.method for cell in found["control"]} == set(BESIDE[2:])


def clearly_above(ours: list[float], theirs: list[float]) -> bool:
    """Whether the lower end of Student's interval of the differences of three seeds is above zero, by hand."""
    difference = np.subtract(ours, theirs)
    return bool(difference.mean() - 4.302653 * difference.std(ddof=1) / math.sqrt(3) > 0)


def test_who_beats_parents_and_controls_by_an_independent_oracle() -> None:
    rng, seen = np.random.default_rng(0), []
    for _ in range(60):
        values = {method: list(rng.normal(0.5, 0.01, 3)) for method in RECIPE.methods}
        values[pair(0.9, 10)] = list(rng.normal(0.53, 0.008, 3))
        results = curves(RECIPE, {method: [[value] for value in of] for method, of in values.items()})
        cells = cells_from(results, UNITS)
        against = [values[m] for m in (pair(0.9, None), "warm-start", *BESIDE[2:])]
        ours = values[pair(0.9, 10)]
        wanted = "no"
        if all(np.mean(ours) > np.mean(theirs) for theirs in against):
            wanted = "clearly" if all(clearly_above(ours, theirs) for theirs in against) else "on average"
        assert beats(cells[0], cells) == wanted
        seen.append(wanted)
    assert set(seen) >= {"clearly", "on average"}


def test_nothing_is_said_where_an_opponent_is_missing() -> None:
    results = curves(RECIPE, BASE)
    cells = cells_from([r for r in results if r.method != SCRATCH_EMA], UNITS)
    assert beats(cells[0], cells) == "unknown"
    cells = cells_from(results, UNITS)
    assert beats(cells[0], cells) == "clearly"
    assert beats(cells[1], cells) == "unknown"  # an average is no Hare & Tortoise
    assert beats(cells[0], [cell for cell in cells if cell.unit.role != "control"]) == "unknown"
