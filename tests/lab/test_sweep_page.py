"""What the page of a sweep says, of settings whose accuracies are known."""

from __future__ import annotations

from hare_tortoise.lab.sweep_cells import cells_from
from hare_tortoise.lab.sweep_page import Sweep, page, ranked_lines, said_of_rule
from hare_tortoise.lab.sweep_rule import rule_of_thumb
from tests.lab.sweep_results import BESIDE, OVER, curves, grid_recipe, grid_units, pair

DECAYS = (0.9, 0.99)
STEPS = 100


def sweep(without: float, *, seeds: int = 3) -> Sweep:
    """Two settings with resets, of 70 and 69 %, and two without, of `without` and a point less."""
    recipe = grid_recipe(DECAYS, (10, None), seeds=seeds)
    values = {pair(0.9, 10): 0.7, pair(0.99, 10): 0.69, pair(0.9, None): without}
    values |= {pair(0.99, None): without - 0.01, **dict.fromkeys(BESIDE, 0.5)}
    # no two differences are the same, so that each has an interval; it is wider than a point
    noise = (0.01, -0.01, 0.0)
    results = curves(
        recipe,
        {
            method: [[value + noise[(seed + place) % 3]] for seed in range(seeds)]
            for place, (method, value) in enumerate(values.items())
        },
    )
    cells = cells_from(results, grid_units(recipe))
    rule = rule_of_thumb(cells, {(recipe.name, 1.0): STEPS})
    method = "hare-tortoise"
    return Sweep(recipe, method, OVER, "grid", "average", cells, rule, (), (), "", {"torch": "2.13"})


def test_nothing_is_tied_where_there_are_no_intervals() -> None:
    assert any("(tie)" in cell for line in ranked_lines(sweep(0.6), 1.0)[1] for cell in line)
    for seeds in (1, 2):
        few = page(sweep(0.6, seeds=seeds))
        assert "(tie)" not in few
        assert "anecdotal" in few


def test_where_resets_lose_the_rule_says_what_it_is_of() -> None:
    lost = said_of_rule(sweep(0.8))
    assert lost.startswith(
        "rule of thumb, from this grid alone: what is chosen has no resets; this is only of the settings that have them"
    )
    assert "of the 2 settings with resets" in lost
    assert "has no resets" not in said_of_rule(sweep(0.6))
    assert "Rule of thumb, from this grid alone: what is chosen has no resets" in page(sweep(0.8))
