"""The rule of thumb: shares of the chunk recovered from surfaces whose peak is known."""

from __future__ import annotations

import math

import pytest

from hare_tortoise.lab.sweep_cells import Cell, cells_from
from hare_tortoise.lab.sweep_rule import rule_of_thumb
from tests.lab.sweep_results import BESIDE, curves, grid_recipe, grid_units, pair

DECAYS, INTERVALS = (0.9, 0.97, 0.99, 0.997, 0.999), (10, 30, 100, 300, 1000, None)
STEPS = 200


def surface(recipe_lr: float, peak: tuple[float, float]) -> tuple[Cell, ...]:
    """Accuracy falls with the square of the distance to a peak in log space; the average alone is best of all."""
    recipe = grid_recipe(DECAYS, INTERVALS, lr=recipe_lr)
    values = dict.fromkeys(BESIDE, 0.99)
    for decay in DECAYS:
        for every in INTERVALS:
            distance = math.log(1 / (1 - decay) / peak[0]) ** 2 + math.log((every or 1) / peak[1]) ** 2
            values[pair(decay, every)] = 0.9 - 0.02 * distance if every else 0.95
    results = curves(recipe, {method: [[value]] * 3 for method, value in values.items()})
    return cells_from(results, grid_units(recipe))


def test_the_peak_is_found_in_steps_of_the_last_chunk() -> None:
    cells = surface(1e-3, (100, 30))
    rule = rule_of_thumb(cells, {("grid lr=0.001", 1.0): STEPS})
    assert rule is not None
    (panel,) = rule.panels
    assert [panel.best.horizon, panel.best.interval] == pytest.approx([0.5, 0.15])
    assert (panel.near, panel.cells, panel.edge) == (1, 25, False)
    assert rule.losses == ()
    assert "best horizon 1/(1 − decay): 0.5 of the last chunk's steps; best reset interval: 0.15" in str(rule)
    assert "1 of the 25 settings with resets" in str(rule)


def test_between_cells_the_middle_is_that_of_the_logarithms() -> None:
    rule = rule_of_thumb(surface(1e-3, (math.sqrt(100 * 1 / 0.03), 30)), {("grid lr=0.001", 1.0): STEPS})
    assert rule is not None
    panel = rule.panels[0]
    assert panel.near == 2
    assert panel.horizon == pytest.approx(math.sqrt(100 / 0.03) / STEPS)
    assert list(panel.horizons) == pytest.approx([1 / 0.03 / STEPS, 100 / STEPS])


def test_a_best_at_the_edge_is_told() -> None:
    rule = rule_of_thumb(surface(1e-3, (1000, 30)), {("grid lr=0.001", 1.0): STEPS})
    assert rule is not None
    assert rule.panels[0].edge
    assert "edge of the grid" in str(rule)


def test_what_other_panels_say_costs_what_the_surface_says() -> None:
    cells = (*surface(1e-3, (100, 30)), *surface(3e-3, (100, 300)))
    rule = rule_of_thumb(cells, {("grid lr=0.001", 1.0): STEPS, ("grid lr=0.003", 1.0): STEPS})
    assert rule is not None
    assert rule.losses == pytest.approx([0.02 * math.log(10) ** 2] * 2)
    assert rule.interval == pytest.approx(math.sqrt(30 * 300) / STEPS)


def test_nothing_is_said_of_fewer_than_two_settings() -> None:
    cells = surface(1e-3, (100, 30))
    assert rule_of_thumb(cells[:1], {("grid lr=0.001", 1.0): STEPS}) is None
    assert rule_of_thumb(cells, {}) is None
